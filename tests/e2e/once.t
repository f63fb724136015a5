#!/usr/bin/env python3
"""mailcaskd --once when things go wrong: each failure is one line that says what, where and what to do;
the other accounts go on; the exit status is the documented one."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = [b"Subject: %d\r\n\r\nbody %d\r\n" % (i, i) for i in range(5)]

mail = temp_folder()
for user in ("good", "wrong", "cut", "other"):
    write_files(mail / user, MESSAGES)
(mail / "wrong.password").write_text("different\n")
certificates = Certificates()
server = Pop3d(mail, "--no-lock", certificate=certificates.good, ca=certificates.ca,
               script='user cut on RETR 3 close-after 30\n')
servers = {
    "expired": Pop3d(mail, "--no-lock", certificate=certificates.expired(), ca=certificates.ca),
    "wrongname": Pop3d(mail, "--no-lock", certificate=certificates.wrong_name(), ca=certificates.ca),
    "selfsigned": Pop3d(mail, "--no-lock", certificate=certificates.self_signed(), ca=certificates.ca),
    "plain": Pop3d(mail, "--no-lock", "--tls", "none", certificate=certificates.good, ca=certificates.ca),
}


def lines_about(result, account):
    return [l for l in result.err.decode().splitlines() if account in l]


def one_line(result, account, pattern, name):
    lines = lines_about(result, account)
    ok(len(lines) == 1 and re.search(pattern, lines[0]), f"{name}: one line that says so") or \
        diag(result.err.decode())


def failures():
    cask = Mailcask()
    cask.add_server("s", server.port, certificates.ca)
    cask.add_server("dead", free_port(), certificates.ca)
    cask.add_server("unknown", 995, certificates.ca, host="no-such-host.invalid")
    for name, other in servers.items():
        cask.add_server(name, other.port, certificates.ca)
    cask.add_account("good@x", "s", user="good")
    cask.add_account("zgood@x", "s", user="other")
    cask.add_account("wrong@x", "s", user="wrong")
    cask.add_account("cut@x", "s", user="cut")
    cask.add_account("dead@x", "dead", user="good")
    cask.add_account("unknown@x", "unknown", user="good")
    for name in servers:
        cask.add_account(f"{name}@x", name, user="other")
    cask.text += "[account nofile@x]\nserver = s\nuser = good\npassword-file = missing\n"
    cask.text += "[account open@x]\nserver = s\nuser = good\npassword-file = open.txt\n"
    (cask.folder / "open.txt").write_text(PASSWORD)
    (cask.folder / "open.txt").chmod(0o644)
    cask.init()
    result = cask.once()
    is_(result.status, 1, "some accounts failed: exit 1") or diag(str(result))
    one_line(result, "wrong@x", r"password", "wrong password")
    one_line(result, "dead@x", r"127\.0\.0\.1:\d+.*refused", "refused connection")
    one_line(result, "unknown@x", r"no-such-host\.invalid", "unknown host")
    one_line(result, "expired@x", r"expired", "expired certificate")
    one_line(result, "wrongname@x", r"elsewhere\.example", "certificate for another name")
    one_line(result, "selfsigned@x", r"ca-file|fingerprint|unknown|self", "self-signed certificate")
    one_line(result, "plain@x", r"TLS|plain", "a server without TLS")
    one_line(result, "cut@x", r"closed|connection", "a server that closes in mid-message")
    one_line(result, "nofile@x", r"missing", "a missing password file")
    one_line(result, "open@x", r"chmod 600", "a password file that others can read")
    ok("secret" not in result.err.decode() + result.out.decode(), "no password in the output")
    state = {a["account"]: a for a in cask.json("accounts")}
    for account in ("good@x", "zgood@x"):
        is_(state[account]["messages"], 5, f"{account} is archived all the same")
    ok(state["cut@x"]["messages"] >= 2, "what came whole before the cut is archived")
    ok("wrong@x" in state and "password" in json.dumps(state["wrong@x"]),
       "accounts shows why an account failed")
    for name, other in servers.items():
        ok(not other.log("login"), f"{name}: no password was sent")
    is_(cask.tool("verify").status, 0, "the archive is sound")

    server_repaired = cask.once("--account", "good@x")
    is_(server_repaired.status, 0, "--account: only that one, and it is well")
    result = cask.once("--account", "god@x")
    is_(result.status, 2, "an unknown account: exit 2")
    like(result.err.decode(), r"good@x", "with a suggestion")


def configuration():
    cask = Mailcask()
    cask.add_server("s", server.port, certificates.ca)
    cask.add_account("good@x", "s", user="good")
    cask.init()
    config = cask.write_config()
    good = config.read_text()
    daemon = BUILD / "mailcaskd"
    is_(run([daemon, "--config", config, "--check-config"]).status, 0, "a good configuration")
    for broken, pattern, name in (
            (good.replace("password", "pasword"), r"mailcask.conf:\d+: .*pasword.*password", "a typo in a key"),
            (good + "[archive]\ndeletes = on\n", r"mailcask.conf:\d+: ", "a section twice"),
            (good + "delete = soon\n", r"mailcask.conf:\d+: .*'delete'.*never, archived", "delete = soon"),
            (good.replace("tls = implicit", "tls = maybe"), r"mailcask.conf:\d+: .*implicit.*starttls", "a bad value"),
            (good.replace("server = s", "server = t"), r"mailcask.conf:\d+: .*\bt\b", "an unknown server"),
            (good.replace("account good@x", "account a/b"), r"mailcask.conf:\d+: .*/", "a slash in an account's name")):
        config.write_text(broken)
        for arguments in (["--check-config"], ["--once"]):
            result = run([daemon, "--config", config, *arguments])
            is_(result.status, 2, f"{name}: exit 2 ({arguments[0]})")
            text = result.err.decode() + result.out.decode()
            ok(re.search(pattern, text) and len(text.splitlines()) == 1,
               f"{name}: one line with file, line and what is allowed") or diag(text)
    config.write_text(good)
    result = run([daemon, "--config", cask.folder / "none.conf", "--once"])
    is_(result.status, 2, "no configuration file: exit 2")
    result = run([daemon, "--once"], env={k: v for k, v in os.environ.items() if k != "MAILCASK_CONFIG"})
    is_(result.status, 2, "none named: exit 2")
    result = run([daemon, "--onze"])
    is_(result.status, 2, "an unknown option: exit 2")
    like(result.err.decode(), "--once", "with a suggestion")


def no_archive():
    cask = Mailcask()
    cask.add_server("s", server.port, certificates.ca)
    cask.add_account("good@x", "s", user="good")
    result = cask.once()
    ok(result.status in (2, 4), "no archive: it does not run")
    like(result.err.decode(), r"mailcask init", "and says how to make one")


def locked():
    cask = Mailcask()
    cask.add_server("s", server.port, certificates.ca, poll="2s")
    cask.add_account("good@x", "s", user="good")
    cask.init()
    service = cask.start()
    wait_for(lambda: cask.json("accounts"), what="the service's first poll")
    result = cask.once()
    is_(result.status, 4, "a service runs: exit 4")
    like(result.err.decode(), str(service.pid), "and its process is named")
    is_(cask.tool("list", "--account", "good@x").status, 0, "tools that read work beside it")
    is_(service.stop(), 0, "SIGTERM: a clean stop, exit 0")
    is_(cask.tool("verify").status, 0, "the archive is sound")
    sealed = cask.json("stats")[0]
    is_(sealed["segments"], sealed["sealed"], "every segment is sealed at stop")


# A file system of 6 MiB in a namespace of our own: the machine's mounts are not touched.
FULL = """
set -e
mount -t tmpfs -o size=6m,mode=700 none "$1"
"$2/mailcask" init "$1/archive" >/dev/null
set +e
"$2/mailcaskd" --config "$3" --once; echo "status $?"
rm "$1/ballast" 2>/dev/null
ls "$1/archive/segments" | wc -l
mount -o remount,size=64m "$1"
"$2/mailcaskd" --config "$3" --once; echo "status $?"
"$2/mailcask" --archive "$1/archive" verify; echo "status $?"
"$2/mailcask" --archive "$1/archive" accounts --json
"""


def full_disk():
    import random
    noise = random.Random(1)
    write_files(mail / "large", [b"Subject: %d\r\n\r\n" % i + base64.encodebytes(noise.randbytes(700_000))
                                 for i in range(12)])
    cask = Mailcask()
    mount = cask.folder / "disk"
    mount.mkdir()
    cask.settings["path"] = mount / "archive"
    cask.add_server("s", server.port, certificates.ca)
    cask.add_account("large@x", "s", user="large")
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if run([*unshare, "true"]).status != 0:
        return skip("full disk", "no mount namespace of our own")
    result = run([*unshare, "sh", "-c", FULL, "sh", mount, BUILD, cask.write_config()], timeout=120)
    out, err = result.out.decode(), result.err.decode()
    statuses = re.findall(r"^status (\d+)$", out, re.M)
    is_(statuses[:1], ["4"], "a full disk: exit 4") or diag(out + err)
    like(err, r"(?i)space", "with a line that says so")
    is_(statuses[1:], ["0", "0"], "with room again the next pass completes, and the archive is sound") or diag(out + err)
    like(out, r'"messages": ?12', "no message is missing")


failures()
configuration()
no_archive()
locked()
full_disk()
done()
