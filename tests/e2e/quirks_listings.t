#!/usr/bin/env python3
"""Quirks of listings, Q13 to Q19 of workers/POP3.md."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)
ONCE_EACH = {f"{i:04}": 1 for i in range(1, 6)}
EMPTY = 'session 2 on STAT reply "+OK 0 0"\nsession 2 on LIST body ""\nsession 2 on UIDL body ""\n'


def q13_passing_empty_listing():
    box = Maildrop(MESSAGES, script=EMPTY)
    box.once()
    box.once()
    box.counted(listed=0, trusted=True, fetched=0)
    box.once()
    box.counted(listed=5, known=5, fetched=0)
    same(box.retrieved(), ONCE_EACH, "what was seen is known for good")
    box.holds(MESSAGES)


def q14_listing_cut_off():
    for command in ("UIDL", "LIST"):
        for how in ("no-terminator then close", "close-after 30", "no-terminator then shutdown"):
            box = Maildrop(MESSAGES, script=f"session 1 on {command} {how}")
            box.once(status=1)
            same(box.retrieved(), {}, f"{command} {how}: it is discarded, nothing fetched on its word")
            box.once()
            box.holds(MESSAGES)
            box.counted(trusted=True, fetched=5)


def q15_stat_and_listings_disagree():
    disagreements = ('on STAT reply "+OK 7 700"', 'on STAT reply "-ERR not now"', "on LIST omit 3",
                     'on UIDL omit 2')
    for script in disagreements:
        box = Maildrop(MESSAGES, script=script)
        box.once()
        box.counted(trusted=False)
        check(box.sessions()[-1]["untrusted"], "the ledger says why", box.sessions()[-1])
        box.holds(MESSAGES, f"{script}: fetched from wherever the server answers")


def q16_sizes_are_approximate():
    box = Maildrop(MESSAGES, script='on LIST entry 1 "%n 1024" entry 2 "%n 1" entry 3 "%n 2048" entry 4 "%n 99"')
    box.once()
    box.holds(MESSAGES)
    box.once()
    same(box.retrieved(), ONCE_EACH, "the same sizes are the same messages")


def q17_sizes_may_be_anything():
    box = Maildrop(MESSAGES, script='on LIST entry 1 "%n 0" entry 2 "%n 5000000000" entry 3 "%n many" '
                   'entry 4 "%n %s third" entry 5 "%n 99999999999999999999999"')
    box.once()
    box.holds(MESSAGES)
    box.counted(trusted=True)
    box.once()
    box.holds(MESSAGES, "and once only")


def q18_mail_that_arrives_meanwhile():
    box = Maildrop(MESSAGES, script="session 1 on LOGIN show-first 4")
    box.once()
    box.holds(MESSAGES[:4], "what the session saw")
    box.once()
    box.counted(known=4, fetched=1)
    box.holds(MESSAGES)


run_quirks(globals())
