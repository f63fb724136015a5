"""B2 distance: B1's mail from a server that is 50 ms away."""

import mail
import servers
from clients import MpopParallel, Ours, checked
from contest import contest, cpu_of
from table import Row, versus

ROUND_TRIP_MS = 50
AT_ONCE = 50
TARGET = 0.70


def with_proxy(contestant, proxy):
    """Adds the proxy's own CPU, as a share of the wall: near 1 it would be what is measured."""
    def contest_of_it():
        before = cpu_of(proxy.pid)
        cost = contestant()
        return cost._replace(more={**cost.more, "proxy": (cpu_of(proxy.pid) - before) / cost.wall})
    return contest_of_it


def one_set(options, work, mails):
    count = mails.count()
    with servers.dovecot(mails) as near, servers.far_away(work, near, ROUND_TRIP_MS) as proxy:
        folder = work / f"b2-{mails.name.split()[0]}"
        ours = Ours(folder / "mailcask", proxy.source, mails.accounts, max_connections=AT_ONCE)
        mpop = MpopParallel(folder / "mpop", proxy.source, mails.accounts)
        mpop.at_once = AT_ONCE
        mpop.name = f"xargs -P {AT_ONCE} mpop"
        checked(Ours(folder / "warm", near, mails.accounts), count)()
        costs = contest({c.name: with_proxy(checked(c, count), proxy) for c in (ours, mpop)},
                        options.rounds)
    a, b = costs[ours.name], costs[mpop.name]
    load_a, load_b = (100 * max(c.more["proxy"] for c in costs) for costs in (a, b))
    yield versus("B2", f"{mails.name} wall", a, b, "wall", "s", TARGET, mpop.name)
    yield versus("B2", f"{mails.name} CPU", a, b, "cpu", "s", name=mpop.name)
    yield Row("B2", f"{mails.name} the proxy's load", ours=load_a, peer=(mpop.name, load_b), unit="%")


def run(options, work):
    for mails in (mail.company(work), mail.spamassassin(work)):
        yield from one_set(options, work, mails.first(3) if options.small else mails)
