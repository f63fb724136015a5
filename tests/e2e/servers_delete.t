#!/usr/bin/env python3
"""Deleting from real servers (real.py): what is archived goes, exact copies stay, and what is gone is
confirmed by two later listings; nothing goes behind Courier's wrapper, and Cyrus's +OK to a QUIT that
deleted nothing is not believed. A server that cannot be had here is skipped with the reason.
servers_delete.t NAME... runs some of the functions below only."""

import itertools
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from real import *


def left(server, user):
    """How many messages the server lists."""
    with Pop3Client(server.port, server.ca) as client:
        client.login(user)
        listed = client.listing("UIDL")
        client.quit()
    return len(listed)


def is_emptied(server, user, name):
    """Soon: Courier answers QUIT before it unlinks (S9)."""
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: left(server, user) == 0)
    return is_(left(server, user), 0, name)


def deleting(server, *users, **settings):
    return mailcask(server, *users, archive={"deletes": "on"}, delete="archived", **settings)


def outcomes(cask, user):
    """In order: (state, how many messages). Sessions in a row with the same outcome count together: a
    message whose size is not as listed may end one (Q21)."""
    found = [(e["state"], sum(last - first + 1 for first, last in e["messages"]))
             for e in cask.json("ledger", "--account", user) if e["type"] == "deletion"]
    return [(state, sum(count for _, count in group))
            for state, group in itertools.groupby(found, key=lambda f: f[0])]


def pass_(name, cask, what):
    result = cask.once()
    return is_(result.status, 0, f"{name}: {what}") or diag(str(result))


def emptied(name, kind, mail, utf8=False):
    """Everything is archived and deleted in one pass, and confirmed by two more."""
    server = started(kind, name, ("alice",))
    if server is None:
        return
    server.fill("alice", mail)
    _, _, messages = reference(server, "alice", utf8)
    cask = deleting(server, "alice")
    pass_(name, cask, "a pass that archives and deletes ends with success")
    is_emptied(server, "alice", f"{name}: the mailbox is empty")
    is_(archived(cask, "alice"), hashes(messages), f"{name}: {len(mail)} messages come back exact")
    for _ in range(2):
        pass_(name, cask, "a later pass ends with success")
    is_(outcomes(cask, "alice"), [(state, len(mail)) for state in ("accepted", "absent", "confirmed")],
        f"{name}: two later listings confirm the deletions")
    is_(cask.tool("verify").status, 0, f"{name}: the archive is sound")


def mail(*odd):
    return [*PLAIN.values(), *(ODD[name] for name in odd)]


def popa3d():
    emptied("popa3d", Popa3d, mail("utf8", "8bit", "no end"))
    one_id()


def one_id():
    """Q6: DELE 2 might hit another message than the one that was read back."""
    name = "popa3d, one ID for all"
    server = started(Popa3d, name, ("alice",))
    if server is None:
        return
    server.fill("alice", [b"Subject: %d\n\nsame size\n" % i for i in range(5)])
    _, _, messages = reference(server, "alice")
    cask = deleting(server, "alice")
    for _ in range(2):
        pass_(name, cask, "a pass ends with success")
    is_(archived(cask, "alice"), hashes(messages), f"{name}: all are archived")
    is_(left(server, "alice"), len(messages), f"{name}: and all are kept")


def solid():
    emptied("solid-pop3d", Solid, mail("utf8", "8bit", "dotdot", "crlf"))


def courier():
    emptied("Courier", Courier, mail("utf8", "8bit", "no end", "dotdot", "crlf"), utf8=True)


def wrapper():
    """Q22: the archive has Courier's text, not the message."""
    name = "Courier without UTF8"
    server = started(Courier, name, ("alice",))
    if server is None:
        return
    server.fill("alice", mail("utf8", "8bit"))
    _, _, messages = reference(server, "alice")
    cask = deleting(server, "alice", avoid="utf8")
    pass_(name, cask, "a pass ends with success")
    wait_for(lambda: left(server, "alice") <= 2)
    is_(left(server, "alice"), 2, f"{name}: nothing is deleted behind its wrapper, everything else is")
    told = cask.tool("deletions", "--account", "alice").out.decode()
    is_(len(re.findall("^keep .* a text of its own in place of the message$", told, re.M)), 2,
        f"{name}: and `deletions` says why")
    for _ in range(2):
        pass_(name, cask, "a later pass ends with success")
    _, _, hidden = reference(server, "alice", utf8=True)
    is_(hashes(hidden), hashes(wire_bytes(ODD[n]) for n in ("utf8", "8bit")), f"{name}: both messages are there")
    is_(sum(archived(cask, "alice").values()), len(messages), f"{name}: each wrapper is archived once")


def mailutils():
    emptied("mailutils, Maildir", MailutilsMaildir, mail("no end"))
    mailutils_mbox()


def mailutils_mbox():
    """It changes each message after the first session: what is deleted is what was archived last."""
    name = "mailutils, mbox"
    server = started(Mailutils, name, ("alice",))
    if server is None:
        return
    server.fill("alice", mail("no end"))
    cask = deleting(server, "alice")
    pass_(name, cask, "a pass ends with success")
    _, _, messages = reference(server, "alice")
    is_(len(messages), len(mail("no end")), f"{name}: what has changed is not deleted")
    ok(not hashes(messages) & archived(cask, "alice"), f"{name}: nor archived so far")
    result = cask.once()
    is_(result.status, 0, f"{name}: a second pass ends with success")
    like(result.err, "account=alice .*nothing is deleted unless it is fetched once more and is equal",
         f"{name}: the operator is told of the change")
    is_(left(server, "alice"), len(messages), f"{name}: nothing is deleted so far")
    for _ in range(2):
        pass_(name, cask, "a later pass ends with success")
    is_emptied(server, "alice", f"{name}: then the mailbox is empty")
    is_(hashes(messages) - archived(cask, "alice"), {}, f"{name}: and all of it is archived exact")


def cyrus():
    emptied("Cyrus", Cyrus, mail("utf8", "8bit", "no end", "dotdot"))


def cyrus_says_ok():
    """S9: QUIT is answered with +OK, and nothing was deleted."""
    name = "Cyrus with its index hidden at QUIT"
    server = started(Cyrus, name, ("alice",))
    if server is None:
        return
    server.fill("alice", PLAIN.values())
    _, _, messages = reference(server, "alice")
    hiding = Hiding(server, server.box("alice") / "cyrus.index")
    cask = deleting(server, "alice", port=Front(certificates.good, hiding.connect, hiding.before).port)
    pass_(name, cask, "the pass ends with success, as far as anybody can tell")
    is_(left(hiding, "alice"), len(messages), f"{name}: but nothing was deleted")
    pass_(name, cask, "a second pass ends with success")
    is_(outcomes(cask, "alice"), [("accepted", len(messages)), ("returned", len(messages))],
        f"{name}: which sees that all have come back")
    for _ in range(3):
        pass_(name, cask, "a later pass ends with success")
    is_emptied(server, "alice", f"{name}: they are deleted again")
    is_(outcomes(cask, "alice")[2:], [(state, len(messages)) for state in ("accepted", "absent", "confirmed")],
        f"{name}: and two listings confirm it")
    is_(archived(cask, "alice"), hashes(messages), f"{name}: nothing is there twice")


class Hiding:
    """Moves a file of the server aside at the first QUIT behind a DELE, and back for whoever connects
    next."""

    def __init__(self, server, path):
        self.server, self.path, self.aside = server, path, path.with_name("aside")
        self.ca, self.deletes, self.hidden = server.ca, False, False
        self.port = Front(certificates.good, self.connect).port

    def connect(self):
        if self.aside.exists():
            self.aside.rename(self.path)
        return self.server.connect()

    def before(self, data):
        self.deletes |= b"DELE" in data
        if self.deletes and not self.hidden and b"QUIT" in data:
            self.path.rename(self.aside)
            self.hidden = True


def moved():
    """Q7: from one server to another, with new IDs for the same messages."""
    name = "from Courier to solid-pop3d"
    before, after = started(Courier, name, ("alice",)), started(Solid, name, ("alice",))
    if before is None or after is None:
        return
    for server in (before, after):
        server.fill("alice", mail("utf8"))
    _, _, messages = reference(after, "alice")
    cask = mailcask(before, "alice", archive={"deletes": "on"})
    pass_(name, cask, "archived from the first")
    cask.add_server("s", after.port, after.ca, delete="archived")
    result = cask.once()
    is_(result.status, 0, f"{name}: a pass ends with success")
    like(result.err, "account=alice .*most of the messages listed before have other UIDLs", f"{name}: the operator is told")
    is_(left(after, "alice"), len(messages), f"{name}: nothing is deleted so far")
    pass_(name, cask, "a second pass ends with success")
    is_emptied(after, "alice", f"{name}: what is equal when fetched again is deleted")
    is_(left(before, "alice"), len(messages), f"{name}: only from the new server")
    is_(archived(cask, "alice"), hashes(messages), f"{name}: and nothing is there twice")


TESTS = (popa3d, solid, courier, wrapper, mailutils, cyrus, cyrus_says_ok, moved)
for test in TESTS:
    if test.__name__ in (sys.argv[1:] or [t.__name__ for t in TESTS]):
        test()
done()
