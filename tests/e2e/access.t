#!/usr/bin/env python3
"""Who was given which messages, and why: in the system's log, and in the ledger where a service runs, which stays
through repacking and reindexing; and nothing without a reason where one is demanded."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

mail, target = temp_folder(), temp_folder()
for user in ("alice", "bob"):
    write_files(mail / user, [f"Subject: {user} {n}\r\n\r\nmail {n}\r\n".encode() for n in range(5)])
server = Pop3d(mail)
cask = Mailcask()
cask.add_server("s", server.port, server.ca, poll="1h")
for user in ("alice", "bob"):
    cask.add_account(user, "s")
cask.init()
is_(cask.once().status, 0, "fetched")


def accesses(account):
    return [e for e in cask.json("ledger", "--account", account) if e["type"] == "access"]


def on_record(account, count):
    return wait_for(lambda: len(accesses(account)) == count and accesses(account), what=f"{count} accesses of {account}")


def running(**settings):
    cask.settings.update(settings)
    service = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, what="service")
    return service


def without_a_service():
    is_(cask.tool("show", "alice/1").status, 0, "show without a service")
    is_(accesses("alice"), [], "the ledger stays as it is")


def beside_a_service():
    service = running()
    is_(cask.tool("show", "alice/2", "--reason", "ticket 7").status, 0, "show beside the service")
    first, = on_record("alice", 1)
    is_([first[k] for k in ("command", "messages", "first", "last", "reason", "detail")], ["show", 1, 2, 2, "ticket 7", None],
        "the ledger tells which message and why")
    ok(first["user"], f"and who: {first['user']}")
    is_(cask.tool("restore", "--all", "--to", f"maildir:{target}/all", "--since", "2020-01-01").status, 0, "restore --all")
    entry = on_record("bob", 1)[0]
    is_([entry[k] for k in ("command", "messages", "first", "last", "reason")], ["restore", 5, 1, 5, None],
        "each account's ledger tells of it")
    is_(entry["detail"], f"maildir:{target}/all since 2020-01-01", "where to, of which days")
    is_(cask.tool("restore", "--id", "alice/4", "--id", "alice/2", "--to", f"eml:{target}/two").status, 0, "restore of two")
    entry = on_record("alice", 3)[-1]
    is_([entry[k] for k in ("messages", "first", "last")], [2, 2, 4], "so many, of this range")
    events = [e["event"] for e in cask.json("ledger", "--message", "alice/2")[0]["events"]]
    is_([e for e in events if e in ("shown", "restored")], ["shown", "restored", "restored"], "it is part of a message's life")
    like(cask.tool("ledger", "--account", "alice").out.decode(), r"was shown message 2; because: ticket 7", "in words")
    is_(service.stop(), 0, "the service stops")


def what_stays():
    before = accesses("alice")
    for command in ("reindex", "repack", "verify"):
        is_(cask.tool(command).status, 0, command)
    is_(accesses("alice"), before, "the same after reindexing and repacking")


def nothing_without_a_reason():
    service = running(require_reason="yes")
    for words in (("show", "alice/1"), ("restore", "--account", "alice", "--to", f"eml:{target}/refused")):
        for how, result in (("--archive", cask.tool(*words)),
                            ("--config", run([BUILD / "mailcask", "--config", cask.config, *words]))):
            is_(result.status, 2, f"{words[0]} {how} without a reason: refused")
            is_(result.out, b"", "nothing is given out")
            like(result.err.decode(), "require-reason = yes.*--reason TEXT", "what to do is said")
    ok(not list(target.glob("refused/*")), "nothing was restored")
    is_(cask.tool("show", "alice/1", "--reason", "audit").status, 0, "with a reason")
    is_(on_record("alice", 4)[-1]["reason"], "audit", "which the ledger holds")
    is_(service.stop(), 0, "the service stops")
    result = run([BUILD / "mailcask", "--config", cask.config, "show", "alice/1"])
    is_(result.status, 2, "the configuration demands it without a service too")


def reasons_that_do_not_fit():
    for reason in ("x" * 257, "two\nlines", b"\xff".decode("latin-1") * 129):
        is_(cask.tool("show", "alice/1", "--reason", reason).status, 2, f"{reason[:5]!r}...: refused")
    is_(cask.tool("show", "alice/1", "--reason", "x" * 256).status, 0, "256 bytes fit")


def in_the_systems_log():
    """/dev as a folder of ours, whose `log` we read."""
    name = "the system's log tells of it"
    if os.geteuid() != 0:
        skip(name, "needs root, to put a /dev in place")
        return
    devices = temp_folder()
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(devices / "log"))
    log.settimeout(START_SECONDS * PATIENCE)
    links = "".join(f"touch {devices}/{d}; mount --bind /dev/{d} {devices}/{d}; " for d in ("null", "urandom"))
    run(["unshare", "--mount", "sh", "-ec", f"{links} mount --rbind {devices} /dev; "
         f"exec {BUILD}/mailcask --archive {cask.archive} show alice/3 --reason 'of \"them\" all'"])
    try:
        line = log.recv(4096).decode()
    except TimeoutError:
        line = "nothing"
    like(line, r'^<86>.*mailcask\[\d+\]: show: messages=1 range=3-3 user="[^"]+" account="alice" detail="" '
               r'reason="of \\"them\\" all"$', name)


without_a_service()
beside_a_service()
what_stays()
nothing_without_a_reason()
reasons_that_do_not_fit()
in_the_systems_log()
done()
