#!/usr/bin/env python3
"""A disk that fails under the real programs (tests/preload/faults.c): an fdatasync that fails once, with and
without its pages lost, a full disk in the middle of a batch and within LMDB's commit, reads that fail. What
is not on the disk is not acknowledged: sessions leave without QUIT, one line says why, the archive recovers,
fetching goes on by itself, nothing is lost and nothing kept twice; nor is anything
deleted from a server that cannot be restored."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import random

NAMES = ("first", "later")  # accounts; the disk fails while the second one is fetched
EACH = 20
NO_QUIT = r"^session later .* end=client (?!.*QUIT)"
noise = random.Random(4)
MESSAGES = {name: [b"Subject: %s %d\r\n\r\n" % (name.encode(), i) + base64.encodebytes(noise.randbytes(3000))
                   .replace(b"\n", b"\r\n") + b"%d\r\n" % i * (i % 7 * 100) for i in range(EACH)] for name in NAMES}
# Time to make the disk fail between the listing and the mail, on a slow machine, too.
SCRIPT = "user later session 1 on RETR 1 delay 2500\n"
certificates = Certificates()
mail = temp_folder()
for name, messages in MESSAGES.items():
    write_files(mail / name, messages)


class World:
    """An archive, a server, and the rules by which the disk fails."""

    def __init__(self, *names, mail=mail, **settings):
        self.server = Pop3d(mail, "--no-lock", certificate=certificates.good, ca=certificates.ca, script=SCRIPT)
        self.cask = Mailcask(**settings)
        self.cask.add_server("s", self.server.port, certificates.ca, poll="1s")
        for name in names:
            self.cask.add_account(name, "s")
        self.cask.init()
        self.rules = self.cask.folder / "faults"
        self.env = {"LD_PRELOAD": str(BUILD / "tests/faults.so"), "MAILCASK_FAULTS": str(self.rules),
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}
        self.fail()

    def fail(self, *rules):
        new = self.cask.folder / "faults.new"
        new.write_text("".join(r + "\n" for r in rules))
        new.rename(self.rules)

    def struck(self):
        log = self.cask.folder / "faults.log"
        return log.read_text().splitlines() if log.exists() else []

    def count(self, name):
        with contextlib.suppress(RuntimeError):
            return sum(a["messages"] for a in self.cask.json("accounts") if a["account"] == name)
        return 0

    def wait_all(self, name):
        wait_for(lambda: self.count(name) == EACH, what=f"all messages of {name}")

    def whole(self):
        """"" if the archive is sound and holds every message once; else what is wrong."""
        to = self.cask.folder / "restored"
        shutil.rmtree(to, ignore_errors=True)
        verified, restored = self.cask.tool("verify"), self.cask.restore(f"eml:{to}")
        if verified.status != 0 or restored.status != 0:
            return shorten(f"{verified} {restored}")
        wrong = [n for n in NAMES[:len(os.listdir(to))] if hashes(read_eml(to / n)) != hashes(MESSAGES[n])]
        return f"{wrong}: other messages than the server has" if wrong else ""


def lines(service, pattern):
    return [l for l in service.output().splitlines() if re.search(pattern, l)]


def begin_later(world, *rules):
    """One account is archived, a service fetches another one, and now the disk fails."""
    world.cask.once()
    world.cask.accounts.clear()
    world.cask.add_account("later", "s")
    service = world.cask.start(env=world.env)
    world.server.wait_log(r"^login later")
    world.fail(*rules)
    return service


def goes_on(what, rules, reason):
    world = World("first")
    service = begin_later(world, *rules)
    wait_for(lambda: lines(service, "going on"), what="recovery")
    world.wait_all("later")
    world.server.wait_log(r"^session later .* QUIT=1")
    is_(len(world.struck()), len(rules), f"{what}: the disk failed") or diag(world.struck())
    stops = lines(service, "fetching stops")
    ok(len(stops) == 1 and re.search(reason, stops[0]), "one line says that fetching stops, and why") or \
        diag(service.output())
    sessions = world.server.log("session")
    is_(len([s for s in sessions if re.search(NO_QUIT, s)]), 1, "the session that was hit left without QUIT") or \
        diag("\n".join(sessions))
    is_(service.stop(), 0, "the same process went on by itself, and stops cleanly")
    is_(world.whole(), "", "nothing is lost, nothing is kept twice, the archive is sound")


def stays_broken():
    world = World("first")
    # A full disk: what still fits is written.
    service = begin_later(world, "write *.seg 1 SHORT", "write *.seg 2- ENOSPC")
    wait_for(lambda: len(world.struck()) >= 4, what="some tries")
    stops = lines(service, "archive .*No space left")
    ok(len(stops) == 1 and "fetching stops" in stops[0], "a disk that stays full: one line, however often it is tried") \
        or diag(service.output())
    ended = world.server.wait_log(r"^session later ")
    ok(all(re.search(NO_QUIT, l) for l in ended), "no session ends with QUIT") or diag("\n".join(ended))
    told = world.cask.json("status")[0]["service"]
    ok(told["state"] == "failed" and "No space left" in told["problem"] and told["next_try"],
       "status tells the same, and when it is tried again") or diag(told)
    world.fail()
    begin = time.monotonic()
    service.child.send_signal(signal.SIGHUP)
    world.wait_all("later")
    seconds = time.monotonic() - begin
    ok(seconds < 20 * TIME_SCALE, f"SIGHUP: it goes on without waiting for its time ({seconds:.1f} s)")
    is_(service.stop(), 0, "and stops cleanly")
    is_(world.whole(), "", "nothing is lost, nothing is kept twice, the archive is sound")


def cannot_read():
    world = World("first")
    service = begin_later(world, "sync *.seg 1 EIO", "read *.seg 1- EIO")
    wait_for(lambda: "read *.seg 1- EIO" in world.struck(), what="a recovery that cannot read")
    ok(not lines(service, "going on"), "recovery that cannot read what is there does not go on")
    world.fail()
    world.wait_all("later")
    is_(service.stop(), 0, "when it can be read fetching goes on")
    is_(world.whole(), "", "nothing is lost, nothing is kept twice, the archive is sound")
    world.fail("read *.seg 1- EIO")
    shown = world.cask.tool("show", "first/1", env=world.env)
    ok(shown.status == 4 and shown.out == b"" and b"Input/output error" in shown.err,
       "show says that it cannot read, and shows nothing") or diag(shown)
    to = world.cask.folder / "unread"
    restored = world.cask.tool("restore", "--all", "--to", f"eml:{to}", env=world.env)
    ok(restored.status == 4 and not list(to.glob("*/*.eml")), "so does restore") or diag(restored)
    verified = world.cask.tool("verify", env=world.env)
    ok(verified.status == 3 and all(b"%s/%d: damaged" % (n.encode(), i) in verified.out for n in NAMES for i in (1, EACH)),
       "verify names every message that cannot be read") or diag(verified)
    like(verified.out, "segment [0-9]+.*Input/output error", "and says that it is the disk")
    world.fail()
    is_(world.whole(), "", "and nothing of it stays")


def in_a_pass(call, name, what, step=1):
    """mailcaskd --once, failing at each such call in turn, or at each step-th."""
    wrong = []
    harmless = what == "SHORT" and name == "*.seg"  # such a write is continued
    for n in range(1, 100, step):
        world = World("first")
        world.fail(f"{call} {name} {n} {what}")
        failed = world.cask.once(env=world.env)
        if not world.struck():
            break
        kept = world.count("first")
        said = len([l for l in failed.err.decode().splitlines() if "archive" in l and "has started" not in l])
        sound = world.cask.tool("verify", "--quick").status
        after = world.cask.once()
        why = world.whole()
        if failed.status not in (0, 4) or (failed.status == 0 and kept != EACH) or \
                said != (0 if harmless else 1) or sound != 0 or \
                after.status != 0 or why:
            wrong.append(f"{n}: {why} {kept} kept, {said} lines, verify {sound}, {failed} {after}")
    then = "nothing happens" if harmless else "one line, exit 4 unless all is archived, and the next pass mends it"
    ok(n > 1 and not wrong, f"--once: {call} {name} fails with {what}, each of {(n - 1) // step}: {then}") or diag("\n".join(wrong))


def while_deleting(call, name, what, step=1):
    """The same for a pass that also deletes from the server, on an archive that had all of it before."""
    wrong, dele = [], 0
    for n in range(1, 100, step):
        box = temp_folder()
        files = write_files(box / "first", {f"m{i:04}": m for i, m in enumerate(MESSAGES["first"])})
        world = World("first", mail=box, deletes="off")
        world.cask.accounts["first"]["delete"] = "archived"
        world.cask.once()
        world.cask.settings["deletes"] = "on"
        world.fail(f"{call} {name} {n} {what}")
        failed = world.cask.once(env=world.env)
        if not world.struck():
            break
        gone = EACH - len(os.listdir(files))
        dele += gone > 0
        why = world.whole()
        after = [world.cask.once(), world.cask.once()]
        why = why or world.whole() or ("" if not os.listdir(files) else "not all is deleted in the end")
        if failed.status not in (0, 1, 4) or {a.status for a in after} != {0} or why:
            wrong.append(f"{n}: {why} {gone} deleted, {failed} {after}")
    ok(n > 1 and not wrong, f"deleting: {call} {name} fails with {what}, each of {(n - 1) // step} (after which {dele} had deleted): "
       "all of it can be restored at once and later, and goes from the server in the end") or diag("\n".join(wrong))


EIO = "Input/output error; look at the disk"
FULL = "No space left on device; free some space"


def service():
    goes_on("an fdatasync fails once", ["sync *.seg 1 EIO"], EIO)
    goes_on("an fdatasync fails once and its pages are lost", ["sync *.seg 1 LOSE"], EIO)
    goes_on("the disk is full in the middle of a batch", ["write *.seg 1 SHORT", "write *.seg 2 ENOSPC"], FULL)
    goes_on("the disk is full in LMDB's commit", ["write data.mdb 1 ENOSPC"], FULL)
    goes_on("a disk error in LMDB's commit", ["sync data.mdb 1 EIO"], EIO)
    stays_broken()
    cannot_read()


def once():
    for rule in (("write", "*.seg", "ENOSPC"), ("write", "*.seg", "SHORT"), ("sync", "*.seg", "EIO"),
                 ("sync", "*.seg", "LOSE"), ("write", "data.mdb", "ENOSPC", 3), ("write", "data.mdb", "SHORT", 4),
                 ("sync", "data.mdb", "EIO"), ("sync", "segments", "EIO"), ("sync", "CASK*", "EIO")):
        in_a_pass(*rule)


def deleting():
    for rule in (("write", "*.seg", "ENOSPC"), ("sync", "*.seg", "LOSE"), ("read", "*.seg", "EIO", 12),
                 ("sync", "data.mdb", "EIO")):
        while_deleting(*rule)


# faults.t [PART...]: these parts only.
for part in sys.argv[1:] or ["service", "once", "deleting"]:
    {"service": service, "once": once, "deleting": deleting}[part]()
done()
