#!/usr/bin/env python3
"""How many sessions are open at once where several [server] sections lead to one address."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

HOSTS = {"one": "127.0.0.1", "two": "localhost", "three": "LocalHost"}
ACCOUNTS = 5  # of each section
CAP = 2
MESSAGE = b"Subject: one\r\n\r\nbody\r\n"
ENOUGH = 30  # sessions


def most_open(server):
    """How many connections there were at once at most."""
    now, most = 0, 0
    for line in server.log():
        now += line.startswith("connect ")
        now -= line.startswith("session ")
        most = max(most, now)
    return most


def one_server(*options, **account):
    """One server, and sections that lead to it with caps of their own, of which CAP is the lowest."""
    mail = temp_folder()
    server = Pop3d(mail, *options)
    cask = Mailcask()
    for number, (name, host) in enumerate(HOSTS.items()):
        cask.add_server(name, server.port, server.ca, host=host, max_connections=CAP + number)
        for i in range(ACCOUNTS):
            write_files(mail / f"{name}{i}", [MESSAGE])
            cask.add_account(f"{name}{i}", name, **account)
    cask.init()
    return server, cask


def q46_sections_of_one_address_share_a_cap():
    server, cask = one_server("--delay-ms", "10")
    check(cask.once().status == 0, "all are archived")
    same(most_open(server), CAP, "never more than the lowest max-connections at once")
    same(len(server.log("session")), len(HOSTS) * ACCOUNTS, "every account had its turn")


def q46_a_service_keeps_the_cap():
    server, cask = one_server("--delay-ms", "10", poll="1s")
    service = cask.start()
    server.wait_log("^session ", ENOUGH)
    same(service.stop(), 0, "it ends in order")
    same(most_open(server), CAP, "never more than the lowest max-connections at once")
    users = {l.split()[1] for l in server.log("login")}
    same(len(users), len(HOSTS) * ACCOUNTS, "no section starves another")


def q46_a_reload_keeps_the_cap():
    """Accounts, then a whole section, go while their sessions are open, and come back under another
    name: what is open counts all the same."""
    server, cask = one_server("--delay-ms", "30", poll="1s")
    service = cask.start()
    accounts, servers = dict(cask.accounts), dict(cask.servers)
    for step in range(4):
        server.wait_log("^connect ", 6 * (step + 1))
        gone = "one" if step % 2 == 0 else "two"
        cask.servers = {k: v for k, v in servers.items() if k != gone} | {f"{gone}{step}": servers[gone]}
        cask.accounts = {k if a["server"] != gone else f"new{step}{k}":
                         a if a["server"] != gone else {**a, "server": f"{gone}{step}"} for k, a in accounts.items()}
        cask.write_config()
        service.child.send_signal(signal.SIGHUP)
        wait_for(lambda: service.output().count("read again") > step, what="reload")
    server.wait_log("^session ", ENOUGH)
    same(service.stop(), 0, "it ends in order")
    same(most_open(server), CAP, "never more than the lowest max-connections at once")


def q46_status_says_what_is_waited_for():
    server, cask = one_server("--delay-ms", "300", poll="1s")
    service = cask.start()

    def waiting():
        status = cask.tool("status", "--json")
        if status.status != 0:
            return None
        told = json.loads(status.out)
        return told if any(a.get("waits_for") == "address" for a in told["accounts"]) else None

    told = wait_for(waiting, what="an account that waits for its address")
    sections = {(s["address_limit"], s["address_servers"]) for s in told["servers"]}
    check((CAP, len(HOSTS)) in sections, "the cap, and how many share it", told["servers"])
    text = cask.tool("status", "--all").out.decode()
    check(f"of {CAP} at its address, shared by {len(HOSTS)} servers" in text, "in words too", text)
    check("its server's address has max-connections sessions" in text, "and what an account waits for", text)
    service.stop()


def limit_files_that_may_be_open():
    """Fewer descriptors than sessions would like: the administrator is told, and the rest waits."""
    count, sessions = 24, 8
    mail = temp_folder()
    server = Pop3d(mail, "--delay-ms", "20")
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, max_connections=count)
    for i in range(count):
        write_files(mail / f"user{i}", [MESSAGE])
        cask.add_account(f"user{i}", "s")
    cask.init()
    files = 192 + sessions  # daemon/rounds.c keeps these for other things
    result = run(["prlimit", f"--nofile={files}:{files}", *cask.once_arguments()])
    said = (result.out + result.err).decode()
    check(result.status == 0, "all are archived", said)
    same(sum(a["messages"] for a in cask.json("accounts")), count, "each message")
    same(said.count("too few files may be open"), 1, "one line says what to raise")
    check(1 < most_open(server) <= sessions, "so many sessions at once, and no more", most_open(server))
    result = cask.once()
    check(b"too few files" not in result.out + result.err, "nothing is said where there are enough", result)


def limit_handshakes_at_once():
    """A server that accepts connections and answers no handshake holds up others for 20 seconds only: then those
    that wait for their turn begin all the same. The clock is moved on; a slow session keeps the one worker awake."""
    hung, good, turn_seconds = 300, 20, 20  # WORKER_HANDSHAKES_MAX and a few, SESSION_TURN_MS
    mail = temp_folder()
    server = Pop3d(mail, script=f"on CONNECT connection 1-{hung} hang\n")
    slow = Pop3d(mail, script="on RETR drip 20 1\n")
    cask = Mailcask()
    cask.add_server("slow", slow.port, slow.ca)
    cask.add_server("s", server.port, server.ca, max_connections=hung + good)
    write_files(mail / "awake", [b"Subject: slow\r\n\r\n" + b"\r\n" * 10_000])
    cask.add_account("awake", "slow")
    for i in range(hung + good):
        write_files(mail / f"user{i}", [MESSAGE])
        cask.add_account(f"user{i}", "s")
    cask.init()
    clock = cask.folder / "clock"
    clock.touch()
    cpu = str(min(os.sched_getaffinity(0)))  # a worker for each
    service = Server(["taskset", "-c", cpu, *cask.once_arguments()], temp_folder(), {
        "LD_PRELOAD": str(BUILD / "tests/clock.so"), "MAILCASK_CLOCK": str(clock),
        "ASAN_OPTIONS": "verify_asan_link_order=0"})
    server.wait_log("^connect ", hung + good)
    slow.wait_log("^login ")
    begin = time.monotonic()
    time.sleep(0.5)
    before = len(server.log("login"))
    os.truncate(clock, turn_seconds + 1)
    server.wait_log("^session .* RETR=1", good)
    seconds = time.monotonic() - begin
    service.stop()
    check(before == 0, "behind them nobody has a turn", before)
    check(seconds < turn_seconds, f"then everybody begins ({seconds:.1f} s)")


run_quirks(globals())
