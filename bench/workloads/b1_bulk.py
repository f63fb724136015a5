"""B1 bulk: whole mailboxes from Dovecot over loopback."""

import mail
import servers
from clients import Fetchmail, Getmail, Mpop, MpopParallel, Ours, checked
from contest import contest, middle
from table import Row, versus

PARALLEL_TRIED = (4, 16)
PARALLEL_TRIED_FULL = (2, 4, 8, 16)
NOT_ONCE = "not stored once"
CPU_TARGET = 0.55
WALL_TARGET = 0.70


def best_parallel(client, count, tried):
    """Set how many processes are quickest here, by one round each."""
    walls = {}
    for client.at_once in tried:
        walls[client.at_once] = checked(client, count)().wall
    client.at_once = min(walls, key=walls.get)
    client.name = f"xargs -P {client.at_once} mpop"


def rows(name, costs, parallel, received):
    ours, mpop = costs["mailcask"], costs["mpop"]
    company = name.startswith("company")
    yield versus("B1", f"{name} CPU", ours, mpop, "cpu", "s", CPU_TARGET if company else None, "mpop")
    yield versus("B1", f"{name} wall", ours, costs[parallel], "wall", "s",
                 WALL_TARGET if company else None, parallel)
    yield versus("B1", f"{name} wall", ours, mpop, "wall", "s", name="mpop")
    for peer in [p for p in costs if p not in ("mailcask", "mpop", parallel)]:
        yield versus("B1", f"{name} CPU", ours, costs[peer], "cpu", "s", name=peer)
        yield versus("B1", f"{name} wall", ours, costs[peer], "wall", "s", name=peer)
    yield versus("B1", f"{name} stored", ours, costs[NOT_ONCE], "stored", "MB", name=NOT_ONCE, scale=1e-6)
    stored = middle(ours, "stored")
    yield Row("B1", f"{name} stored / received", stored / received, None, stored / 1e6,
              ("received", received / 1e6), "MB")


def one_set(options, work, mails):
    count = mails.count()
    with servers.dovecot(mails) as source:
        parallel = MpopParallel(work / "mpop-parallel", source, mails.accounts)
        kinds = [Ours, Mpop, Fetchmail] + ([Getmail] if options.full else [])
        clients = [kind(work / kind.name, source, mails.accounts) for kind in kinds]
        # This warms the server's caches, too.
        best_parallel(parallel, count, PARALLEL_TRIED_FULL if options.full else PARALLEL_TRIED)
        contestants = {c.name: checked(c, count) for c in [*clients, parallel]}
        contestants[NOT_ONCE] = checked(clients[0], count, {"MAILCASK_STORE_ONCE": "off"})
        costs = contest(contestants, options.rounds)
    return rows(mails.name, costs, parallel.name, mails.size())


def run(options, work):
    for mails in (mail.company(work), mail.spamassassin(work)):
        if options.small:
            mails = mails.first(3)
        yield from one_set(options, work / f"b1-{mails.name.split()[0]}", mails)
