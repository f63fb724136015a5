#!/usr/bin/env python3
"""What the service tells its service manager: that it is up, reloads, lives, works and stops."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

WATCHDOG_SECONDS = 4 * TIME_SCALE
mail = temp_folder()
write_files(mail / "a", [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(10)])
server = Pop3d(mail, "--no-lock")


class Manager:
    """The other end of NOTIFY_SOCKET: (seconds, line)s in the order they came."""

    def __init__(self):
        self.path = temp_folder() / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        self.told = []
        self.environment = {"NOTIFY_SOCKET": str(self.path),
                            "WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1_000_000)}

    def lines(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                now = time.monotonic()
                self.told += [(now, l) for l in self.socket.recv(65536).decode().splitlines()]
        return [l for _, l in self.told]

    def wait(self, pattern, count=1):
        def matches():
            found = [l for l in self.lines() if re.search(pattern, l)]
            return found if len(found) >= count else None
        return wait_for(matches, what=f"/{pattern}/")


def life():
    cask, manager = Mailcask(), Manager()
    cask.add_server("s", server.port, server.ca, poll="1s")
    cask.add_account("a", "s")
    cask.init()
    service = cask.start(env=manager.environment)
    manager.wait("^READY=1$")
    is_(manager.lines()[0], "STATUS=opening the archive", "first it opens the archive")
    manager.wait("^STATUS=1 account on 1 server, . sessions?, 10 messages archived since the start$")
    ok(True, "its status says what it does")
    service.child.send_signal(signal.SIGHUP)
    manager.wait("^READY=1$", 2)
    told = manager.lines()
    at = told.index("RELOADING=1")
    like(told[at + 1], r"^MONOTONIC_USEC=\d+$", "a reload, and when it began")
    stamp = int(told[at + 1].split("=")[1]) / 1e6
    ok(abs(stamp - time.monotonic()) < START_SECONDS * TIME_SCALE, "by the monotonic clock")
    is_(told[at + 2], "READY=1", "and its end")
    cask.config.write_text(cask.config.read_text() + "nonsense = 1\n")
    service.child.send_signal(signal.SIGHUP)
    manager.wait("^READY=1$", 3)
    ok(True, "also that of one that was refused")
    manager.wait("^STATUS=the configuration stays as it was: .*nonsense")
    ok(True, "which is its status, and why")
    manager.wait("^WATCHDOG=1$", 4)
    signs = [t for t, l in manager.told if l == "WATCHDOG=1"]
    gaps = [b - a for a, b in zip(signs, signs[1:])]
    ok(all(g < WATCHDOG_SECONDS for g in gaps), f"signs of life, in time ({max(gaps):.2f} s)")
    is_(service.stop(), 0, "stopped")
    ok("STOPPING=1" in manager.lines(), "which it says")


def not_ready():
    cask, manager = Mailcask(), Manager()
    cask.add_server("s", server.port, server.ca)
    cask.add_account("a", "s")
    result = run([BUILD / "mailcaskd", "--config", cask.write_config()], env=manager.environment)
    is_(result.status, 4, "no archive")
    ok("READY=1" not in manager.lines(), "it was never ready")


life()
not_ready()
done()
