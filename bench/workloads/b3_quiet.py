"""B3 quiet poll: a thousand mailboxes in which nothing is new."""

import time

import servers
from clients import Mpop, Ours
from contest import Cost, Failed, contest, cpu_of, middle
from harness import Pop3Client, wait_for
from table import Row, versus

ACCOUNTS = 1000
ACCOUNTS_SMALL = 50
MPOP_ACCOUNTS = 250  # it takes one after the other, and syncs a file for each
MESSAGES = 30
MESSAGE_SIZE = 600
POLL_SECONDS = 4
ROUNDS_WATCHED = 3
WATCH_SECONDS = 60
RESUMED_TARGET = 0.15
MS = 1000


def known_to(mpop, server):
    """mpop's list of what it has, as it writes it: fetching would take minutes, as it syncs each
    message."""
    mpop.fresh()
    host = server.source.hosts[0]
    for account in mpop.accounts:
        with Pop3Client(server.source.port, server.source.ca) as client:
            uidls = sorted(client.login(account).listing("UIDL").values())
            client.quit()
        (mpop.state / account).write_text("#\n".join(("", f" {len(uidls)} {host} {account}\n")) +
                                          "".join(f"{u}\n" for u in uidls))


def polled(client, server):
    """A contestant that polls all accounts, and is seen to do just that: seconds a poll."""
    def contestant():
        quits, retrieved = server.counter("quits"), server.counter("retrieved")
        resumed = server.counter("resumed")
        cost = client.fetch()
        polls = server.counter("quits") - quits
        if polls != len(client.accounts) or server.counter("retrieved") != retrieved:
            raise Failed(f"{client.name} polled {polls} mailboxes, and fetched "
                         f"{server.counter('retrieved') - retrieved} messages")
        return cost._replace(more={"poll": cost.cpu / polls,
                                   "resumed": (server.counter("resumed") - resumed) / polls})
    return contestant


def seen(running, server):
    """Of the service so far: time, CPU, polls, sessions resumed."""
    return (time.monotonic(), cpu_of(running.pid), server.counter("quits"), server.counter("resumed"))


def service(ours, server):
    """A contestant: the service, from its second poll of each account on."""
    def contestant():
        running = ours.cask.start()
        try:
            begin = server.counter("quits")
            count = len(ours.accounts)
            wait_for(lambda: server.counter("quits") >= begin + count, WATCH_SECONDS, "first polls")
            before = seen(running, server)
            time.sleep(ROUNDS_WATCHED * POLL_SECONDS)
            wait_for(lambda: server.counter("quits") >= before[2] + count, WATCH_SECONDS, "polls")
            after = seen(running, server)
        finally:
            running.stop()
        wall, cpu, polls, resumed = (b - a for a, b in zip(before, after))
        return Cost(wall, cpu, {"poll": cpu / polls, "resumed": resumed / polls})
    return contestant


def run(options, work):
    accounts = [servers.box(f"u{i}", MESSAGES, MESSAGE_SIZE)
                for i in range(ACCOUNTS_SMALL if options.small else ACCOUNTS)]
    with servers.light(work) as server:
        ours = Ours(work / "b3-mailcask", server.source, accounts, poll=f"{POLL_SECONDS}s")
        mpop = Mpop(work / "b3-mpop", server.source, accounts[:None if options.full else MPOP_ACCOUNTS])
        ours.fresh()
        ours.fetch()
        known_to(mpop, server)
        costs = contest({"once": polled(ours, server), "mpop": polled(mpop, server),
                         "service": service(ours, server)}, options.rounds)
    yield versus("B3", "CPU a poll, first", costs["once"], costs["mpop"], "poll", "ms", name="mpop",
                 scale=MS)
    yield versus("B3", "CPU a poll, again", costs["service"], costs["mpop"], "poll", "ms",
                 RESUMED_TARGET, "mpop", MS)
    for name, what in (("once", "first"), ("service", "again")):
        yield Row("B3", f"TLS sessions resumed, {what}", ours=100 * middle(costs[name], "resumed"),
                  peer=("mpop", 100 * middle(costs["mpop"], "resumed")), unit="%")
