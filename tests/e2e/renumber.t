#!/usr/bin/env python3
"""Servers that change or reuse UIDLs, with deletion switched on: nothing is stored twice, nothing is deleted
that is not proven to be archived, and the operator is told once. And mailboxes that move to another server,
and damage that heals from a server which may delete afterwards."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

MANY = 10_000
certificates = Certificates()
TOLD = re.compile(r"have other UIDLs")


def tiny(count):
    return {f"m{i:05}": b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\n%d\r\n" % (i, i, i * 7919)
            for i in range(1, count + 1)}


class World:
    """One maildrop and a mailcask for it; serve() puts another server on the same port."""

    def __init__(self, messages):
        self.mail = temp_folder(in_memory=True)
        write_files(self.mail / "u", messages)
        self.server, self.cask = None, Mailcask(deletes="on")
        self.serve()
        self.cask.init()

    def serve(self, script="", host="127.0.0.1", mail=None):
        if self.server:
            self.server.stop()
        else:
            self.port = free_port()
        self.server = Pop3d(mail or self.mail, "--listen", f"127.0.0.1:{self.port}", certificate=certificates.good, ca=certificates.ca,
                            script=script)
        self.cask.add_server("s", self.server.port, certificates.ca, host=host)
        self.rule("never")

    def rule(self, delete, **settings):
        self.cask.add_account("a", "s", user="u", delete=delete, **settings)

    def once(self, delete):
        """A pass; what it said on standard error."""
        self.rule(delete)
        result = self.cask.once()
        if result.status != 0:
            diag(str(result))
        return result.err.decode()

    def left(self):
        return sorted(f.name for f in (self.server.mail_dir / "u").iterdir())

    def archived(self):
        """{N: SHA-256}."""
        to = temp_folder()
        self.cask.restore(f"eml:{to}", "--account", "a")
        return {int(f.stem): sha256(f.read_bytes()) for f in to.glob("*.eml")}

    def holds(self, *messages):
        to = temp_folder() / "mbox"  # one file, however many messages
        self.cask.restore(f"mbox:{to}", "--account", "a")
        return hashes(read_mbox(to)) == hashes(messages) and self.cask.tool("verify").status == 0

    def reasons(self):
        """What `mailcask deletions` gives as reasons."""
        found = self.cask.tool("deletions", "--config", self.cask.write_config(), "--json").out.splitlines()
        return {json.loads(l)["why"] for l in found}

    def entries(self, kind):
        return [e for e in self.cask.json("ledger", "--account", "a") if e["type"] == kind]

    def intents(self):
        return [m for e in self.entries("intent") for m in e["messages"]]


def all_uidls_change():
    """Q7, in a pass."""
    messages = tiny(MANY)
    w = World(messages)
    w.once("never")
    is_(w.cask.json("accounts")[0]["messages"], MANY, f"{MANY} messages are archived")
    w.serve(script='on LOGIN uidl "new-%f"\n')
    told = w.once("archived")
    is_(w.cask.json("accounts")[0]["messages"], MANY, "all UIDLs change: no second copy")
    is_((w.server.log("dele"), w.intents()), ([], []), "nothing is deleted on the strength of it")
    is_(len(TOLD.findall(told)), 1, "and one line tells the operator") or diag(told)
    is_(sum(e["deduplicated"] for e in w.entries("session")), MANY, "all were known by their bytes")
    served = len(w.server.log("retr"))
    told = w.once("never")
    is_((len(w.server.log("retr")) - served, TOLD.findall(told)), (0, []), "the next pass is quiet")
    ok(w.holds(*messages.values()), "every message is there once, and the archive is sound")


def all_uidls_change_in_service():
    """Q7: a service says it once, and deletes only what it has compared."""
    messages = tiny(120)
    w = World(messages)
    w.once("never")
    w.serve(script='on LOGIN uidl "new-%f"\n')
    w.rule("archived", poll="1s")
    service = w.cask.start()
    wait_for(lambda: not w.left(), what="the deletions")
    w.server.wait_log(r"^session u ", count=len(w.server.log("session")) + 2)
    is_(service.stop(), 0, "a service")
    is_(len(TOLD.findall(service.output())), 1, "tells it once, too") or diag(service.output())
    intents = w.intents()
    is_((len(intents), all(m["fetched_again"] for m in intents)), (120, True),
        "and deletes only what it fetched once more")
    ok(w.holds(*messages.values()), "every message is archived once")
    retrs = [l for l in w.server.log() if l.startswith(("retr ", "dele "))]
    is_([l.split()[0] for l in retrs[:120]], ["retr"] * 120, "the first session only fetches")


def numbered(numbers, text):
    return {str(n): b"Subject: %d\r\n\r\n%s %07d\r\n" % (n, text, n * 31) for n in numbers}


def a_number_is_reused():
    """Q8: UIDL 17 stands for another message of the same size."""
    messages = numbered(range(1, 21), b"first")
    other = numbered([17], b"other")["17"]
    w = World(messages)
    w.once("never")
    (w.mail / "u" / "17").write_bytes(other)
    w.once("archived")
    is_(w.left(), ["17"], "UIDL 17 is reused: the others are deleted, this one is not")
    is_([m["n"] for m in w.intents() if m["sha256"] in (sha256(messages["17"]), sha256(other))], [],
        "neither of the two was intended to be")
    ok(w.holds(*messages.values(), other), "and both are archived")
    w.once("archived")
    is_(w.left(), [], "the other one goes once it is archived")
    is_([(m["sha256"], m["fetched_again"]) for m in w.intents() if m["uidl"] == "17"], [(sha256(other), True)],
        "fetched again and equal")
    ok(w.holds(*messages.values(), other), "nothing is lost, nothing there twice")


def moved_to_another_server():
    """A new server counts its UIDLs from 1, too. It has some of the old messages, under other numbers."""
    old = numbered(range(1, 9), b"old")
    w = World(old)
    w.once("never")
    w.once("archived")
    is_(w.left(), [], "on the old server everything is deleted")
    new = {**numbered(range(1, 7), b"new"), "7": old["2"], "8": old["1"]}
    elsewhere = temp_folder()
    write_files(elsewhere / "u", new)
    w.serve(host="localhost", mail=elsewhere)
    w.once("never")
    want = {sha256(m) for m in [*old.values(), *new.values()]}
    is_(sorted(w.archived().values()), sorted(want), "the mailbox moves: it is archived whole, nothing twice")
    states = [(e["host"], e["state"]) for e in w.entries("deletion")]
    is_(states, [("127.0.0.1", "accepted")], "what the new server lists says nothing of the old one's deletions")
    (elsewhere / "u" / "3").write_bytes(numbered([3], b"eve")["3"])
    (elsewhere / "u" / "9").write_bytes(old["3"])
    w.once("archived")
    there = [m for e in w.entries("intent") if e["host"] == "localhost" for m in e["messages"]]
    is_({m["uidl"]: (m["sha256"], m["fetched_again"]) for m in there},
        {u: (sha256(new.get(u, old["3"])), True) for u in ("1", "2", "4", "5", "6", "7", "8", "9")},
        "each deletion there is of what was fetched again under its number")
    is_(w.left(), ["3"], "and the number that came with another message stays")
    want |= {sha256(numbered([3], b"eve")["3"])}
    is_(sorted(w.archived().values()), sorted(want), "until it is archived, which it is")


def flip(cask, which):
    """A bit of the middle of the archive's Nth segment."""
    segment = sorted((cask.archive / "segments").iterdir())[which]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x10
    segment.write_bytes(data)


def damage_heals(name, message):
    """The server still has it, and may delete it once it is whole again."""
    w = World({"m1": b"Subject: small\r\n\r\nsmall\r\n", "m2": message})
    w.once("never")
    before = w.archived()
    flip(w.cask, 0)
    is_(w.cask.tool("verify").status, 3, f"a damaged {name}: found")
    w.rule("archived")
    ok("its archived copy is damaged" in w.reasons(), "and nothing is deleted on it, as told beforehand")
    result = w.cask.once()
    is_(result.status, 0, "a pass that may delete") or diag(str(result))
    ok(sum(e["healed"] for e in w.entries("session")) > 0, "fetches it again")
    is_(w.archived(), before, "it is healed under the same ID")
    w.once("archived")
    is_(w.left(), [], "and deleted, as it can be proved again")
    ok("its archived copy is damaged" not in w.reasons(), "of which nobody says any more that it is damaged")
    is_(w.archived(), before, "it is still there")


def long_text():
    chance = random.Random(7)
    return b"Subject: text\r\n\r\n" + b"".join(bytes(chance.choices(b"abcdefgh ", k=70)) + b"\r\n" for _ in range(4000))


def attachment():
    data = base64.encodebytes(random.Random(8).randbytes(300_000)).replace(b"\n", b"\r\n")
    return b"Subject: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n" + data


def a_damaged_message_heals():
    damage_heals("message", long_text())


def a_damaged_part_heals():
    damage_heals("part", attachment())


for case in (all_uidls_change, all_uidls_change_in_service, a_number_is_reused, moved_to_another_server,
             a_damaged_message_heals, a_damaged_part_heals):
    begin = time.monotonic()
    case()
    diag(f"{case.__name__}: {time.monotonic() - begin:.1f} s")
done()
