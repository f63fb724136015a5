#!/usr/bin/env python3
"""What quirks must not lead to: a message deleted from the server that is not in the archive, exact. Each
maildrop here is archived and deleted (deletes = on, delete = archived); a pass is a fetch session and, if
there is something to delete, a delete session. See tests/e2e/deletes.t for deletion itself."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)
# Not mere numbers: those are weak, and always fetched again before they are deleted (Q8).
NAMES = {f"m{i:04}" for i in range(1, 6)}
LONG = [message(i, b"a line of the body\r\n" * 500) for i in range(1, 6)]


def drop(content=MESSAGES, *options, script=None, **account):
    return Maildrop(named(content), *options, script=script, deletes="on", account={"delete": "archived", **account})


def named(content):
    return {f"m{i:04}": data for i, data in enumerate(content, 1)}


def passes(box, count, status=0):
    for _ in range(count):
        box.once(status)


def left(box):
    return {p.name for p in (box.mail / USER).iterdir() if p.is_file()}


def stays(box, want, text, content=MESSAGES):
    """These are on the server still, no other was asked to be deleted, and what is gone is archived."""
    same(left(box), want, text)
    gone = hashes(m for name, m in named(content).items() if name not in want)
    missing = gone - hashes(box.archived())
    check(not missing, "what was deleted is in the archive, bit for bit", missing)
    check(box.cask.tool("verify").status == 0, "the archive is sound")


def all_go(box, content=MESSAGES):
    """The test would be worth nothing if nothing could be deleted."""
    box.once()
    stays(box, set(), "then all is deleted", content)


def q01_without_uidl_nothing_is_deleted():
    box = drop(MESSAGES, "--no-capa", "UIDL", script='on UIDL reply "-ERR unknown command"')
    passes(box, 3)
    stays(box, NAMES, "without IDs nothing is deleted")
    same(box.server.log("dele"), [], "not even asked for")


def q03_blank_ids_delete_nothing():
    for script in ('on UIDL session -4 entry 2 "%n"', "on UIDL session -4 omit 2"):
        box = drop(script=script)
        passes(box, 2)
        stays(box, NAMES, f"{script}: nothing is deleted on an untrusted listing")
        same(box.server.log("dele"), [], "not even asked for")


def q05_long_ids_are_told_apart():
    ids = ["x" * 100 + "a", "x" * 100 + "b"]
    script = f'on LOGIN uidl 1 "{ids[0]}" uidl 2 "{ids[1]}"\non DELE name m0002 reply "-ERR not that one"'
    box = drop(script=script)
    box.once(status=1)
    stays(box, {"m0002"}, "each is deleted for itself")


def q06_one_id_twice_deletes_neither():
    two = MESSAGES[:2]
    box = drop(two, script='on LOGIN uidl * "same"')
    passes(box, 2)
    stays(box, {"m0001", "m0002"}, "neither is deleted while both are listed", two)
    box.serve()
    passes(box, 2)
    stays(box, set(), "when they are told apart both are, archived once each", two)
    box.holds(two)


def q07_ids_of_one_session():
    """Renumbered with every session: nothing may be deleted by an ID that means nothing."""
    box = drop(MESSAGES, "--uidl", "random-per-session")
    passes(box, 3)
    box.holds(MESSAGES, "no second copy")
    stays(box, left(box), "whatever is deleted is archived")


def q08_a_rebuild_between_two_sessions():
    """The delete session meets other messages under the same small integers."""
    box = drop(MESSAGES, "--uidl", "number", delete="never")
    box.once()
    other = [m.replace(b"body", b"BODY") for m in MESSAGES]
    box.fill(named(other))
    box.account["delete"] = "archived"
    box.configure()
    box.once()
    stays(box, NAMES, "equal numbers and sizes are no proof", other)
    box.holds(MESSAGES + other, "both are archived")
    all_go(box, other)


def q09_ids_that_a_sender_wrote():
    """A forged ID is the message's X-UIDL: it is compared before it is deleted."""
    forged = b"X-UIDL: forged\r\n" + MESSAGES[0]
    box = drop([forged, *MESSAGES[1:]], script='on LOGIN uidl 1 "forged"', delete="never")
    box.once()
    swapped = forged.replace(b"body", b"BODY")
    box.fill(named([swapped, *MESSAGES[1:]]))
    box.account["delete"] = "archived"
    box.configure()
    box.once()
    check("m0001" in left(box), "another message of that ID and size is not deleted", left(box))
    box.holds([forged, swapped, *MESSAGES[1:]], "it is archived")


def q10_couriers_entry_deletes_nothing():
    box = drop(script='session 2 on UIDL body "1 ENOMEM-1234"\nsession 2 on LIST body "1 0"\n'
               'session 2 on STAT reply "+OK 1 0"')
    box.once()
    stays(box, NAMES, "nothing is deleted, and nothing concluded")
    all_go(box)


def q11_a_number_above_stat_deletes_nothing():
    box = drop(script='session 2 on STAT reply "+OK 4 400"')
    box.once()
    stays(box, NAMES, "untrusted")
    all_go(box)


def q13_an_empty_listing_concludes_nothing():
    """Deleted, but hidden only; then an empty look: that is no confirmation."""
    script = "on DELE pretend\n"
    script += "".join(f'session 3 on {c} {r}\n' for c, r in (("STAT", 'reply "+OK 0 0"'), ("LIST", 'body ""'),
                                                           ("UIDL", 'body ""')))
    box = drop(script=script)
    box.once()
    box.once()
    box.serve()
    box.once()
    states = [e["state"] for e in box.entries("deletion")]
    check("confirmed" not in states, "nothing is taken for confirmed", states)
    box.once()
    stays(box, set(), "they are there again, and go for good")
    box.holds(MESSAGES, "once each in the archive")


def q14_a_listing_cut_off_deletes_nothing():
    for command in ("UIDL", "LIST"):
        box = drop(script=f"session 2 on {command} no-terminator then close")
        box.once(status=1)
        stays(box, NAMES, f"{command}: nothing")
        all_go(box)


def q15_disagreement_deletes_nothing():
    for script in ('on STAT reply "+OK 7 700"', 'on STAT reply "-ERR no"', "on LIST omit 3", 'on LIST reply "-ERR no"'):
        box = drop(script=f"session 2 {script}")
        box.once(status=None)
        stays(box, NAMES, f"{script}: nothing")
        all_go(box)


def q16_a_size_that_changed_is_another_message():
    box = drop(script='session 2 on LIST entry 2 "%n 1024"')
    box.once()
    stays(box, {"m0002"}, "the others are deleted")
    passes(box, 2)
    stays(box, set(), "listed as when it was fetched, it is deleted, too")


def q19_deleted_messages_listed_with_size_0():
    """They are listed by the next session still: nothing is stored twice for it."""
    box = drop(script='on DELE session 2 pretend\nsession 3 on LIST entry * "%n 0"')
    passes(box, 3)
    box.holds(MESSAGES, "once each in the archive")
    passes(box, 2)
    stays(box, set(), "in the end all is deleted")


def q21_half_a_message_is_not_deleted():
    """Nor the one behind it, for which a sender wrote another: whatever the server tells of sizes."""
    trap = message(2, b"before\r\n.\r\n+OK 59 octets\r\nSubject: 3\r\n\r\nforged\r\n")
    approximate = 'on LIST entry * "%n 1024"\n'
    for place in (2, 1):
        content = [m for i, m in enumerate(MESSAGES, 1) if i != place]
        content.insert(place - 1, trap)
        name = f"m000{place}"
        for status in ("", 'status "+OK" '):
            for sizes in ("", approximate):
                script = f"on RETR name {name} {status}lone-dot\n" + (f"on RETR {status}\n" if status else "") + sizes
                box = drop(content, script=script)
                box.once(status=1)
                box.once(status=None)
                stays(box, {name}, "what was put aside stays on the server, nobody's mail is lost", content)


def q22_behind_the_wrapper_nothing_is_deleted():
    wrapper = "Subject: Cannot display Unicode content\\r\\n\\r\\nCannot display Unicode content\\r\\n"
    box = drop(MESSAGES, "--no-capa", "UTF8", script=f'on RETR 2 body "{wrapper}"')
    passes(box, 2)
    same(left(box), {"m0002"}, "the real message stays")


def q28_q29_what_is_not_archived_is_not_deleted():
    box = drop(script='on RETR name m0002 reply "-ERR [SYS/PERM] unreadable"\non RETR name m0004 close')
    box.once(status=1)
    box.once(status=1)
    stays(box, {"m0002", "m0004"}, "refused, and put aside: both stay")


def q31_q33_cut_off_in_one_session():
    """A message that came far too short is fetched again; what is deleted is what came whole."""
    box = drop(LONG, script="on RETR name m0002 times 1 truncate 100")
    passes(box, 3)
    stays(box, set(), "deleted once it is archived whole", LONG)
    intents = [m for e in box.entries("intent") for m in e["messages"]]
    check(len(intents) >= 5, "each deletion has its intent", intents)


def q31_q33_cut_off_for_some_time():
    """Whole only in the fourth session: until then it is not deleted, unless two copies were equal."""
    box = drop(LONG, script="".join(f"on RETR name m0002 session {i} truncate {n}\n" for i, n in
                                    ((1, 100), (2, 200), (3, 300))))
    passes(box, 4)
    stays(box, set(), "deleted once it is archived whole", LONG)


def q32_error_texts_are_not_deleted():
    stub = "Subject: Retrieval using the IMAP4 protocol failed for the following message: 17\\r\\n\\r\\nerror\\r\\n"
    box = drop(script=f'on RETR 2 body "{stub}"')
    passes(box, 2)
    same(left(box), {"m0002"}, "the message behind the stub stays")
    texts = box.archived()
    check(any(b"Retrieval using" in t for t in texts), "the stub is archived as it came", texts)


def q37_what_comes_back_changed():
    """DELE hides; another message comes back under its ID: not deleted unproven."""
    box = drop(script="on DELE name m0002 pretend")
    box.once()
    same(left(box), {"m0002"}, "one is hidden only")
    other = MESSAGES[1].replace(b"body", b"BODY")
    (box.mail / USER / "m0002").write_bytes(other)
    box.once()
    box.holds([*MESSAGES, other], "both are archived")
    box.serve()
    passes(box, 2)
    stays(box, set(), "then it goes, too", [MESSAGES[0], other, *MESSAGES[2:]])


def q39_login_delay_between_fetching_and_deleting():
    box = drop(MESSAGES, "--login-delay", "3")
    box.once()
    stays(box, set(), "a pass waits as long as the server wants, and deletes")
    check(len(box.server.log("login-failed")) <= 2, "after a refusal or two", box.server.log())


def q41_a_goodbye_among_the_deletions():
    box = drop(script='session 2 on DELE 3 reply "-ERR session limit" then close')
    box.once(status=1)
    stays(box, NAMES, "without QUIT nothing is gone")
    box.once()
    stays(box, set(), "the next pass deletes what is listed still")
    box.holds(MESSAGES, "and nothing was stored twice")


def q44_absent_from_a_part_is_not_deleted():
    """Of 300 messages the server shows 250: what a later look does not show is not confirmed."""
    many = messages(300)
    box = drop(many, script="on LOGIN show-first 250\non DELE name m0001 pretend")
    passes(box, 3)
    stays(box, left(box), "whatever was deleted is archived", many)
    states = [(e["state"], e["messages"]) for e in box.entries("deletion")]
    check("m0001" in left(box), "the one that only hid is there", states)
    box.serve()
    passes(box, 3)
    box.holds(many, "all is archived once")


def q55_cut_among_the_deletions():
    for command, what in (("DELE 3", "close"), ("QUIT", "close"), ("QUIT", "close anyway"), ("QUIT", "reset anyway")):
        box = drop(script=f"session 2 on {command} {what}")
        box.once(status=1)
        stays(box, left(box), f"{command} {what}: what is gone is archived")
        passes(box, 3)
        stays(box, set(), "in the end all is deleted")
        box.holds(MESSAGES, "and nothing was stored twice")


def q58_refused_quit():
    """-ERR to QUIT: some messages were not deleted. The next listing tells which."""
    box = drop(script='session 2 on QUIT reply "-ERR some messages not deleted"')
    box.once(status=1)
    stays(box, left(box), "what is gone is archived")
    passes(box, 3)
    stays(box, set(), "in the end all is deleted")
    box.holds(MESSAGES)


run_quirks(globals())
