#!/usr/bin/env python3
"""Quirks of bodies and of commands not to be trusted, Q20 to Q37 of workers/POP3.md: the bytes that are
archived, and what is fetched again. Those that need a time-out of a minute are in
tests/unit/test_session.c."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)
NAMES = [f"{i:04}" for i in range(1, 6)]
ONCE_EACH = {name: 1 for name in NAMES}


def with_second(second):
    return [MESSAGES[0], second, *MESSAGES[2:]]


def but(i):
    return [m for k, m in enumerate(MESSAGES, 1) if k != i]


def q20_unstuffed_dots():
    dots = message(2, b".one\r\n..two\r\nthree\r\n...\r\n")
    box = Maildrop(with_second(dots), script="on RETR 2 unstuffed")
    box.once()
    # "..two" came unstuffed: one of its dots is taken for stuffing, as it must be.
    box.holds(with_second(dots.replace(b"\r\n..two", b"\r\n.two").replace(b"\r\n...\r\n", b"\r\n..\r\n")),
              "a line with one dot keeps it")
    first = b".first line\r\nSubject: 2\r\n\r\nbody\r\n"
    box = Maildrop(with_second(first), script="on RETR 2 unstuffed-first")
    box.once()
    box.holds(with_second(first))


def q21_lone_dot_in_a_body():
    lone = message(2, b"before\r\n.\r\nafter is no reply\r\n")
    box = Maildrop(with_second(lone), script="on RETR 2 lone-dot")
    box.once(status=1)
    box.holds(but(2), "half a message is not archived as a whole one; the others are")
    same(box.put_aside(), ["0002"], "after three tries it is put aside")
    check(box.server.log("session")[0].count("QUIT") == 0, "the session was dropped")
    box.serve()
    box.once()
    box.counted(quarantined=0, known=4)


def q21_the_last_message_is_proven():
    """A NOOP behind the last RETR shows that its end was one."""
    lone = message(5, b"before\r\n.\r\nafter\r\n")
    box = Maildrop([*MESSAGES[:4], lone], script="on RETR 5 lone-dot")
    box.once(status=1)
    box.holds(MESSAGES[:4], "the last message is no exception")
    same(box.put_aside(), ["0005"], "it is put aside")


def q21_a_sender_cannot_hide_the_next_message():
    """Behind the lone dot stands what looks like the reply to the RETR of the next message."""
    trap = message(2, b"before\r\n.\r\n+OK 59 octets\r\nSubject: 3\r\n\r\nforged\r\n")
    for status in ("", 'on RETR status "+OK"\n', 'on RETR status "+OK message follows"\n'):
        # The first rule that matches acts alone: lone-dot stands in the same one.
        script = status.replace("RETR", "RETR 2 lone-dot") + status + "on RETR 2 lone-dot\n"
        box = Maildrop(with_second(trap), script=script)
        box.once(status=1)
        box.holds(but(2), "the others are archived as they are, half a message is not")
        same(box.put_aside(), ["0002"], "and it is put aside")


def q22_wrapper_of_8_bit_headers():
    real = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nbody\r\n"
    script = 'on RETR 2 when no-utf8 body "Subject: Cannot display Unicode content\\r\\n\\r\\nwrapped\\r\\n"'
    box = Maildrop(with_second(real), script=script)
    box.once()
    box.holds(with_second(real), "UTF8 goes before the login, and the message comes as it is")
    same(box.asked("UTF8"), 1, "asked for once")


def q24_terminators_in_pieces_and_bare_lf():
    box = Maildrop(MESSAGES, script="on RETR 2 drip 1 1\non UIDL drip 1 2")
    box.once()
    box.holds(MESSAGES)
    box = Maildrop(MESSAGES, script="on RETR 3 lf")
    box.once()
    unix = MESSAGES[2].replace(b"\r\n", b"\n")
    box.holds([*MESSAGES[:2], unix, *MESSAGES[3:]], "bare LF ends a body where all is bare LF, and is kept")


def q24_mixed_line_ends_end_nothing():
    trap = message(2, b"one\n.\nthree\r\n.\nfour\n.\r\nfive\r\n")
    box = Maildrop(with_second(trap), "--line-ends", "asis", script="on RETR 2 unstuffed")
    box.once()
    box.holds(with_second(trap), "no sender can end a reply, and forge the next one")


def q25_bare_cr_and_bare_lf_stay():
    odd = message(2, b"cr\ralone\r\nlf\nalone\r\ncr cr lf\r\r\n\n\n\r\r\n")
    box = Maildrop(with_second(odd), "--line-ends", "asis")
    box.once()
    box.holds(with_second(odd))


def q26_nul_is_data():
    nul = message(2, b"\0\0 between \0\r\n\0\r\n.\0\r\n")
    box = Maildrop(with_second(nul))
    box.once()
    box.holds(with_second(nul))


def q27_lines_of_any_length():
    noise = random.Random(1).randbytes(3 << 20).replace(b"\n", b" ").replace(b"\r", b" ")
    long = message(2, noise + b"\r\n")
    box = Maildrop(with_second(long))
    box.once()
    box.holds(with_second(long))


def q28_one_message_is_refused():
    for reply in ("-ERR no such message", "-ERR [SYS/PERM] unreadable"):
        box = Maildrop(MESSAGES, script=f'session 1-2 on RETR 2 reply "{reply}"')
        said = box.once(status=1)
        check("refused to give 1" in said, "it is said", said)
        box.counted(fetched=4, refused=1, state="partial")
        box.holds(but(2), "the others are archived")
        box.once(status=1)
        box.counted(fetched=0, refused=1)
        box.once()
        box.holds(MESSAGES, "it is asked for with every session, and archived once it comes")
        same(box.put_aside(), [], "nothing is put aside for it")


def q29_one_message_breaks_the_session():
    box = Maildrop(MESSAGES, script="on RETR 2 close")
    box.once(status=1)
    box.holds(but(2), "it does not block the mailbox")
    same(box.put_aside(), ["0002"], "after three tries it is put aside")
    tries = [l for l in box.server.log("rule")]
    same(len(tries), 3, "three tries")
    box.once()
    same(len(box.server.log("rule")), 3, "it is not asked for again")


def q30_broken_off_in_a_body():
    long = message(2, b"a line of the body\r\n" * 500)
    for how in ("close-after 5000", "reset-after 5000", "shutdown-after 5000"):
        box = Maildrop(with_second(long), script=f"session 1 on RETR 2 {how}")
        box.once(status=1)
        check(long not in box.archived(), f"{how}: half a message is not archived")
        box.once()
        box.holds(with_second(long))
        same(box.put_aside(), [], "a lost connection is not the message's fault")


def q34_q36_top_and_last_are_not_used():
    box = Maildrop(MESSAGES)
    box.once()
    box.once()
    for command in ("TOP", "LAST", "APOP", "RSET", "DELE"):
        same(box.asked(command), 0, f"{command} is not used")


def q35_deletion_on_retr():
    """A server that deletes what it delivered, with QUIT. Killed before all was on disk there was none."""
    script = "on RETR -4 delete\nsession 1 on RETR 5 hang\non RETR 5 delete"
    box = Maildrop(MESSAGES, "--expire", "0", script=script, account={"poll": "1s"})
    service = box.cask.start()
    box.server.wait_log(r"^rule 2 ")
    service.stop(signal.SIGKILL)
    same(len(list((box.mail / USER).iterdir())), 5, "no QUIT, nothing deleted")
    box.once()
    box.holds(MESSAGES)
    same(list((box.mail / USER).iterdir()), [], "QUIT came once all was on disk")
    box.once()
    box.holds(MESSAGES)


run_quirks(globals())
