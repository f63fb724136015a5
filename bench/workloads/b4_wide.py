"""B4 wide: ten thousand sessions open at once, some of them transferring."""

import collections
import pathlib
import statistics
import subprocess
import tempfile
import time

import servers
from clients import Ours
from contest import CLIENT_CORES, Failed, cpu_of, on, text
from harness import memory_kib
from table import Row

SESSIONS = 10_000
SESSIONS_SMALL = 200
BUSY = 500
BUSY_MESSAGES, BUSY_SIZE = 40, 8192
HELD_MESSAGES, HELD_SIZE = 2, 1024
ADDRESSES = 10  # one server section has at most 1,000 connections
MAX_MEMORY = "64M"
# Nothing came or went for so long: no more will.
STILL_SECONDS = 3
OPEN_SECONDS = 50  # then the first would give up waiting
TRANSFER_SECONDS = 240
RSS_TARGET_MIB = 400

Seen = collections.namedtuple("Seen", "open rss rss_peak wall cpu received fairness")


class Watched:
    """mailcaskd --once on the client's core, and its memory."""

    def __init__(self, ours):
        self.output = tempfile.TemporaryFile()
        self.child = subprocess.Popen(text(ours.cask.once_arguments()), stdout=self.output,
                                      stderr=self.output, preexec_fn=on(CLIENT_CORES))
        self.rss_peak = 0

    def rss_mib(self):
        rss = memory_kib(self.child.pid, "RssAnon") / 1024
        self.rss_peak = max(self.rss_peak, rss)
        return rss

    def until(self, reached, progress, seconds):
        """Wait for reached(), or until progress() stands still. Samples the memory."""
        end = time.monotonic() + seconds
        last, changed = progress(), time.monotonic()
        while not reached() and time.monotonic() < min(end, changed + STILL_SECONDS):
            if self.child.poll() is not None:
                raise Failed(f"mailcaskd ended: {self.said()}")
            self.rss_mib()
            if progress() != last:
                last, changed = progress(), time.monotonic()
            time.sleep(0.02)

    def said(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")[-500:]

    def finish(self):
        try:
            return self.child.wait(TRANSFER_SECONDS)
        finally:
            self.child.kill()
            self.child.wait()


def slowest_against_median(server, gate_time):
    ends = [last - gate_time for user, messages, _, last in server.sessions()
            if user.startswith("b") and messages == BUSY_MESSAGES]
    return max(ends) / statistics.median(ends) if ends else 0


def one_round(ours, server, sessions, busy):
    ours.fresh()
    server.open_gate(0)
    watched = Watched(ours)
    try:
        # Who has logged in is held there: it is open, and its handshake behind it.
        watched.until(lambda: server.counter("logins") >= sessions,
                      lambda: (server.counter("open"), server.counter("sent")), OPEN_SECONDS)
        opened, rss = server.counter("logins"), watched.rss_mib()
        retrieved, sent = server.counter("retrieved"), server.counter("sent")
        start, cpu = time.monotonic(), cpu_of(watched.child.pid)
        server.open_gate(1)
        done = retrieved + busy * BUSY_MESSAGES
        watched.until(lambda: server.counter("retrieved") >= done, lambda: server.counter("sent"),
                      TRANSFER_SECONDS)
        seen = Seen(opened, rss, watched.rss_peak, time.monotonic() - start,
                    cpu_of(watched.child.pid) - cpu, server.counter("sent") - sent, 0)
        server.open_gate(2)
        status = watched.finish()
    finally:
        watched.child.kill()
    if status != 0 or ours.count() != busy * BUSY_MESSAGES + (sessions - busy) * HELD_MESSAGES:
        raise Failed(f"exit status {status}, {ours.count()} messages: {watched.said()}")
    return seen._replace(fairness=slowest_against_median(server, start))


def run(options, work):
    sessions = SESSIONS_SMALL if options.small else SESSIONS
    busy = BUSY * sessions // SESSIONS
    accounts = [servers.box(f"b{i}", BUSY_MESSAGES, BUSY_SIZE) for i in range(busy)]
    accounts += [servers.box(f"h{i}", HELD_MESSAGES, HELD_SIZE) for i in range(sessions - busy)]
    rounds = []
    for i in range(options.rounds):
        with servers.light(work, addresses=ADDRESSES, gated=True) as server:
            ours = Ours(work / f"b4-{i}", server.source, accounts, {"max-memory": MAX_MEMORY},
                        max_connections=sessions // ADDRESSES)
            rounds.append(one_round(ours, server, sessions, busy))

    def middle(figure):
        return statistics.median(getattr(r, figure) for r in rounds)
    yield Row("B4", "sessions wanted / open", sessions / middle("open"), 1, middle("open"),
              ("wanted", sessions))
    # The memory of fewer sessions has not met what is asked of all.
    target = RSS_TARGET_MIB if middle("open") >= sessions else None
    yield Row("B4", "RssAnon with them open", None, target, middle("rss"), unit="MiB")
    yield Row("B4", "RssAnon, peak", None, target, middle("rss_peak"), unit="MiB")
    yield Row("B4", f"{busy} transfer: received a second", ours=middle("received") / middle("wall") / 1e6,
              unit="MB")
    yield Row("B4", f"{busy} transfer: CPU", ours=middle("cpu"), unit="s")
    yield Row("B4", "slowest / median account", middle("fairness"))
