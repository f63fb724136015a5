#!/usr/bin/env python3
"""SIGTERM in the middle of heavy fetching, from several servers, with most sessions inside of a large message: the
service stops at once, nothing it stored is fetched again, and a restart completes the rest. With a repack under way
and with a server that does not answer any more as well."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

STOP_WITHIN = 5 * TIME_SCALE  # seconds
SLACK = 2                     # for a machine that has other work, too
SERVERS, USERS = 4, 5         # users of each server
SMALL, LARGE = 12, 2          # messages of each user
LARGE_SIZE = (1_500_000, 4_000_000)
ENOUGH = 80                   # messages handed over before the stop
THROTTLE = 1_500_000          # bytes a second and session: seconds for a large message

chance = random.Random(6)


def letter(number, size, attached):
    data = chance.randbytes(size * 3 // 4)
    body = base64.encodebytes(data) if attached else data.hex(" ", 30).encode().replace(b" ", b"\n") + b"\n"
    return b"Subject: %d\r\n\r\n" % number + body.replace(b"\n", b"\r\n")


def mailbox():
    """Large messages among small ones, so that each session is soon in one."""
    sizes = [chance.randint(200, 20_000) for _ in range(SMALL)]
    for _ in range(LARGE):
        sizes.insert(chance.randrange(2, len(sizes)), chance.randint(*LARGE_SIZE))
    return {f"{i:04}x{chance.getrandbits(32):08x}": letter(i, size, chance.random() < 0.5) for i, size in enumerate(sizes)}


mail = [temp_folder() for _ in range(SERVERS)]
sent = {f"{s}user{u}": (s, mailbox()) for s in range(SERVERS) for u in range(USERS)}
for user, (s, messages) in sent.items():
    write_files(mail[s] / user, messages)


def world(*options):
    """A mailcask with all accounts, and its servers."""
    cask = Mailcask()
    servers = start_servers(cask, *options)
    for user, (s, _) in sent.items():
        cask.add_account(user, f"s{s}")
    cask.init()
    return cask, servers


def start_servers(cask, *options):
    servers = [Pop3d(folder, "--no-lock", *options) for folder in mail]
    for s, server in enumerate(servers):
        cask.add_server(f"s{s}", server.port, server.ca, poll="2s", max_connections=USERS)
    return servers


TOTAL = sum(len(messages) for _, messages in sent.values())


def stored(cask):
    """(user, UIDL) of what is archived."""
    users = [a["account"] for a in cask.json("accounts") if a["messages"] > 0]
    return {(user, m["uidl"]) for user in users for m in cask.json("list", "--account", user)}


def is_complete(cask):
    return sum(a["messages"] for a in cask.json("accounts")) >= TOTAL


def asked_for(servers):
    """How often each (user, file) was asked for, wherever the answer ended."""
    return collections.Counter(tuple(l.split()[1:3]) for server in servers for event in ("retr", "retr-cut")
                               for l in server.log(event))


def stop(service, what):
    begin = time.monotonic()
    status = service.stop()
    seconds = time.monotonic() - begin
    is_(status, 0, f"SIGTERM {what}: exit 0")
    ok(seconds < STOP_WITHIN * SLACK, f"within {seconds:.1f} seconds")
    diag(f"promised within {STOP_WITHIN}")


def goes_on(cask, before):
    """Started again, with servers that hold nothing back: all there, and what was stored not asked for again."""
    kept = stored(cask)
    is_(cask.tool("verify").status, 0, "the archive is sound")
    ok(0 < len(kept) < TOTAL, f"some messages were stored, not all ({len(kept)})")
    for server in before:
        server.stop(signal.SIGKILL)
    whole = {tuple(l.split()[1:3]) for server in before for l in server.log("retr")}
    servers = start_servers(cask)
    service = cask.start()
    wait_for(lambda: is_complete(cask), RUN_SECONDS, "the rest")
    is_(service.stop(), 0, "a restart fetches the rest")
    again = asked_for(servers)
    is_([m for m in again if m in kept], [], "and nothing that was stored")
    is_((len(again), max(again.values())), (TOTAL - len(kept), 1), "each message of it once")
    diag(f"{len(whole)} were handed over whole before the stop, {len(whole & again.keys())} of them again")
    out = cask.folder / "out"
    cask.restore(f"eml:{out}")
    wrong = [user for user, (_, messages) in sent.items()
             if hashes(read_eml(out / user)) != hashes([wire_bytes(m) for m in messages.values()])]
    is_((wrong, cask.tool("verify").status), ([], 0), "all is there, exact and once, and sound")


def handed_over(servers):
    return sum(len(server.log("retr")) for server in servers)


def in_large_messages():
    cask, servers = world("--throttle", str(THROTTLE))
    service = cask.start()
    wait_for(lambda: handed_over(servers) >= ENOUGH, RUN_SECONDS, "some mail")
    status = json.loads(cask.tool("status", "--json").out)
    ok(status["service"]["sessions"] > SERVERS * USERS / 2, f"{status['service']['sessions']} sessions fetch")
    stop(service, "with all of them under way")
    wait_for(lambda: sum(len(s.log("retr-cut")) for s in servers) > SERVERS, what="the servers' notice")
    diag(f"{sum(len(s.log('retr-cut')) for s in servers)} messages were cut")
    goes_on(cask, servers)


def beside_what_holds_up():
    """Two servers hang in the middle of a message, a repack runs, and the rest is fetched as fast as it comes."""
    cask, servers = world("--throttle", str(2 * THROTTLE))
    service = cask.start()
    wait_for(lambda: handed_over(servers) >= ENOUGH, RUN_SECONDS, "some mail")
    for server in servers[:2]:
        server.child.send_signal(signal.SIGSTOP)
    repack = subprocess.Popen([BUILD / "mailcask", "--archive", cask.archive, "repack"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    wait_for(lambda: json.loads(cask.tool("status", "--json").out)["repack"]["run"] > 0, what="the repack")
    stop(service, "with servers that hang and a repack under way")
    repack.wait()
    for server in servers[:2]:
        server.child.send_signal(signal.SIGCONT)
    goes_on(cask, servers)


in_large_messages()
beside_what_holds_up()
done()
