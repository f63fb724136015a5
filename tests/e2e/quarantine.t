#!/usr/bin/env python3
"""A message that breaks its session does not block the mailbox (Q21, Q29): after three tries it is put
aside, within one pass of --once, and over restarts of a service that is killed each time. A server that
gives nothing at all costs few messages, and a mailbox in use is not hurried. `mailcask quarantine` lists
what was put aside, also what recovery cut off a segment."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MESSAGES = [b"Subject: %d\r\n\r\nbody %d\r\n" % (i, i) for i in range(1, 9)]
MESSAGES[1] = b"Subject: 2\r\n\r\nbefore\r\n.\r\nnot a reply\r\n"
BAD = {"0002", "0003"}
SCRIPT = """
user one on RETR 2 lone-dot
user one on RETR 3 close
user killed on RETR 4 close
user none on RETR close
user behind on RETR 5 then close
user farewell on RETR 3 reply "-ERR quota exceeded" then close
user later on RETR 4 times 3 close
user later on LOGIN uidl 4 "4\\x1b\\\\four"
user busy on RETR 4 close
user busy on SASL skip 1 reply "-ERR [IN-USE] locked"
user busy on PASS skip 1 reply "-ERR [IN-USE] locked"
"""

mail = temp_folder()
for user in ("one", "killed", "none", "behind", "farewell", "busy", "later"):
    write_files(mail / user, MESSAGES)
certificates = Certificates()
server = Pop3d(mail, "--no-lock", certificate=certificates.good, ca=certificates.ca, script=SCRIPT)


def mailcask(user):
    cask = Mailcask()
    cask.add_server("s", server.port, certificates.ca)
    cask.add_account(user, "s", poll="1s")
    cask.init()
    return cask


def archived(cask, user):
    to = cask.folder / "restored"
    shutil.rmtree(to, ignore_errors=True)
    cask.restore(f"eml:{to}", "--account", user)
    return hashes(read_eml(to))


def rule_count(word):
    """How often the rule matched."""
    number = next(i for i, l in enumerate(SCRIPT.splitlines(), 1) if word in l)
    return len([l for l in server.log("rule") if l.split()[1] == str(number)])


def in_one_pass():
    cask = mailcask("one")
    result = cask.once()
    is_(result.status, 1, "messages were put aside: exit 1") or diag(str(result))
    text = result.err.decode()
    for uidl, why in (("0002", "what followed its end was no reply"), ("0003", "the server did not answer")):
        lines = [e for e in log_events(text) if f'"{uidl}"' in e.get("error", "")]
        ok(len(lines) == 1 and lines[0]["account"] == "one" and why in lines[0]["error"],
           f"one line says that {uidl} was put aside, and why") or diag(text)
    like(result.out, r"^0 of 1 account complete, 6 messages archived .*, 2 quarantined", "the summary counts them")
    want = hashes(m for i, m in enumerate(MESSAGES, 1) if f"{i:04}" not in BAD)
    is_(archived(cask, "one"), want, "everything else is archived in the same pass")
    put_aside = [e for e in cask.json("ledger", "--account", "one") if e.get("uidl") in BAD]
    is_({e["uidl"] for e in put_aside}, BAD, "the ledger names them")
    before = rule_count("one on RETR 2"), rule_count("one on RETR 3")
    # Once 0003 was asked for together with 0002, before the server was known not to pipeline well.
    is_(before, (3, 4), "each was tried three times")
    told = cask.json("quarantine", "--account", "one")
    is_([(q["type"], q["account"], q["uidl"], q["listed_size"], q["archived"]) for q in told],
        [("message", "one", u, len(MESSAGES[int(u) - 1]), None) for u in ("0002", "0003")],
        "quarantine --json lists them, and that they were not archived since")
    is_([(q["reason"], q["lsn"]) for q in told], [(e["reason"], e["lsn"]) for e in put_aside],
        "with the reasons of the ledger")
    is_(cask.tool("quarantine", "--account", "none").status, 1, "quarantine of no such account: exit 1")
    result = cask.once()
    is_(result.status, 0, "a second pass: exit 0") or diag(str(result))
    like(result.out, r"^1 of 1 account complete, 0 messages archived .*, 2 quarantined before$",
         "that still mentions them")
    is_((rule_count("one on RETR 2"), rule_count("one on RETR 3")), before, "they are not asked for again")
    is_(cask.tool("verify").status, 0, "the archive is sound")


def marks(cask):
    """How many times each account's troubled message was tried, from the file."""
    with contextlib.suppress(FileNotFoundError):
        lines = (cask.archive / "state" / "marks").read_text().splitlines()[1:]
        return {l.split(" ", 7)[7]: int(l.split()[3]) for l in lines if l.startswith("account ")}
    return {}


def try_and_kill(cask, user, done):
    """A service until done(), then kill -9."""
    service = cask.start()
    wait_for(done, what=f"broken session of {user}")
    service.stop(signal.SIGKILL)


def put_aside(cask, user):
    with contextlib.suppress(RuntimeError):
        return any(e.get("uidl") == "0004" for e in cask.json("ledger", "--account", user))


def over_restarts():
    cask = mailcask("killed")
    for count in (1, 2):
        try_and_kill(cask, "killed", lambda: marks(cask).get("killed") == count)
    is_(marks(cask), {"killed": 2}, "two tries are remembered by the archive")
    try_and_kill(cask, "killed", lambda: put_aside(cask, "killed"))
    is_(rule_count("killed on RETR 4"), 3, "after the third the message is put aside")
    result = cask.once()
    is_(result.status, 0, "the next pass brings the rest") or diag(str(result))
    like(result.out, r", 1 quarantined before$", "and mentions what is missing")
    want = hashes(m for i, m in enumerate(MESSAGES, 1) if i != 4)
    is_(archived(cask, "killed"), want, "all but that one are archived, once each")
    is_(rule_count("killed on RETR 4"), 3, "it was not asked for again")
    is_(cask.tool("verify").status, 0, "the archive is sound")


def comes_later():
    cask = mailcask("later")
    is_(cask.once().status, 1, "a message that breaks three sessions: exit 1")
    lines = cask.tool("quarantine").out.decode().splitlines()
    want = r'later  UIDL "4\x1b\\four", listed as 22 bytes, not archived; later at 127.0.0.1: RETR broke the session 3 times'
    ok(len(lines) == 1 and want in lines[0], "quarantine has one line of it") or diag(lines)
    write_files(mail / "later", {"0004": b"Subject: 4\r\n\r\nanother size\r\n"})
    is_(cask.once().status, 0, "the server lists it with another size: it is fetched")
    last = cask.json("list", "--account", "later")[-1]
    is_([q["archived"] for q in cask.json("quarantine")], [last["id"]], "quarantine names what was archived since")
    like(cask.tool("quarantine").out, ", archived since as later/8; ", "so does its line")


def torn_tail():
    cask = mailcask("later")
    service = cask.start()
    wait_for(lambda: cask.json("ledger", "--account", "later"), what="a session on record")
    is_(cask.json("accounts")[0]["messages"], len(MESSAGES), "a service has fetched all")
    service.stop(signal.SIGKILL)
    segment = sorted((cask.archive / "segments").iterdir())[-1]
    size = segment.stat().st_size
    with open(segment, "ab") as f:
        f.write(b"half a record")
    (cask.archive / "quarantine" / "mine").write_bytes(b"12345")
    is_(cask.once().status, 0, "a torn tail is recovered from")
    number = int(segment.stem)
    want = [{"type": "file", "file": "mine", "size": 5},
            {"type": "tail", "file": f"tail-{number:08}-{size}", "size": 13, "segment": number, "offset": size}]
    is_([{k: v for k, v in q.items() if k != "time"} for q in cask.json("quarantine")], want,
        "quarantine --json lists the files")
    like(cask.tool("quarantine").out, rf"segment {number}: a torn tail of 13 B, cut off at {size}; quarantine/tail-",
         "so do its lines")
    is_(cask.json("quarantine", "--account", "later"), [], "--account: only messages of that account")
    shutil.rmtree(cask.archive / "quarantine")
    is_(cask.json("quarantine"), [], "a copy without the folder has no files put aside")


def nothing_at_all():
    cask = mailcask("none")
    result = cask.once()
    is_(result.status, 1, "a server that closes with every RETR: exit 1")
    like(result.out, r"\b3 quarantined", "three messages are put aside, not all")
    like(result.err, r"(closed|dropped) the connection", "and it says what the server does")


def behind_a_message():
    cask = mailcask("behind")
    result = cask.once()
    is_(result.status, 1, "a message behind which the server closes: exit 1") or diag(str(result))
    like(result.err, r'"0005\\" put aside', "that one is put aside, not the one asked for next")
    want = hashes(m for i, m in enumerate(MESSAGES, 1) if i != 5)
    is_(archived(cask, "behind"), want, "all others are archived")


def farewell():
    cask = mailcask("farewell")
    result = cask.once()
    is_(result.status, 1, "a server that refuses and closes: exit 1")
    like(result.err, r"quota exceeded", "what it says is passed on")
    is_(rule_count("farewell on RETR 3"), 1, "it is not asked again at once")
    is_(marks(cask), {}, "no message is blamed for it")


def in_use():
    cask = mailcask("busy")
    try_and_kill(cask, "busy", lambda: marks(cask).get("busy") == 1)
    result = cask.once()
    is_(result.status, 1, "a mailbox in use that has a troubled message: exit 1")
    like(result.err, r"locked", "it says so")
    is_(rule_count("busy on SASL") + rule_count("busy on PASS"), 1, "and is asked once")
    is_(marks(cask), {"busy": 1}, "the message is not blamed for it")


in_one_pass()
over_restarts()
comes_later()
torn_tail()
nothing_at_all()
behind_a_message()
farewell()
in_use()
done()
