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
ROUNDS_BEFORE = 2  # the first have nothing to go by, and list the mailbox
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


def so_far(server):
    return [server.counter(c) for c in ("quits", "retrieved", "resumed", "sent")]


def cost_of_polls(client, wall, cpu, before, after):
    """Figures a poll, of sessions that are seen to have been polls."""
    polls, retrieved, resumed, sent = (b - a for a, b in zip(before, after))
    if polls < len(client.accounts) or retrieved != 0:
        raise Failed(f"{client.name} polled {polls} mailboxes, and fetched {retrieved} messages")
    return Cost(wall, cpu, {"poll": cpu / polls, "resumed": resumed / polls, "bytes": sent / polls})


def polled(client, server):
    """A contestant that polls all accounts once."""
    def contestant():
        before = so_far(server)
        cost = client.fetch()
        return cost_of_polls(client, cost.wall, cost.cpu, before, so_far(server))
    return contestant


def service(ours, server):
    """A contestant: the service, once it has seen each mailbox."""
    def contestant():
        running = ours.cask.start()
        try:
            known = server.counter("quits") + ROUNDS_BEFORE * len(ours.accounts)
            wait_for(lambda: server.counter("quits") >= known, WATCH_SECONDS, "first polls")
            start, cpu, before = time.monotonic(), cpu_of(running.pid), so_far(server)
            time.sleep(ROUNDS_WATCHED * POLL_SECONDS)
            wait_for(lambda: server.counter("quits") >= before[0] + len(ours.accounts), WATCH_SECONDS,
                     "polls")
            return cost_of_polls(ours, time.monotonic() - start, cpu_of(running.pid) - cpu, before,
                                 so_far(server))
        finally:
            running.stop()
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
    mpop = costs["mpop"]
    for name, what, target in (("once", "first", None), ("service", "again", RESUMED_TARGET)):
        ours = costs[name]
        yield versus("B3", f"CPU a poll, {what}", ours, mpop, "poll", "ms", target, "mpop", MS)
        yield versus("B3", f"bytes a poll, {what}", ours, mpop, "bytes", "B", name="mpop")
        yield Row("B3", f"TLS sessions resumed, {what}", ours=100 * middle(ours, "resumed"),
                  peer=("mpop", 100 * middle(mpop, "resumed")), unit="%")
