"""B7 growth: what a message costs when very many are there already. One run of each size."""

import os
import signal
import time

import files
import servers
from clients import Ours
from contest import Cost, Failed, cpu_of, measure, told
from harness import BUILD, memory_kib, wait_for
from table import Row

SIZES = (10**5, 10**6)
SIZES_FULL = (10**5, 10**6, 10**7)
SIZES_SMALL = (10**3, 10**4)
IN_ACCOUNT = 1_000
MESSAGE_SIZE = 1024
DEEP = 50_000  # messages of one mailbox
DEEP_FULL = 500_000
DEEP_SMALL = 1_000
NEW = 2_000  # messages, in the middle of which the service is killed
START_SECONDS = 600
TARGET = 1.3
US = 1e6


def tool(cask, *arguments):
    """A command of ours, with its memory."""
    return told(arguments[0], measure([BUILD / "mailcask", "--archive", cask.archive, *arguments],
                                      memory=True, output=os.devnull))


def fetch(cask, what, *arguments):
    """A pass over all accounts, or one."""
    return told(what, measure(cask.once_arguments(*arguments), memory=True))


def one_more(cask, account):
    """An account that is not in the configuration from the start; "" takes it out again."""
    cask.text = account and f"[account {account}]\nserver = s0\nuser = {account}\npassword = secret\n"


def start_after_kill(cask, server, account):
    """The service is killed while it fetches the account; then it starts again: seconds until it answers,
    its CPU and its memory by then."""
    retrieved = server.counter("retrieved")
    one_more(cask, account)
    first = cask.start()
    wait_for(lambda: cask.tool("poll", "--account", account).status == 0, START_SECONDS, "answer")
    wait_for(lambda: server.counter("retrieved") >= retrieved + NEW // 2, START_SECONDS, "new mail")
    first.stop(signal.SIGKILL)
    begin = time.monotonic()
    second = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, START_SECONDS, "answer")
    found = time.monotonic() - begin, cpu_of(second.pid), memory_kib(second.pid, "RssAnon") / 1024
    if second.stop() != 0:
        raise Failed(f"mailcaskd: {second.output()[-300:]}")
    one_more(cask, "")
    return found


def label(size):
    return f"10^{len(str(size)) - 1}"


def rows_of(name, what, cost):
    """Wall, CPU and memory of one thing."""
    yield Row("B7", f"{name}: {what}, wall", ours=cost.wall, unit="s")
    yield Row("B7", f"{name}: {what}, CPU", ours=cost.cpu, unit="s")
    yield Row("B7", f"{name}: {what}, RssAnon", ours=cost.more["rss"], unit="MiB")


def grow(cask, size, name):
    """Rows of fetching it all; the last value is CPU a message, in microseconds."""
    cost = fetch(cask, f"{size:,} messages")
    stats = cask.json("stats")[0]
    if stats["messages"] != size:
        raise Failed(f"{stats['messages']} messages of {size}")
    each = cost.cpu / size * US
    yield Row("B7", f"{name}: CPU a message", ours=each, unit="us")
    yield Row("B7", f"{name}: fetching, RssAnon", ours=cost.more["rss"], unit="MiB")
    yield Row("B7", f"{name}: index, a message", ours=stats["index_bytes"] / size, unit="B")
    yield Row("B7", f"{name}: segments, a message", ours=stats["segment_bytes"] / size, unit="B")
    yield each


def deep(count, work):
    """Rows of an archive of one mailbox of very many messages."""
    name = f"one mailbox of {count:,}"
    account = servers.box("deep", count, MESSAGE_SIZE)
    with servers.light(work) as server:
        cask = Ours(work / "b7-deep", server.source, [account]).cask
        cask.init()
        *rows, _ = grow(cask, count, name)
        yield from rows
        yield from rows_of(name, "poll, all known", fetch(cask, "once more"))
        yield from rows_of(name, "list", tool(cask, "list", "--account", account))
        yield from rows_of(name, "reindex", tool(cask, "reindex"))
        files.remove(cask.folder)


def one_size(size, work):
    """Its rows; the last value is CPU a message."""
    name = label(size)
    accounts = [servers.box(f"u{i}", IN_ACCOUNT, MESSAGE_SIZE) for i in range(size // IN_ACCOUNT)]
    with servers.light(work) as server:
        cask = Ours(work / f"b7-{name}", server.source, accounts, poll="1d").cask
        cask.init()
        *rows, each = grow(cask, size, name)
        yield from rows
        yield from rows_of(name, f"list of {IN_ACCOUNT:,}", tool(cask, "list", "--account", accounts[0]))
        wall, cpu, rss = start_after_kill(cask, server, servers.box("new", NEW, MESSAGE_SIZE))
        yield from rows_of(name, "start after kill -9", Cost(wall, cpu, {"rss": rss}))
        yield from rows_of(name, "reindex", tool(cask, "reindex"))
        files.remove(cask.folder)
    yield each


def run(options, work):
    sizes = SIZES_SMALL if options.small else SIZES_FULL if options.full else SIZES
    depth = DEEP_SMALL if options.small else DEEP_FULL if options.full else DEEP
    each = []
    for size in sizes:
        *rows, cpu = one_size(size, work)
        each.append(cpu)
        yield from rows
    yield Row("B7", f"CPU a message, {label(sizes[-1])} / {label(sizes[0])}", each[-1] / each[0], TARGET,
              each[-1], (label(sizes[0]), each[0]), "us")
    yield from deep(depth, work)
