#!/usr/bin/env python3
"""`mailcask status`: the service, its servers and accounts in words and as JSON, from a socket that only the
owner and root reach, while it works, while the disk is full, while a pass runs; and what is said when nothing
runs."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import datetime
import fcntl

ACCOUNTS = 10_000
mail = temp_folder()
for user in "ab":
    write_files(mail / user, [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(10)])
server = Pop3d(mail, "--no-lock")


def status(cask):
    """The object of --json, or None while there is none."""
    result = cask.tool("status", "--json")
    return json.loads(result.out) if result.status == 0 else None


def by_name(objects, key):
    return {o[key]: o for o in objects}


def until(cask, condition, what):
    def look():
        now = status(cask)
        return now if now and condition(now) else None
    return wait_for(look, what=what)


def no_service():
    cask = Mailcask()
    is_(cask.tool("status").status, 2, "no archive: exit 2")
    cask.init()
    for options in ([], ["--json"]):
        result = cask.tool("status", *options)
        is_((result.status, result.out), (4, b""), f"no service: exit 4 {' '.join(options)}")
        like(result.err, r"^mailcask: no service runs .*; start it with: mailcaskd --config FILE$", "says how to start it")
    is_(run([BUILD / "mailcask", "status", "--config", cask.write_config()]).status, 4, "found by --config, too")
    with open(cask.archive / "lock", "r+") as lock:
        lock.write("1\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        like(cask.tool("status").err, "process 1 has .* and does not answer", "one that does not answer is named")


def what_is_wrong():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_server("dead", free_port(), server.ca, poll="1s")
    cask.add_account("a", "s")
    cask.add_account("b", "s", password="wrong")
    cask.add_account("c", "dead")
    cask.init()
    begin = time.time()
    service = cask.start()
    now = until(cask, lambda o: o["servers"][0]["error"] and o["accounts"][1]["error"] and o["accounts"][0]["last_complete"],
                "two failures and a success")
    accounts, servers = by_name(now["accounts"], "account"), by_name(now["servers"], "server")
    is_((now["service"]["state"], now["service"]["mode"], now["service"]["pid"]), ("running", "service", service.pid), "the service")
    is_((now["service"]["messages"], now["service"]["account_count"]), (10, 3), "what it did")
    ok(now["service"]["free_bytes"] > now["service"]["stop_below_bytes"] > 0, "and the room it has")
    is_((accounts["a"]["error"], accounts["a"]["listed"], accounts["a"]["failures"]), (None, 10, 0), "a healthy account")
    polled = datetime.datetime.fromisoformat(accounts["a"]["last_complete"].replace("Z", "+00:00")).timestamp()
    ok(begin - 1 <= polled <= time.time(), "polled a moment ago")
    is_((accounts["b"]["state"], accounts["b"]["last_complete"]), ("suspended", None), "a wrong password suspends")
    like(accounts["b"]["error"], "password is wrong", "and is told in words")
    is_(accounts["c"]["error"], None, "a dead server is nothing against its account")
    like(servers["dead"]["error"], "refused", "but against the server")
    ok(servers["dead"]["held_until"] and servers["dead"]["error_since"], "which is held back, and since when it fails")
    is_((servers["s"]["error"], servers["s"]["port"]), (None, server.port), "the other one is well")
    text = cask.tool("status").out.decode()
    like(text, r"^state +running$", "in words: the service")
    like(text, r"^  dead  127.0.0.1:\d+  0 of 16 sessions  held back until .*\n    The connection .* \(since ", "the server")
    like(text, r"^  b  suspended, 1 failure in a row, no complete poll yet\n    .*password is wrong", "the account")
    ok(not re.search(r"^  [ac]  ", text, re.M), "not the others")
    like(cask.tool("status", "--all").out, r"^  a  (waiting|running|ready).*, last complete ", "unless they are asked for")
    cask.add_account("b", "s")
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    now = until(cask, lambda o: o["accounts"][1]["last_complete"], "the right password")
    is_((now["accounts"][1]["error"], now["accounts"][1]["error_since"]), (None, None), "mended, it is forgotten")
    socket_file = cask.archive / "control.sock"
    is_(socket_file.stat().st_mode & 0o777, 0o600, "the socket is the owner's only")
    other_users(cask)
    is_(service.stop(), 0, "stopped")
    ok(not socket_file.exists(), "the socket is gone")
    is_(cask.tool("status").status, 4, "and status says so")
    restarted(cask, socket_file)


def other_users(cask):
    if os.geteuid() != 0:
        return
    opened = [p for p in cask.archive.parents if not p.stat().st_mode & 0o001]
    for path in opened:
        path.chmod(path.stat().st_mode | 0o011)
    result = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BUILD / "mailcask",
                  "--archive", cask.archive, "status"])
    for path in opened:
        path.chmod(path.stat().st_mode & ~0o011)
    if result.status == 127:
        skip("another user", "the programs are where only root can run them")
        return
    is_(result.status, 4, "another user gets nothing")
    like(result.err, "belongs to root.*: sudo -u root ", "but the line to use")


def restarted(cask, socket_file):
    service = cask.start()
    first = until(cask, lambda o: True, "the service")["accounts"][0]["last_complete"]
    ok(first is not None, "the last complete poll is known over a restart")
    service.stop(signal.SIGKILL)
    ok(socket_file.exists(), "killed, it leaves its socket")
    is_(cask.tool("status").status, 4, "which is not taken for a service")
    service = cask.start()
    until(cask, lambda o: o["service"]["pid"] == service.pid, "the new service")
    ok(True, "the next one replaces it")
    service.stop()


def polled_on_request():
    cask = Mailcask()
    secret = cask.folder / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_account("a", "s")
    cask.accounts["a"].pop("password")
    cask.accounts["a"]["password-file"] = secret
    cask.init()
    is_(cask.tool("poll", "--account", "a").status, 4, "poll without a service: exit 4")
    service = cask.start()
    until(cask, lambda o: o["accounts"][0]["state"] == "suspended", "the refusal")
    secret.write_text(PASSWORD + "\n")
    result = cask.tool("poll", "--account", "a")
    is_((result.status, result.out), (0, b"a: polled now, or as soon as its server has room\n"), "a suspended account is asked for")
    until(cask, lambda o: o["accounts"][0]["last_complete"], "the poll")
    ok(True, "and fetched, with its new password")
    result = cask.tool("poll", "--account", "b")
    is_((result.status, result.err), (1, b"mailcask: there is no account b in the service's configuration\n"), "one that is not there")
    is_(cask.tool("poll").status, 2, "which one?")
    is_(cask.tool("poll", "--account", "x" * 2000).status, 2, "no name is so long")
    service.stop()


def paused():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_server("t", server.port, server.ca, poll="1s")
    cask.add_account("a", "s")
    cask.add_account("b", "t")
    cask.init()
    is_(cask.tool("pause", "--all").status, 4, "pause without a service: exit 4")
    service = cask.start()
    until(cask, lambda o: all(a["last_complete"] for a in o["accounts"]), "both")
    since = time.time()
    like(cask.tool("pause", "--account", "a").out, r"^account a: paused(; 1 session under way will end as ever)?$", "paused")
    now = until(cask, lambda o: o["accounts"][0]["state"] == "paused", "the pause")
    is_((now["accounts"][0]["paused_by"], now["accounts"][0]["due"], now["accounts"][1]["paused"]), ("account", None, None), "one of two")
    before = now["accounts"][0]["last_complete"]
    other = now["accounts"][1]["last_complete"]
    write_files(mail / "a", {"new": b"Subject: new\r\n\r\nbody\r\n"})
    until(cask, lambda o: o["accounts"][1]["last_complete"] > other, "polls of the other one")
    is_(cask.tool("poll", "--account", "a").status, 4, "it is not polled, not even on request")
    like(cask.tool("status").out, r"^accounts +2, .*1 paused\n  a  paused by the administrator since \d.*, last complete ", "in words")
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "configuration read again" in service.output(), what="the reload")
    is_(status(cask)["accounts"][0]["state"], "paused", "over a reload")
    service.stop(signal.SIGKILL)
    service = cask.start()
    now = until(cask, lambda o: True, "the service")
    is_((now["accounts"][0]["state"], now["service"]["messages"]), ("paused", 0), "over a restart")
    stamp = datetime.datetime.fromisoformat(now["accounts"][0]["paused"].replace("Z", "+00:00")).timestamp()
    ok(since - 1 <= stamp <= time.time(), "since then")
    overdue(cask, before)
    is_(cask.tool("pause", "--server", "s").out, b"server s: paused\n", "its server, too")
    like(cask.tool("status").out, r"^  s  .*  paused by the administrator since ", "which shows")
    is_(cask.tool("resume", "--account", "a").out, b"account a: still paused, with its server\n", "each holds on its own")
    is_(cask.tool("pause", "--all").status, 0, "everything")
    like(cask.tool("status").out, r"^state +running, paused by the administrator since ", "in words")
    is_(cask.tool("resume", "--server", "s").out, b"server s: still paused, with everything\n", "still")
    is_(cask.tool("resume", "--all").out, b"all resumed\n", "over")
    until(cask, lambda o: o["service"]["messages"] == 1 and o["accounts"][0]["last_complete"] > before, "the new message")
    ok(True, "and fetched again")
    for options in ([], ["--all", "--account", "a"], ["--server", "x" * 2000]):
        is_(cask.tool("pause", *options).status, 2, f"which one? {len(options)}")
    result = cask.tool("resume", "--server", "u")
    is_((result.status, result.err), (1, b"mailcask: there is no server u in the service's configuration\n"), "one that is not there")
    (cask.archive / "state" / "paused").unlink()
    (cask.archive / "state" / "paused").mkdir()
    result = cask.tool("pause", "--account", "a")
    is_(result.status, 1, "it cannot be written down: exit 1")
    like(result.err, "could not write it down", "and said")
    is_(status(cask)["accounts"][0]["paused_by"], "account", "but it holds")
    (cask.archive / "state" / "paused").rmdir()
    wait_for((cask.archive / "state" / "paused").is_file, what="another try")
    service.stop()
    (mail / "a" / "new").unlink()


def overdue(cask, last):
    """a is paused, b is polled each second."""
    def late():
        result = cask.tool("status", "--max-age", "2s", "--json")
        return result.status, [a["account"] for a in json.loads(result.out)["accounts"] if a["overdue"]]

    wait_for(lambda: "a" in late()[1], what="a to be overdue")  # b may be, too, on a machine with other work
    code, names = late()
    ok(code == 1 and "a" in names, "the one that is paused is overdue")
    result = cask.tool("status", "--max-age", "2s")
    like(result.err, r"^mailcask: a: no complete poll for over 2s, the last one: \d{4}-", "and named")
    result = cask.tool("status", "--max-age", "1h")
    is_((result.status, result.err), (0, b""), "nobody for an hour")
    ok("overdue" not in status(cask)["accounts"][0], "nothing of it where it was not asked")
    for wrong in ("24", "1w", "0s", "h", "4000d"):
        result = cask.tool("status", "--max-age", wrong)
        is_((result.status, result.out), (2, b""), f"--max-age {wrong}: exit 2")


def unconfirmed():
    """Deletions count as unconfirmed until two later listings lack the messages."""
    boxes = temp_folder()
    for user, count in (("a", 3), ("b", 9), ("c", 5)):
        write_files(boxes / user, [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(count)])
    own = Pop3d(boxes, "--no-lock")
    cask = Mailcask(deletes="on")
    cask.add_server("s", own.port, own.ca, poll="1h")
    cask.add_account("a", "s", delete="archived")
    cask.add_account("b", "s")
    cask.add_account("c", "s", delete="archived")
    cask.init()
    service = cask.start()
    until(cask, lambda o: True, "the service")
    for user in "ac":
        cask.tool("poll", "--account", user)
    now = until(cask, lambda o: o["service"]["unconfirmed"] == 8, "both deletions")
    is_([a["unconfirmed"] for a in now["accounts"]], [3, 0, 5], "unconfirmed deletions of each account, and in total")
    for _ in range(2):
        last = status(cask)["accounts"][0]["last_complete"]
        time.sleep(1.1)  # times have whole seconds
        cask.tool("poll", "--account", "a")
        now = until(cask, lambda o: o["accounts"][0]["last_complete"] > last, "a listing")
    is_([a["unconfirmed"] for a in now["accounts"]], [0, 0, 5], "confirmed, they no longer count")
    like(cask.tool("status").out, r"^unconfirmed 5 deletions not confirmed yet, see mailcask deletions$", "in words")
    like(cask.tool("status", "--all").out, r"^  c  .*, 5 deletions not confirmed yet$", "of an account, too")
    del cask.accounts["c"]
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    now = until(cask, lambda o: len(o["accounts"]) == 2, "the reload")
    is_(now["service"]["unconfirmed"], 5, "those of an account that left stay in the total")
    service.stop()


def never_polled():
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    cask.add_account("b", "s", password="wrong")
    cask.init()
    service = cask.start()
    until(cask, lambda o: True, "the service")
    is_(cask.tool("status", "--max-age", "1h").status, 0, "without any poll the time counts from the start")
    wait_for(lambda: cask.tool("status", "--max-age", "1s").status == 1, what="it to be overdue")
    like(cask.tool("status", "--max-age", "1s").err, r"^mailcask: b: no complete poll for over 1s, the last one: never$", "and is said so")
    service.stop()


def long_path():
    deep = temp_folder()
    for i in range(5):
        deep = deep / ("folder-%d-" % i + "x" * 40)
    deep.mkdir(parents=True)
    cask = Mailcask(deep)
    cask.add_server("s", server.port, server.ca)
    cask.add_account("a", "s")
    cask.init()
    ok(len(str(cask.archive)) > 200, "an archive whose path is longer than a socket's address")
    service = cask.start()
    is_(until(cask, lambda o: True, "the service")["service"]["archive"], str(cask.archive), "answers")
    service.stop()
    is_(cask.tool("status").status, 4, "until it is stopped")


def a_single_pass():
    slow = Pop3d(mail, "--no-lock", "--delay-ms", "300")
    cask = Mailcask()
    cask.add_server("s", slow.port, slow.ca)
    for user in "ab":
        cask.add_account(user, "s")
    cask.init()
    child = subprocess.Popen([str(a) for a in cask.once_arguments("--account", "a")], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    now = until(cask, lambda o: o["service"]["sessions"] == 1, "the pass")
    is_((now["service"]["mode"], [a["state"] for a in now["accounts"]]), ("once", ["running", "finished"]),
        "a pass with --once tells where it is")
    is_(child.wait(RUN_SECONDS), 0, "and ends as ever")


def thousands():
    """None of them has a password: each fails without a server."""
    cask = Mailcask()
    cask.add_server("s", free_port(), server.ca, accounts_file="accounts.csv", password_file="secrets/%a")
    (cask.folder / "accounts.csv").write_text("account\n" + "".join(f"user{i:05}@example.com\n" for i in range(ACCOUNTS)))
    cask.init()
    service = cask.start()
    until(cask, lambda o: sum(a["error"] is not None for a in o["accounts"]) > 50, "failures")
    times = []
    for _ in range(5):
        result = cask.tool("status", "--json")
        times.append(result.seconds)
    now = json.loads(result.out)
    is_(len(now["accounts"]), ACCOUNTS, f"{ACCOUNTS} accounts in one answer ({len(result.out) // 1000} kB)")
    is_(sorted({a["account"] for a in now["accounts"]}), [a["account"] for a in now["accounts"]], "each once, in order")
    ok(min(times) < 10 * TIME_SCALE, f"in {1000 * min(times):.0f} ms")
    lines = cask.tool("status").out.decode().splitlines()
    ok(len(lines) < 60, f"a person gets {len(lines)} lines")
    like("\n".join(lines), r"^accounts +10000, .* with a problem.*never complete$", "with the counts")
    like("\n".join(lines), r"^  and \d+ more: `mailcask status --all`$", "and how to get the rest")
    # A client that takes nothing, and ones that say nothing, are nobody's trouble.
    address = os.path.join(cask.archive, "control.sock")
    clients = [socket.socket(socket.AF_UNIX) for _ in range(10)]
    for i, client in enumerate(clients):
        client.connect(address)
        if i < 4:
            client.send(b"status\n")
    memory = memory_kib(service.pid)
    wait_for(lambda: status(cask), what="an answer behind ten clients that hold still")
    grown = memory_kib(service.pid) - memory
    if SANITIZED:
        diag("memory is not measured: a sanitizer takes its own")
    else:
        ok(grown < 8192, f"and it costs little ({grown} KiB)")
    is_(service.stop(), 0, "and do not keep the service from stopping")


FULL = """
set -e
mount -t tmpfs -o size=64m,mode=700 none "$1"
"$2/mailcask" init "$1/archive" >/dev/null
"$2/mailcaskd" --config "$3" 2>"$1/../said" &
pid=$!
look() { "$2/mailcask" --archive "$1/archive" status --json >"$1/../now" 2>&1 && grep -q "$3" "$1/../now"; }
set +e
for i in $(seq 200); do look "$1" "$2" '"state":"running","problem"' && break; sleep 0.1; done
cat "$1/../now"
head -c $(( $(df --output=avail -k "$1" | tail -1) * 1024 - 524288 )) /dev/zero >"$1/ballast"
for i in $(seq 200); do look "$1" "$2" '"state":"disk-full","problem"' && break; sleep 0.1; done
cat "$1/../now"
"$2/mailcask" --archive "$1/archive" status >&2
rm "$1/ballast"
for i in $(seq 200); do look "$1" "$2" '"state":"running","problem"' && break; sleep 0.1; done
cat "$1/../now"
kill $pid
wait $pid
"""


def disk_full():
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if run([*unshare, "true"]).status != 0:
        skip("a full disk", "no mount namespace of our own")
        return
    cask = Mailcask()
    mount = cask.folder / "disk"
    mount.mkdir()
    cask.settings["path"] = mount / "archive"
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_account("a", "s")
    result = run([*unshare, "sh", "-c", FULL, "sh", mount, BUILD, cask.write_config()])
    states = [json.loads(l)["service"] for l in result.out.splitlines() if l.startswith(b"{")]
    is_([s["state"] for s in states], ["running", "disk-full", "running"], "a full disk, and room again") or \
        diag(str(result) + (cask.folder / "said").read_text())
    if len(states) == 3:
        full = states[1]
        ok(full["free_bytes"] < full["stop_below_bytes"] < full["go_on_at_bytes"], "free, and needed")
        like(full["problem"], "less than 1.0 MB of space is free", "in words")
        ok(full["problem_since"] is not None and full["next_try"] is None, "since when")
        is_((states[2]["problem"], states[2]["problem_since"]), (None, None), "over, it is forgotten")
        ok(states[2]["messages"] >= states[1]["messages"], "the counts go on")
    like(result.err, r"^state +the disk is nearly full: nothing is fetched, since ", "and for a person")


no_service()
what_is_wrong()
polled_on_request()
paused()
unconfirmed()
never_polled()
long_path()
a_single_pass()
disk_full()
thousands()
done()
