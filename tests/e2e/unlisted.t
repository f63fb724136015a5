#!/usr/bin/env python3
"""The early exit: a maildrop that STAT and the last UIDL find as it was is not listed (S5, Q12 of
workers/POP3.md). What that may conclude: nothing. When it is listed all the same. Servers that answer
`UIDL n` otherwise."""

import concurrent.futures
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

COUNT = 5
MESSAGES = {f"m{i:03}": message(i) for i in range(1, COUNT + 1)}
FULL, GLANCE = "listed", "not listed"
SOON = 6  # of the 16 polls in a row that need not list


class Polled(Maildrop):
    """A maildrop that a service polls each second. before: run with the maildrop before it starts."""

    def __init__(self, content=None, *options, before=None, **arguments):
        super().__init__(content or MESSAGES, *options, poll="1s", **arguments)
        if before:
            before(self)
        self.service = self.cask.start()

    def polls(self):
        """How each session with the server went."""
        return [FULL if " LIST=" in line else GLANCE for line in self.server.log("session")]

    def until(self, condition, what):
        wait_for(lambda: condition(self.polls()), what=what)
        return self.polls()

    def glance(self):
        """Until one more poll did not list; how many there were."""
        before = self.polls().count(GLANCE)
        return len(self.until(lambda p: p.count(GLANCE) > before, "a poll that does not list"))

    def next_listing(self, before):
        """Until one behind so many polls did; how those in between went."""
        polls = self.until(lambda p: FULL in p[before:], "a poll that lists")[before:]
        return polls[:polls.index(FULL)]

    def never(self, polls=6):
        """So many polls more, and each lists."""
        seen = self.until(lambda p: len(p) >= polls, f"{polls} polls")
        check(GLANCE not in seen, "each poll lists", seen)

    def stop(self):
        check(self.cask.stop_settled(self.service) == 0, "the service ends in order")
        check(self.cask.tool("verify").status == 0, "the archive is sound")

    def replace(self, old, new, data):
        """One message goes and another comes, in one step for who is not in between."""
        (self.mail / ".new").write_bytes(data)
        os.rename(self.mail / ".new", self.mail / USER / new)
        (self.mail / USER / old).unlink()


def s5_nothing_has_changed():
    box = Polled()
    for _ in range(3):
        box.glance()
    polls = box.polls()
    check(polls[:3] == [FULL, FULL, GLANCE], "compared with a second listing that found the same", polls)
    line = [l for l in box.server.log("session") if " LIST=" not in l][0]
    check(" STAT=1 " in line and " UIDL=1 " in line and " QUIT=1" in line, "STAT, UIDL n and QUIT", line)
    status = box.cask.json("status")[0]["accounts"][0]
    box.stop()
    polls = box.polls()
    found = box.cask.json("ledger", "--account", "a")
    same([e["type"] for e in found], ["session", "run", "unlisted"], "on record: as what they were")
    listed, unlisted = found[1], found[2]
    same(listed["polls"] + 1, polls.count(FULL), "those that listed are complete polls")
    same(unlisted["polls"], polls.count(GLANCE), "the others are counted apart")
    same((unlisted["listed"], unlisted["digest"], unlisted["login"]), (COUNT, found[0]["digest"], USER),
         "with what they were compared with")
    words = box.cask.tool("ledger", "--account", "a").out.decode()
    check(re.search(r"unlisted  \d+ polls since .* \(5\), and did not list", words), "the same in words", words)
    check(status["last_complete"] <= listed["last"], "they are no complete polls", (status, listed))
    account = box.cask.json("accounts")[0]
    check(account["last_session"] == listed["last"], "nor the account's newest session", (account, listed))
    check(box.cask.tool("repack", "--remove-now").status == 0, "repacking")
    same(box.cask.json("ledger", "--account", "a"), found, "keeps them")
    box.cask.tool("reindex")
    same(box.cask.json("ledger", "--account", "a"), found, "and so does reindexing")


def s5_without_pipelining():
    box = Polled(None, "--no-capa", "PIPELINING")
    box.glance()
    box.stop()
    line = [l for l in box.server.log("session") if " LIST=" not in l][0]
    check(" STAT=1 " in line and " UIDL=1 " in line, "STAT, UIDL n and QUIT", line)


def s5_what_has_changed_is_listed():
    box = Polled()
    box.glance()
    write_files(box.mail / "more", {"m100": message(100)})
    os.rename(box.mail / "more" / "m100", box.mail / USER / "m100")
    wait_for(lambda: len(box.sessions()) == 2, what="the new message's session")
    box.counted(listed=COUNT + 1, fetched=1, known=COUNT, trusted=True)
    box.glance()
    box.replace("m100", "m101", message(101))
    wait_for(lambda: len(box.sessions()) == 3, what="the session of the one that took its place")
    box.counted(listed=COUNT + 1, fetched=1, known=COUNT, vanished=1)
    box.glance()
    (box.mail / USER / "m101").unlink()
    wait_for(lambda: len(box.sessions()) == 4, what="the session that misses it")
    box.counted(listed=COUNT, fetched=0, vanished=1)
    box.glance()
    box.stop()
    box.holds([*MESSAGES.values(), message(100), message(101)])


def s5_an_empty_maildrop():
    box = Polled(before=lambda b: b.fill({}))
    box.glance()
    write_files(box.mail / USER, MESSAGES)
    wait_for(lambda: box.sessions()[-1]["fetched"] > 0, what="the messages' session")
    box.stop()
    box.holds(MESSAGES.values())


def s5_a_person_asks():
    box = Polled()
    seen = box.glance()
    check(box.cask.tool("poll", "--account", "a").status == 0, "mailcask poll")
    check(len(box.next_listing(seen)) <= SOON, "lists, but for polls that began before", box.polls())
    seen = box.glance()
    box.service.child.send_signal(signal.SIGHUP)
    check(len(box.next_listing(seen)) <= SOON, "so it is after a reload", box.polls())
    box.glance()
    box.stop()
    seen = len(box.polls())
    box.service = box.cask.start()
    same(box.next_listing(seen), [], "and after a start")
    box.stop()


def s5_nothing_is_concluded():
    """One message went and another came, as large and not the last: the early exit does not see it. The
    next listing does."""
    box = Polled()
    box.glance()
    box.replace("m003", "m0035", message(7))
    count = box.glance()
    while box.polls()[count - 1] != GLANCE or len(box.polls()) < count + 2:
        count = max(count, len(box.polls()) - 1)
        time.sleep(0.1)
    same(len(box.sessions()), 1, "nothing has vanished, as far as is known")
    box.cask.tool("poll", "--account", "a")
    wait_for(lambda: len(box.sessions()) == 2, what="the listing")
    box.counted(vanished=1, fetched=1, known=COUNT - 1)
    box.stop()
    box.holds([*MESSAGES.values(), message(7)])


def s5_killed():
    box = Polled()
    box.glance()
    box.glance()
    box.service.child.kill()
    box.service.child.wait()
    check(box.cask.tool("verify").status == 0, "the archive is sound")
    same([e["type"] for e in box.cask.json("ledger", "--account", "a")], ["session"], "only what was written is there")
    seen = len(box.polls())
    box.service = box.cask.start()
    check(len(box.next_listing(seen)) <= 1, "the next poll lists", box.polls())  # one may have been under way
    box.glance()
    box.stop()
    box.holds(MESSAGES.values())


def s5_something_needs_a_listing():
    cases = {
        "a message is refused": dict(script='on RETR 3 reply "-ERR not this one"'),
        "a message was put aside": dict(script='on RETR 3 close', before=lambda b: b.once(None)),
        "a message has no UIDL": dict(script='on UIDL all entry 2 "%n"'),
        "Q8: UIDLs are decimal numbers": dict(options=("--uidl", "number")),
        "the last line is not the last message": dict(script="on UIDL all reverse"),
        "STAT disagrees": dict(script='on STAT reply "+OK 6 600"'),
        "STAT gives no size": dict(script='on STAT reply "+OK 5"'),
        "Q44: the view may be a part": dict(settings={"daily-bytes": "1G"}),
        "messages are to be deleted": dict(account={"delete": "archived"}),
    }
    boxes = {name: Polled(None, *case.get("options", ()), script=case.get("script"), before=case.get("before"),
                          account=case.get("account"), **case.get("settings", {}))
             for name, case in cases.items()}
    for name, box in boxes.items():
        try:
            box.never()
        except Failed as failure:
            raise Failed(f"{name}: {failure}")
        box.service.stop()


def s5_order_is_not_by_age():
    """What came last stands first, so the last message would hide what comes."""
    box = Polled(before=lambda b: b.once())
    box.glance()
    write_files(box.mail / "more", {"a000": message(100)})
    os.rename(box.mail / "more" / "a000", box.mail / USER / "a000")
    wait_for(lambda: len(box.sessions()) > 2 or box.sessions()[-1]["fetched"] == 1, what="the new message's session")
    before = len(box.polls())
    seen = box.until(lambda p: len(p) >= before + 4, "four polls more")[before:]
    check(GLANCE not in seen, "each poll lists", seen)
    box.stop()


def s5_deletions_are_confirmed_by_listings():
    box = Polled(account={"delete": "archived"}, deletes="on")
    box.until(lambda p: len(p) > 1, "the fetch")
    wait_for(lambda: [e for e in box.entries("deletion") if e["state"] == "confirmed"], what="the confirmation")
    polls = box.polls()
    check(polls[:4] == [FULL] * 4, "fetched, deleted, absent, confirmed: each by a listing", polls)
    box.glance()
    box.stop()


def q12_uidl_of_one_message_is_answered_otherwise():
    answers = {
        "refused": 'on UIDL 5 reply "-ERR what?"',
        "another ID": 'on UIDL 5 reply "+OK 5 other"',
        "another number": 'on UIDL 5 reply "+OK 4 m005"',
        "no ID": 'on UIDL 5 reply "+OK 5"',
        "a text": 'on UIDL 5 reply "+OK here it comes"',
        "several lines": 'on UIDL 5 raw "+OK\\r\\n5 m005\\r\\n.\\r\\n"',
        "a surplus end": 'on UIDL 5 raw "+OK 5 m005\\r\\n.\\r\\n"',
        "a surplus end, and another ID": 'on UIDL 5 raw "+OK 5 other\\r\\n.\\r\\n"',
        "no reply": "on UIDL 5 close",
    }
    boxes = {name: Polled(script=script) for name, script in answers.items()}
    for name, box in boxes.items():
        try:
            wait_for(lambda: "UIDL=2" in "".join(box.server.log("session")) or len(box.polls()) >= 3, what="a glance")
            # A session that was lost is tried again after a minute; by hand at once.
            for _ in range(3):
                before = len(box.polls())
                box.cask.tool("poll", "--account", "a")
                box.until(lambda p: len(p) > before, "a poll")
            before = len(box.polls())
            box.until(lambda p: len(p) >= before + 4, "four polls more")
            asked = sum(l.startswith("rule ") for l in box.server.log("rule"))
            check(asked <= 1, "it is asked once, and not again", box.server.log("rule"))
            box.stop()
            box.holds(MESSAGES.values())
            marks = box.cask.archive / "state" / "marks"
            lost = "failed" in [e["state"] for e in box.sessions()]
            check(lost == (name not in ("refused", "another ID")), "what was lost is on record as that", box.sessions())
            check(not marks.exists() or "server " not in marks.read_text(),
                  "which is not held against pipelining")
        except (Failed, TimeoutError) as failure:
            raise Failed(f"{name}: {failure}")


def outcome(function):
    try:
        function()
    except (Failed, TimeoutError, RuntimeError) as failure:
        return failure
    return None


def run_all():
    """Side by side: mostly they wait for the next second."""
    functions = [f for name, f in list(globals().items())
                 if re.match(r"[qs]\d+_", name) and re.search(os.environ.get("ONLY", ""), name)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for function, failure in zip(functions, pool.map(outcome, functions)):
            ok(failure is None, function.__name__)
            if failure is not None:
                diag(failure)
    done()


run_all()
