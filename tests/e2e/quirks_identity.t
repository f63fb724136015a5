#!/usr/bin/env python3
"""Quirks of identity and UIDL, Q1 to Q12 of workers/POP3.md: what is fetched, what is fetched again, and
what the ledger says of the listing."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)
ONCE_EACH = {f"{i:04}": 1 for i in range(1, 6)}


def nothing_new(box, text="the next pass fetches nothing"):
    before = box.retrieved()
    box.once()
    same(box.retrieved(), before, text)


def q01_no_uidl_at_all():
    box = Maildrop(MESSAGES, "--no-capa", "UIDL", script='on UIDL reply "-ERR unknown command"')
    box.once()
    box.holds(MESSAGES)
    box.counted(trusted=False, fetched=5, deduplicated=0)
    box.once()
    box.counted(fetched=0, deduplicated=5)
    box.holds(MESSAGES, "equal bytes are no second copy")
    unannounced = Maildrop(MESSAGES, "--no-capa", "UIDL")
    unannounced.once()
    unannounced.counted(trusted=True, fetched=5)
    nothing_new(unannounced, "UIDL is tried although it is not announced")


def q02_uidl_refused_though_announced():
    box = Maildrop(MESSAGES, script='session 1 on UIDL reply "-ERR try later"')
    said = box.once(status=1)
    check("try later" in said, "the server's words are passed on", said)
    same(box.retrieved(), {}, "nothing is fetched without IDs")
    box.once()
    box.holds(MESSAGES)
    same(box.retrieved(), ONCE_EACH, "each is fetched once")


def q03_blank_ids():
    box = Maildrop(MESSAGES, script='on UIDL entry 2 "%n" entry 4 "%n "')
    box.once()
    box.holds(MESSAGES)
    box.counted(trusted=False)
    box.once()
    box.counted(trusted=False, fetched=0, deduplicated=2, known=3)
    box.holds(MESSAGES, "what has no ID is fetched again, and found by its hash")
    missing = Maildrop(MESSAGES, script="on UIDL omit 3")
    missing.once()
    missing.counted(trusted=False, fetched=5)
    missing.holds(MESSAGES, "what only LIST names is fetched, too")


def q04_blanks_and_ok_before_lines():
    box = Maildrop(MESSAGES, script='on UIDL entry -2 "%n    %u  " entry 3 "+OK %n %u" entry 4 "  %n %u"')
    box.once()
    box.holds(MESSAGES)
    box.counted(trusted=True)
    box.serve()
    nothing_new(box, "a plain listing names the same IDs")


def q05_ids_are_opaque():
    long = "x" * 100
    ids = [long + "a", long + "b", "Case", "cASE", "with blanks \\xff\\x80"]
    script = "".join(f'on LOGIN uidl 1 "{ids[0]}" uidl 2 "{ids[1]}" uidl 3 "{ids[2]}" uidl 4 "{ids[3]}" '
                     f'uidl 5 "{ids[4]}"\n')
    box = Maildrop(MESSAGES, script=script)
    box.once()
    box.holds(MESSAGES)
    box.counted(trusted=True)
    first = [e for e in box.cask.json("ledger", "--message", "a/1") if e["type"] == "message"]
    same(first[0]["uidl"], ids[0], "kept whole")
    nothing_new(box)


def q06_one_id_twice():
    box = Maildrop(MESSAGES, script='on LOGIN uidl 2-4 "same"')
    box.once()
    box.holds(MESSAGES)
    same(box.retrieved(), ONCE_EACH, "all of them are fetched")
    box.once()
    box.holds(MESSAGES, "and no second copy follows")


def q07_all_ids_change():
    box = Maildrop(MESSAGES, "--uidl", "random-per-session")
    for count in (1, 2, 3):
        box.once()
        same(box.retrieved(), {name: count for name in ONCE_EACH}, "unknown IDs are fetched")
        box.holds(MESSAGES, "and found by their hash: no second copy")
    box.counted(fetched=0, deduplicated=5)


def q08_small_integers_anew():
    box = Maildrop(MESSAGES, "--uidl", "number")
    box.once()
    others = [message(i, b"after the rebuild\r\n") for i in range(11, 16)]
    box.fill(others)
    box.once()
    box.counted(fetched=5, known=0)
    box.holds(MESSAGES + others, "a known ID with another size is another message")
    nothing_new(box)


def q09_an_id_forged_by_a_sender():
    box = Maildrop(MESSAGES[:2], script='on LOGIN uidl 3 "0001"')
    box.once()
    box.fill([*MESSAGES[:2], message(3, b"under the ID of another\r\n")])
    box.once()
    box.holds([*MESSAGES[:2], message(3, b"under the ID of another\r\n")], "it hides nobody's mail")


def q10_couriers_entry_when_it_has_no_memory():
    broken = 'session 2 on UIDL body "1 ENOMEM-1234"\nsession 3 on UIDL body "1 ENOMEM-1234"\n'
    broken += 'session 3 on LIST body "1 0"\nsession 3 on STAT reply "+OK 1 0"'
    box = Maildrop(MESSAGES, script=broken)
    box.once()
    for _ in range(2):
        nothing_new(box, "its entry is no message")
        box.counted(trusted=False, fetched=0)
    nothing_new(box, "what was seen before is still known")
    box.counted(trusted=True, known=5)


def q11_gaps_disorder_and_numbers_above_stat():
    disorder = Maildrop(MESSAGES, script="on LIST reverse\non UIDL reverse")
    disorder.once()
    disorder.counted(trusted=True, fetched=5)
    disorder.holds(MESSAGES)
    gap = Maildrop(MESSAGES, script='on LIST omit 2\non UIDL omit 2\non STAT reply "+OK 4 400"')
    gap.once()
    gap.counted(fetched=4)
    gap.holds([m for i, m in enumerate(MESSAGES, 1) if i != 2], "what is listed is archived")
    above = Maildrop(MESSAGES, script='on STAT reply "+OK 4 400"')
    above.once()
    above.counted(trusted=False, fetched=5)
    above.holds(MESSAGES)


def q12_single_uidl_is_not_used():
    box = Maildrop(MESSAGES, script="on UIDL 1- close\non LIST 1- close")
    box.once()
    box.once()
    box.holds(MESSAGES)
    check(not box.server.log("rule"), "UIDL and LIST go without a number", box.server.log("rule"))


run_quirks(globals())
