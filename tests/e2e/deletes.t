#!/usr/bin/env python3
"""Deleting from the server: only what is archived, read back, listed unchanged and journalled; what
became of it is confirmed by later listings; and what the ledger tells of it. On a real Dovecot and on a
scripted server for what a real one won't do."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = [b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\nbody %d\r\n" % (i, i, i * 1000003) for i in range(1, 13)]
certificates = Certificates()


def scripted(user, script="", messages=MESSAGES, *options, deletes="on", **settings):
    """A maildrop of these messages, and a mailcask that archives and deletes it."""
    mail = temp_folder()
    write_files(mail / user, {f"m{i:04}": m for i, m in enumerate(messages, 1)})
    server = Pop3d(mail, *options, certificate=certificates.good, ca=certificates.ca, script=script)
    cask = Mailcask(deletes=deletes)
    cask.add_server("s", server.port, certificates.ca)
    cask.add_account(user, "s", **{"delete": "archived", **settings})
    cask.init()
    return server, cask


def left(server, user):
    return sorted(f.name for f in (server.mail_dir / user).iterdir() if f.is_file())


def archived(cask, user):
    to = cask.folder / "restored"
    shutil.rmtree(to, ignore_errors=True)
    cask.restore(f"eml:{to}", "--account", user)
    return hashes(read_eml(to))


def entries(cask, user, kind):
    return [e for e in cask.json("ledger", "--account", user) if e["type"] == kind]


def states(cask, user):
    """Of each outcome in the ledger: (state, messages)."""
    return [(e["state"], e["messages"]) for e in entries(cask, user, "deletion")]


def deleted_within_one_pass():
    server, cask = scripted("one")
    result = cask.once()
    is_(result.status, 0, "a pass that fetches and deletes: done")
    like(result.out.decode(), r"12 deleted from servers", "the summary tells how many were deleted")
    is_(left(server, "one"), [], "nothing is left on the server")
    is_(archived(cask, "one"), hashes(MESSAGES), "everything is archived")
    sessions = [l for l in server.log("session") if " one " in l]
    is_([("RETR=12" in s, "DELE=12" in s) for s in sessions], [(True, False), (False, True)],
        "one session fetches, the next one deletes")
    is_(states(cask, "one"), [("accepted", [[1, 12]])], "the ledger has the outcome")
    is_(cask.json("stats")[0]["unconfirmed"], 12, "which nothing confirms yet")
    intents = entries(cask, "one", "intent")
    is_((len(intents), len(intents[0]["messages"])), (1, 12), "and, before it, the intent")
    is_({m["read_back"] for m in intents[0]["messages"]}, {True}, "on the proof of a copy read back")
    cask.once()
    is_(states(cask, "one")[-1], ("absent", [[1, 12]]), "a later listing lacks them")
    cask.once()
    is_(states(cask, "one")[-1], ("confirmed", [[1, 12]]), "a second one confirms it")
    is_(cask.json("stats")[0]["unconfirmed"], 0, "none is unconfirmed any more")
    before = len(states(cask, "one"))
    cask.once()
    is_(len(states(cask, "one")), before, "and that is the end of it")
    life = cask.json("ledger", "--message", "one/7")[0]["events"]
    is_([e["event"] for e in life], ["listed", "intended", "accepted", "absent", "not-listed", "confirmed"],
        "one message's life, from the first listing to the confirmed deletion")
    text = cask.tool("ledger", "--message", "one/7").out.decode()
    like(text, r"(?s)read back from the disk\n.*two later complete listings lack it\n", "the same in words")
    is_(cask.tool("verify").status, 0, "the archive is sound")
    is_(cask.tool("reindex").status, 0, "and can be indexed again")
    is_(states(cask, "one")[-1], ("confirmed", [[1, 12]]), "with the same journal")
    cask.once()
    is_(len(states(cask, "one")), before, "and the same states")


def off_or_never():
    for name, deletes, rule in (("off", "off", "archived"), ("never", "on", "never"),
                                ("young", "on", "after 1d")):
        server, cask = scripted(name, deletes=deletes, delete=rule)
        cask.once()
        cask.once()
        is_(len(left(server, name)), 12, f"deletes = {deletes} and delete = {rule}: nothing is deleted")
        is_(server.log("dele"), [], "not even asked for")


def told_beforehand():
    """`mailcask deletions`: what would go and why the rest would not."""
    def deletions(cask, *options):
        return cask.tool("deletions", "--config", cask.write_config(), *options)

    def verdicts(cask):
        found = [json.loads(l) for l in deletions(cask, "--json").out.splitlines()]
        return [(d["n"], d["verdict"], d["why"]) for d in found]

    server, cask = scripted("told", 'on LOGIN uidl 2 "2"\non DELE name m0003 pretend\n', MESSAGES[:4], delete="never")
    cask.once()
    is_({d[1:] for d in verdicts(cask)}, {("keep", "delete = never")}, "delete = never keeps all")
    cask.accounts["told"]["delete"] = "after 1d"
    is_({d[1:] for d in verdicts(cask)}, {("later", "not archived for long enough")}, "after 1d: later")
    like(deletions(cask).out.decode(), r"later +told/1  not archived for long enough \(from 20\d\d-", "and when")
    cask.accounts["told"]["delete"] = "archived"
    is_(verdicts(cask)[:2], [(1, "delete", None), (2, "compare", "its UIDL is a mere number")], "what would go, and how")
    like(deletions(cask).out.decode(), r"told: 3 to delete, 1 to delete if equal when fetched again, 0 later", "a summary")
    cask.settings["deletes"] = "off"
    is_({d[1:] for d in verdicts(cask)}, {("keep", "deletes = off")}, "deletes = off keeps all")
    cask.settings["deletes"] = "on"
    cask.once()
    is_({d[1:] for d in verdicts(cask)}, {("later", "deleted; not confirmed by two later listings yet")},
        "deleted and unconfirmed ones are shown")
    cask.once()
    cask.once()
    is_([d[:2] for d in verdicts(cask)], [(3, "later")], "confirmed ones are not; the one that came back is")
    is_(cask.tool("deletions").status, 0, "without a configuration it tells what archived would do")
    is_(deletions(cask, "--account", "nobody").status, 1, "an unknown account")


def after_a_time():
    seconds = 6
    server, cask = scripted("old", delete=f"after {seconds}s")
    cask.once()
    is_(len(left(server, "old")), 12, f"after {seconds}s: not at once")
    time.sleep(seconds + 0.1)
    write_files(server.mail_dir / "old", {"n0001": b"Subject: new\r\n\r\nnew\r\n"})
    cask.once()
    is_(len(left(server, "old")), 1, "but then; what is newer stays")


def switched_off_meanwhile():
    """`deletes` is read again before each delete session, without a reload."""
    server, cask = scripted("switch", "on STAT session 1 delay 3000\n", poll="1s")
    daemon = cask.start()
    server.wait_log(r"^login switch")
    cask.settings["deletes"] = "off"
    cask.write_config()
    server.wait_log(r"^session switch ")
    time.sleep(2.5)
    daemon.stop()
    is_(server.log("dele"), [], "deletes = off in the file holds at once")


def listing_not_trusted():
    server, cask = scripted("extra", 'on UIDL all session 2- extra "99 surplus"\n')
    cask.once()
    is_((len(left(server, "extra")), server.log("dele")), (12, []), "an untrusted listing: nothing is deleted")


def ambiguous():
    """Q6: one UIDL, two messages."""
    server, cask = scripted("twice", 'on LOGIN uidl 1-2 "same"\n', MESSAGES[:3])
    cask.once()
    is_(left(server, "twice"), ["m0001", "m0002"], "messages that share a UIDL are not deleted")
    told = [json.loads(l) for l in cask.tool("deletions", "--config", cask.write_config(), "--json").out.splitlines()]
    is_([(d["n"], d["verdict"]) for d in told], [(1, "keep"), (2, "keep"), (3, "later")], "and said so beforehand")
    is_([s["known"] for s in entries(cask, "twice", "session")], [0, 3], "each is known once")


def number_reused():
    """Q8: UIDL 17 for another message of the same size."""
    server, cask = scripted("reuse", "", MESSAGES[:2], "--uidl", "number", delete="never")
    cask.once()
    other = MESSAGES[0].replace(b"body 1000003", b"body 1000004")
    is_(len(other), len(MESSAGES[0]), "another message of the same size")
    (server.mail_dir / "reuse" / "m0001").write_bytes(other)
    cask.accounts["reuse"]["delete"] = "archived"
    cask.once()
    is_(archived(cask, "reuse"), hashes([*MESSAGES[:2], other]), "a reused UIDL: both messages are archived")
    is_(left(server, "reuse"), ["m0001"], "the other one is not deleted unproven")
    cask.once()
    is_(left(server, "reuse"), [], "but once it is archived, too")
    is_(archived(cask, "reuse"), hashes([*MESSAGES[:2], other]), "and nothing is lost")
    proofs = {m["fetched_again"] for i in entries(cask, "reuse", "intent") for m in i["messages"]}
    is_(proofs, {True}, "mere numbers are fetched again before they are deleted")


def only_hidden():
    """Q37: DELE hides, and the message comes back."""
    server, cask = scripted("hidden", "on DELE name m0002 pretend\n")
    cask.once()
    is_(left(server, "hidden"), ["m0002"], "one message is only hidden")
    result = cask.once()
    is_(left(server, "hidden"), ["m0002"], "it is back")
    is_(len(server.served("hidden")), 12, "all were fetched")
    is_(("returned", [[2, 2]]) in states(cask, "hidden"), True, "and the ledger says that it returned")
    for _ in range(4):
        cask.once()
    attempts = [m["attempt"] for i in entries(cask, "hidden", "intent") for m in i["messages"] if m["n"] == 2]
    is_(attempts, [1, 2, 3], "it is deleted three times, and then left")
    is_(archived(cask, "hidden"), hashes(MESSAGES), "there is no second copy")


def quit_lost():
    """Q58"""
    server, cask = scripted("lost", "on QUIT session 2 close anyway\n")
    result = cask.once()
    is_(result.status, 1, "QUIT without an answer: not done")
    like(result.err.decode(), r"account=lost .*QUIT is missing", "and said so")
    is_(states(cask, "lost"), [("unknown", [[1, 12]])], "the outcome is unknown")
    is_(left(server, "lost"), [], "though the server did delete")
    cask.once()
    cask.once()
    is_(states(cask, "lost")[-1], ("confirmed", [[1, 12]]), "two later listings confirm it")

    server, cask = scripted("undone", "on QUIT session 2 close\n")
    cask.once()
    is_(len(left(server, "undone")), 12, "QUIT that never arrived: nothing was deleted")
    cask.once()
    is_(("undone", [[1, 12]]) in states(cask, "undone"), True, "the next listing shows it")
    cask.once()
    is_(left(server, "undone"), [], "and they are deleted again")
    is_(archived(cask, "undone"), hashes(MESSAGES), "without a second copy")


def refused():
    server, cask = scripted("refused", 'on DELE 3 reply "-ERR not that one"\n')
    result = cask.once()
    is_(result.status, 1, "a refused DELE: done in part")
    is_(left(server, "refused"), ["m0003"], "the others are deleted")
    is_(sorted(states(cask, "refused")), [("accepted", [[1, 2], [4, 12]]), ("refused", [[3, 3]])],
        "the ledger tells which")


def damaged_copy():
    text = "".join(random.Random(4).choices("abcdefghijklmnopqrstuvwxyz\n", k=200000))
    server, cask = scripted("damaged", "", [b"Subject: long\r\n\r\n" + text.encode()], delete="never")
    cask.once()
    segment = sorted((cask.archive / "segments").iterdir())[0]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x40
    segment.write_bytes(data)
    cask.accounts["damaged"]["delete"] = "archived"
    result = cask.once()
    is_(server.log("dele"), [], "a copy that cannot be read back: nothing is deleted")
    like(result.err.decode(), r"account=damaged .*stay on the server.*mailcask verify", "and said what to do")


def renumbered():
    """Q7: all UIDLs change; nothing is stored twice, nothing deleted on the strength of it."""
    server, cask = scripted("renum", 'on LOGIN session 2- uidl "new-%f"\n', delete="never")
    cask.once()
    cask.accounts["renum"]["delete"] = "archived"
    result = cask.once()
    is_(cask.json("accounts")[0]["messages"], 12, "new UIDLs: no second copy")
    like(result.err.decode(), r"account=renum .*have other UIDLs or sizes now", "the operator is told")
    is_(server.log("dele"), [], "nothing is deleted in that pass")
    result = cask.once()
    is_(left(server, "renum"), [], "but in the next one")
    ok("UIDLs" not in result.err.decode(), "which says nothing any more")
    is_({m["fetched_again"] for i in entries(cask, "renum", "intent") for m in i["messages"]}, {True},
        "and after each was compared")


def many():
    """More than one session may delete."""
    messages = [b"Subject: %d\r\n\r\n%d\r\n" % (i, i * 7919) for i in range(1, 1203)]
    server, cask = scripted("many", "", messages)
    is_(cask.once().status, 0, "1,202 messages")
    is_(left(server, "many"), [], "are deleted in one pass")
    deletes = [s for s in server.log("session") if re.search(r"DELE=", s)]
    is_([int(re.search(r"DELE=(\d+)", s)[1]) for s in deletes], [500, 500, 202], "by up to 500 a session")


def dovecot():
    server = dovecot_or_skip("Dovecot: everything is deleted, and confirmed")
    if server is None:
        return
    source = temp_folder()
    write_files(source, MESSAGES)
    server.fill("dove", source)
    cask = Mailcask(deletes="on")
    cask.add_server("s", server.port, server.ca)
    cask.add_account("dove", "s", delete="archived", password=server.password)
    cask.init()
    is_(cask.once().status, 0, "Dovecot: a pass")
    is_(fetch_all(server.port, "dove", server.password, ca=server.ca), [], "everything is deleted there")
    cask.once()
    cask.once()
    is_(states(cask, "dove")[-1], ("confirmed", [[1, 12]]), "and confirmed")


for case in (deleted_within_one_pass, off_or_never, told_beforehand, after_a_time, switched_off_meanwhile, listing_not_trusted,
             ambiguous, number_reused, only_hidden, quit_lost, refused, damaged_copy, renumbered, many, dovecot):
    diag(case.__name__)
    case()
done()
