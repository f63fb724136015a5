"""What a command costs, and contestants in turn.

CPU is user and system time of the measured process and of all it waited for, from the kernel. The
client runs on the first core and servers on the others, where there are several: then neither takes
the other's turn, and a worker a core does not make a parallel client of one and not of the other."""

import collections
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from harness import memory_kib

ALL_CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORES = set(ALL_CORES[:1])
SERVER_CORES = set(ALL_CORES[1:]) or CLIENT_CORES
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
OUTPUT_SHOWN = 2000
SAMPLE_SECONDS = 0.005

# wall and cpu in seconds; more: figures of the contestant's own, by name.
Cost = collections.namedtuple("Cost", "wall cpu more", defaults=[{}])


class Failed(Exception):
    """A contestant did not do its work: its figures would mean nothing."""


def on(cores):
    """For preexec_fn."""
    return lambda: os.sched_setaffinity(0, cores)


def pin_servers():
    """This process, and the servers it starts, stay off the client's core."""
    os.sched_setaffinity(0, SERVER_CORES)


def text(arguments):
    return [str(a) for a in arguments]


def measure(arguments, stdin=None, env=None, cwd=None, good=(0,), output=None, cores=CLIENT_CORES,
            memory=False):
    """Run one command: a Cost. stdin: bytes. output: a file for what it prints; otherwise kept, and
    shown if its exit status is not among `good`. memory: its peak of RssAnon, sampled, in MiB, too."""
    log = open(output, "w+b") if output else _scratch()
    with log, _scratch(stdin) as given:
        start = time.monotonic()
        child = subprocess.Popen(text(arguments), stdin=given, stdout=log, stderr=log, cwd=cwd,
                                 env={**os.environ, **(env or {})}, preexec_fn=on(cores))
        status, usage, peak = _watch(child.pid) if memory else (*os.wait4(child.pid, 0)[1:], None)
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in good:
            log.seek(0)
            raise Failed(f"{pathlib.Path(arguments[0]).name}: exit status {child.returncode}: "
                         f"{log.read(OUTPUT_SHOWN).decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, {"rss": peak} if memory else {})


def _watch(pid):
    """Wait for it: status, usage, peak of RssAnon in MiB."""
    peak = 0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage, peak / 1024
        peak = max(peak, memory_kib(pid, "RssAnon"))
        time.sleep(SAMPLE_SECONDS)


def _scratch(data=None):
    file = tempfile.TemporaryFile()
    file.write(data or b"")
    file.seek(0)
    return file


def cpu_of(pid):
    """User and system time so far of a process that runs, in seconds, to a tick."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def contest(contestants, rounds):
    """contestants: name -> a function that returns a Cost. All of them take turns, `rounds` times, in
    changing order: name -> list of Costs. The disk is idle when one begins."""
    costs = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            os.sync()
            costs[name].append(contestants[name]())
            told(name, costs[name][-1])
    return costs


def told(name, cost):
    """The cost, and a line about it for who waits for the table."""
    print(f"    {name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s", file=sys.stderr, flush=True)
    return cost


def middle(costs, figure):
    """The median of "wall", "cpu", or one of `more`."""
    return statistics.median(value(c, figure) for c in costs)


def ratio(ours, peer, figure):
    """The median of the rounds' ratios: what slows a round slows both."""
    return statistics.median(value(a, figure) / value(b, figure) for a, b in zip(ours, peer))


def value(cost, figure):
    return getattr(cost, figure) if figure in ("wall", "cpu") else cost.more[figure]
