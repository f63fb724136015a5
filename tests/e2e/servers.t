#!/usr/bin/env python3
"""Real servers other than Dovecot (real.py), each as it is: everything comes back as RETR delivers it, a
second pass fetches nothing, and what workers/POP3.md says of them is what they do. A server that
cannot be had here is skipped with the reason, in CI too: that needs Debian's archive. servers.t NAME...
runs some of the functions below only."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from real import *

CONTROL_LINES = r"^(.* msg=\"mailcaskd has started\" .*)?$"


def capabilities(server):
    """What CAPA lists before login; None where there is none."""
    with Pop3Client(server.port, server.ca) as client:
        try:
            return client.multi("CAPA").decode().split("\r\n")[:-1]
        except Pop3Error:
            return None


def counts(entry, *names):
    return {n: entry[n] for n in names}


def exact(name, server, user, expected):
    """One pass archives everything, a second one nothing."""
    cask = mailcask(server, user)
    result = cask.once()
    is_(result.status, 0, f"{name}: the pass ends with success") or diag(str(result))
    ok(all(re.search(CONTROL_LINES, l) for l in result.err.decode().split("\n")),
       f"{name}: and has nothing to complain of") or diag(result.err.decode())
    is_(archived(cask, user), hashes(expected), f"{name}: {len(expected)} messages come back exact")
    entry = session(cask, user)
    is_(counts(entry, "state", "trusted", "listed", "refused"),
        {"state": "complete", "trusted": True, "listed": len(expected), "refused": 0}, f"{name}: the ledger says so")
    is_(entry["known"] + entry["fetched"], len(expected), f"{name}: of every message")
    result = cask.once()
    is_(result.status, 0, f"{name}: a second pass ends with success")
    is_(counts(session(cask, user), "known", "fetched", "deduplicated"),
        {"known": len(expected), "fetched": 0, "deduplicated": 0}, f"{name}: and fetches nothing")
    is_(cask.tool("verify").status, 0, f"{name}: the archive is sound")
    second_session(name, server, user)


def second_session(name, server, user):
    with Pop3Client(server.port, server.ca) as client, Pop3Client(server.port, server.ca) as other:
        client.login(user)
        other.login(user)
        is_(client.stat(), other.stat(), f"{name}: lets two sessions on one mailbox (Q47)")


def size_errors(names, sizes, messages):
    """By how much LIST is off, where it is."""
    return {n: s - len(m) for n, s, m in zip(names, sizes, messages) if s != len(m)}


def popa3d():
    server = started(Popa3d, "popa3d")
    if server is None:
        return
    mail = {**PLAIN, **ODD}
    del mail["crlf"]
    server.fill("alice", mail.values())
    is_(capabilities(server), None, "popa3d: has no CAPA")
    sizes, ids, messages = reference(server, "alice")
    is_(size_errors(mail, sizes, messages), {}, "popa3d: LIST is right")
    is_(messages[list(mail).index("dotdot")], wire_bytes(mail["dotdot"]), "popa3d: every dot is stuffed")
    headerless = [i for n, i in zip(mail, ids) if n.startswith("dot") and n != "dots"]
    ok(len(set(headerless)) == 1 and len(set(ids)) == len(ids) - 1,
       "popa3d: without the headers that it hashes, messages share an ID (Q6)")
    exact("popa3d", server, "alice", messages)
    same_id_later(server)


def same_id_later(server):
    """A sender can make popa3d's IDs equal; nothing is hidden by that (Q6, Q9)."""
    first, second, third = (b"Subject: %d\n\nsame size\n" % i for i in (1, 2, 3))
    server.fill("bob", [first, second])
    cask = mailcask(server, "bob")
    cask.once()
    server.fill("bob", [third])
    sizes, ids, messages = reference(server, "bob")
    is_((len(set(sizes)), len(set(ids))), (1, 1), "popa3d: three messages with one ID and one size")
    is_(cask.once().status, 0, "popa3d: the third comes later")
    is_(archived(cask, "bob"), hashes(messages), "popa3d: and is archived, too")


def solid():
    server = started(Solid, "solid-pop3d")
    if server is None:
        return
    mail = {**PLAIN, **ODD}
    no_end = mail.pop("no end")
    server.fill("alice", mail.values())
    is_(capabilities(server), None, "solid: has no CAPA")
    sizes, ids, messages = reference(server, "alice")
    is_(size_errors(ids, sizes, messages), {}, "solid: LIST is right")
    is_(len(set(ids)), len(ids), "solid: every message has its own ID")
    ok(wire_bytes(mail["dotdot"]) in messages, "solid: every dot is stuffed")
    exact("solid", server, "alice", messages)
    server.fill("bob", [PLAIN["dots"], no_end])
    cask = mailcask(server, "bob")
    result = cask.once()
    is_(result.status, 1, "solid: a message without a final newline shuts the mailbox")
    like(result.err, r"account=bob .*message is damaged", "solid: and the operator reads why")


def courier():
    server = started(Courier, "Courier")
    if server is None:
        return
    mail = {**PLAIN, **ODD}
    server.fill("alice", mail.values())
    capa = capabilities(server)
    ok({"UTF8 USER", "PIPELINING", "UIDL", "SASL PLAIN", "LOGIN-DELAY 10"} <= set(capa),
       "courier: announces UTF8, PIPELINING, LOGIN-DELAY") or diag(capa)
    sizes, ids, messages = reference(server, "alice", utf8=True)
    # "..dots" arrives as ".dots", one byte less than listed.
    is_(size_errors(mail, sizes, messages), {"no end": -2, "dotdot": 1},
        "courier: LIST is 2 short without a final newline (Q16)")
    got = dict(zip(mail, messages))
    is_(got["dotdot"], wire_bytes(mail["dotdot"])[1:], "courier: a dot that starts a message is not stuffed (Q20)")
    is_(got["crlf"], wire_bytes(mail["crlf"], "lf").replace(b"\r\n", b"\r\r\n"),
        "courier: a CRLF on its disk arrives as CR CR LF")
    is_((got["utf8"], got["8bit"]), (wire_bytes(mail["utf8"]), wire_bytes(mail["8bit"])),
        "courier: with UTF8, 8-bit headers are delivered as they are (Q22)")
    exact("courier", server, "alice", messages)
    courier_wrapper(server, mail)
    courier_lone_dot()


def courier_wrapper(server, mail):
    wrapped = {n: m for n, m in zip(mail, reference(server, "alice")[2])
               if b"Cannot display Unicode content" in m}
    is_(set(wrapped), {"utf8", "8bit"}, "courier: without UTF8, 8-bit headers are hidden in a wrapper (Q22)")
    for name, message in wrapped.items():
        ok(wire_bytes(mail[name]) in message and b"Content-Type: message/global" in message,
           f"courier: which holds the message ({name})")
    cask = mailcask(server, "alice", avoid="utf8")
    is_(cask.once().status, 0, "courier: with avoid = utf8 a pass ends with success")
    subjects = [m["subject"] for m in cask.json("list", "--account", "alice")]
    is_(subjects.count("Cannot display Unicode content"), 2, "courier: and has archived the wrappers")


def courier_lone_dot():
    server = started(Courier, "Courier: a lone dot", ("alice",))
    if server is None:
        return
    server.fill("alice", [PLAIN["dots"], b".\n\nx\n", PLAIN["latin"]])
    cask = mailcask(server, "alice")
    result = cask.once()
    is_(result.status, 1, "courier: a message that starts with a lone dot is put aside (Q21)") or diag(str(result))
    is_(archived(cask, "alice"), hashes(map(wire_bytes, (PLAIN["dots"], PLAIN["latin"]))),
        "courier: and the others are archived")


def mailutils_mbox():
    server = started(Mailutils, "mailutils, mbox")
    if server is None:
        return
    mail = {**PLAIN, "no end": ODD["no end"], "8bit": ODD["8bit"]}
    server.fill("alice", mail.values())
    capa = capabilities(server)
    ok({"PIPELINING", "UIDL", "EXPIRENEVER"} <= set(capa), "mailutils: announces EXPIRENEVER (Q49)") or diag(capa)
    cask = mailcask(server, "alice")
    is_(cask.once().status, 0, "mailutils, mbox: the pass ends with success")
    _, ids, messages = reference(server, "alice")
    ok(all(b"X-UIDL: " + i.encode() in m for i, m in zip(ids, messages)),
       "mailutils, mbox: the ID is written into the message")
    first = archived(cask, "alice")
    ok(sum(first.values()) == len(mail) and not first & hashes(messages),
       "mailutils, mbox: and further headers once it was read: all have changed since they were archived")
    is_(cask.once().status, 0, "mailutils, mbox: a second pass ends with success")
    is_(archived(cask, "alice"), first + hashes(messages), "mailutils, mbox: both states are archived exact (Q8)")
    cask.once()
    is_(counts(session(cask, "alice"), "known", "fetched", "deduplicated"),
        {"known": len(mail), "fetched": 0, "deduplicated": 0}, "mailutils, mbox: a third pass fetches nothing")
    is_(cask.tool("verify").status, 0, "mailutils, mbox: the archive is sound")
    mailutils_refuses(server, cask)


def mailutils_refuses(server, cask):
    with Pop3Client(server.port, server.ca) as client:
        client.login("alice")
        result = cask.once()
    is_(result.status, 1, "mailutils: a second session is refused")
    like(result.err, r"account=alice .*in use by another program.*\[IN-USE\]", "mailutils: and said to be so (Q38)")
    cask.add_account("alice", "s", password="wrong")
    result = cask.once()
    is_(result.status, 1, "mailutils: a wrong password is refused")
    like(result.err, r"account=alice .*\[SYS/PERM\]", "mailutils: as a lasting fault (Q40)") or diag(result.err.decode())


def mailutils_maildir():
    server = started(MailutilsMaildir, "mailutils, Maildir")
    if server is None:
        return
    forged = b"X-UIDL: forged\nSubject: forged\n\nbody %d\n"
    mail = [*PLAIN.values(), ODD["no end"], forged % 1, forged % 2]
    server.fill("alice", mail)
    cask = mailcask(server, "alice")
    is_(cask.once().status, 0, "mailutils, Maildir: the pass ends with success")
    _, ids, messages = reference(server, "alice")
    is_(ids.count("forged"), 2, "mailutils: a sender's X-UIDL is the ID, twice (Q9)")
    is_(archived(cask, "alice"), hashes(messages), "mailutils, Maildir: all messages come back exact")
    cask.once()
    entry = counts(session(cask, "alice"), "fetched", "deduplicated", "known")
    is_(entry, {"fetched": 0, "deduplicated": len(mail) - 2, "known": 2},
        "mailutils, Maildir: the next listing has other sizes, and content finds all known (Q8)")
    cask.once()
    is_(counts(session(cask, "alice"), "known", "fetched", "deduplicated"),
        {"known": len(mail), "fetched": 0, "deduplicated": 0}, "mailutils, Maildir: a third pass fetches nothing")
    is_(archived(cask, "alice"), hashes(messages), "mailutils, Maildir: no second copy")


def cyrus():
    server = started(Cyrus, "Cyrus")
    if server is None:
        return
    mail = {**PLAIN, **ODD}
    server.fill("alice", mail.values())
    capa = capabilities(server)
    ok({"PIPELINING", "UIDL", "EXPIRE NEVER"} <= set(capa), "cyrus: announces PIPELINING") or diag(capa)
    sizes, ids, messages = reference(server, "alice")
    got = dict(zip(mail, messages))
    is_(set(size_errors(mail, sizes, messages)), {"no end", "nul"}, "cyrus: LIST is right but for two")
    is_(sizes[list(mail).index("no end")] - len(got["no end"]), -2,
        "cyrus: it is 2 short without a final newline (Q16)")
    ok(b"\0" not in got["nul"] and got["nul"].endswith(b"\n\r\ny\r\n"), "cyrus: a line ends at its first NUL")
    is_(got["dotdot"], wire_bytes(mail["dotdot"]), "cyrus: every dot is stuffed")
    exact("cyrus", server, "alice", messages)
    cyrus_says_ok(server)


def cyrus_says_ok(server):
    """+OK to QUIT proves nothing (S9): here its index cannot be opened."""
    server.fill("bob", [PLAIN["dots"], PLAIN["latin"]])
    index = server.box("bob") / "cyrus.index"
    with Pop3Client(server.port, server.ca) as client:
        client.login("bob")
        client.command("DELE 1")
        index.rename(index.with_name("hidden"))
        like(client.command("QUIT"), r"\+OK", "cyrus: answers QUIT with +OK though its expunge failed (S9)")
    index.with_name("hidden").rename(index)
    sizes, _, _ = reference(server, "bob")
    is_(len(sizes), 2, "cyrus: the deleted message is still there")


def moved():
    """A mailbox goes from one server to another: new IDs, same messages (Q7)."""
    name = "from Courier to solid-pop3d"
    before, after = started(Courier, name), started(Solid, name)
    if before is None or after is None:
        return
    mail = [*PLAIN.values(), ODD["utf8"]]
    for server in (before, after):
        server.fill("alice", mail)
    cask = mailcask(before, "alice")
    is_(cask.once().status, 0, f"{name}: archived from the first")
    cask.add_server("s", after.port, after.ca)
    result = cask.once()
    is_(result.status, 0, f"{name}: archived from the second") or diag(str(result))
    _, _, messages = reference(after, "alice")
    is_(counts(session(cask, "alice"), "known", "fetched", "deduplicated"),
        {"known": 0, "fetched": 0, "deduplicated": len(mail)}, f"{name}: everything is fetched again")
    is_(archived(cask, "alice"), hashes(messages), f"{name}: and nothing is there twice")
    cask.once()
    is_(session(cask, "alice")["known"], len(mail), f"{name}: after that all is known")


TESTS = (popa3d, solid, courier, mailutils_mbox, mailutils_maildir, cyrus, moved)
for test in TESTS:
    if test.__name__ in (sys.argv[1:] or [t.__name__ for t in TESTS]):
        test()
done()
