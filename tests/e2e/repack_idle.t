#!/usr/bin/env python3
"""The service repacks by itself, in idle time: ten minutes after its start, when it is worth it, and an hour later
again; it steps back while mail comes. The clock is moved on (tests/preload/clock.c), the rest is as ever."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

FIRST, AGAIN = 600, 3600  # seconds: daemon/repacking.h
SEGMENTS = 9              # a few more than make it worth it: archive/repack_choice.h
LARGE = 3_000_000
USERS = ("a", "b", "c")
SLOW = 400_000            # bytes a second and session: more than a quiet service archives, for a while

chance = random.Random(31)


class World:
    """A service over an archive of SEGMENTS small segments, with a clock of its own."""

    def __init__(self, size, *options):
        self.mail, self.count = temp_folder(), 0
        for user in USERS:
            (self.mail / user).mkdir()
        self.server = Pop3d(self.mail, "--no-lock", *options)
        self.cask = Mailcask()
        self.cask.add_server("s", self.server.port, self.server.ca, poll="1s")
        for user in USERS:
            self.cask.add_account(user, "s")
        self.cask.init()
        self.clock = self.cask.folder / "clock"
        self.clock.touch()
        fast = Pop3d(self.mail, "--no-lock")
        self.cask.servers["s"].update({"port": fast.port, "ca-file": fast.ca})
        for _ in range(SEGMENTS):
            self.deliver(size)
            self.cask.once()
        fast.stop()
        self.cask.servers["s"].update({"port": self.server.port, "ca-file": self.server.ca})
        self.service = self.cask.start(env={"LD_PRELOAD": str(BUILD / "tests/clock.so"), "MAILCASK_CLOCK": str(self.clock),
                                            "ASAN_OPTIONS": "verify_asan_link_order=0"})
        wait_for(lambda: self.cask.tool("status").status == 0, what="the service")

    def deliver(self, size):
        self.count += 1
        for user in USERS:
            text = base64.encodebytes(chance.randbytes(chance.randint(size // 2, size))).replace(b"\n", b"\r\n")
            staged = self.mail / user / ".new"
            staged.write_bytes(b"Subject: %d\r\n\r\n" % self.count + text)
            staged.rename(self.mail / user / f"{self.count:04}m{chance.getrandbits(32):08x}")

    def status(self, part="repack"):
        return json.loads(self.cask.tool("status", "--json").out)[part]

    def archived(self):
        return sum(a["messages"] for a in self.cask.json("accounts"))

    def is_complete(self):
        return self.archived() == len(USERS) * self.count

    def wait_polls(self):
        """Each account is polled once more."""
        begun = len(self.server.log("session"))
        self.server.wait_log("^session ", begun + 2 * len(USERS))

    def move_clock(self, seconds, meanwhile=lambda: None):
        """No session is under way then, which would take it for a server that does not answer."""
        self.cask.settle()
        meanwhile()
        os.truncate(self.clock, self.clock.stat().st_size + seconds)
        self.cask.tool("resume", "--all")

    def wait_run(self, number):
        return wait_for(lambda: (lambda s: s if s["run"] == number and s["state"] not in ("running", "waiting") else None)
                        (self.status()), RUN_SECONDS, f"run {number}")

    def all_right(self):
        is_(self.service.stop(), 0, "SIGTERM: exit 0")
        out = self.cask.folder / "out"
        self.cask.restore(f"eml:{out}")
        wrong = [u for u in USERS if hashes(read_eml(out / u)) != hashes(sorted((self.mail / u).glob("[0-9]*")))]
        is_((wrong, self.cask.tool("verify").status), ([], 0), "every message is there, exact and once, and all is sound")


def in_its_time():
    world = World(3000)
    world.move_clock(FIRST - 60)
    world.wait_polls()
    is_((world.status()["run"], world.status()["state"]), (0, "idle"), "in the first ten minutes it does nothing")
    world.move_clock(60)
    state = world.wait_run(1)
    is_((state["asked"], state["state"], state["error"]), (0, "done", None), "then it repacks, unasked") or diag(str(state))
    ok(state["segments"] == SEGMENTS == state["segments_read"], "all that was sealed")
    is_((state["segments_removed"], state["segments_kept"]), (0, SEGMENTS), "what it replaced stays for a day")
    ok(state["bytes_after"] < state["bytes_before"], f"it is less ({state['bytes_before']}, then {state['bytes_after']})")
    world.deliver(3000)
    wait_for(world.is_complete, what="new mail")
    world.move_clock(FIRST)
    world.wait_polls()
    is_(world.status()["run"], 1, "ten minutes later it does nothing")
    world.move_clock(AGAIN)
    state = world.wait_run(2)
    is_((state["asked"], state["state"], state["segments"]), (0, "done", 0), "an hour later it looks, and finds nothing worth it")
    world.all_right()


def steps_back():
    world = World(LARGE, "--throttle", str(SLOW))
    world.move_clock(FIRST, lambda: [world.deliver(LARGE) for _ in range(3)])
    wait_for(lambda: world.status()["state"] == "waiting", RUN_SECONDS, "it to wait")
    before = world.status()["done_bytes"]
    ok(not world.is_complete(), "while mail comes it waits")
    state = world.wait_run(1)
    ok(before < state["done_bytes"], "then it goes on")
    is_((state["state"], state["segments_read"]), ("done", SEGMENTS), "to its end")
    wait_for(world.is_complete, RUN_SECONDS, "the mail")
    world.all_right()


in_its_time()
steps_back()
done()
