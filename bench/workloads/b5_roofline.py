"""B5 roofline: our CPU against the sum of what the parts cost alone."""

import mail
import servers
from clients import Ours, checked
from contest import Cost, contest, measure, middle, ratio
from harness import BUILD, PASSWORD
from table import Row

TARGET = 1.25
TLS = "TLS receive"


def sink(source, accounts):
    """A contestant: bench/tls_sink.c."""
    return lambda: measure([BUILD / "bench/tls_sink", source.port, source.ca, PASSWORD, *accounts])


def parts_of(folders, work):
    """A contestant: bench/roofline.c over mail as it comes over the wire. Its figures are the parts'."""
    def contestant():
        output = work / "roofline"
        cost = measure([BUILD / "bench/roofline", *folders], output=output)
        found = (line.split() for line in output.read_text().splitlines())
        each = {name: float(seconds) for name, seconds, _ in found}
        return Cost(cost.wall, sum(each.values()), each)
    return contestant


def run(options, work):
    mails = mail.company(work)
    if options.small:
        mails = mails.first(3)
    with servers.dovecot(mails) as source:
        ours = Ours(work / "b5-mailcask", source, mails.accounts)
        checked(ours, mails.count())()
        wire = work / "b5-wire"
        if ours.cask.restore(f"maildir:{wire}").status != 0:
            raise RuntimeError("the mail cannot be restored")
        costs = contest({
            "mailcask": checked(ours, mails.count()),
            "sink": sink(source, mails.accounts),
            "parts": parts_of([wire / a / "cur" for a in mails.accounts], work)}, options.rounds)
    sums = [Cost(0, a.cpu + b.cpu) for a, b in zip(costs["sink"], costs["parts"])]
    whole = middle(sums, "cpu")
    yield Row("B5", "CPU", ratio(costs["mailcask"], sums, "cpu"), TARGET,
              middle(costs["mailcask"], "cpu"), ("roofline", whole), "s")
    once_hashed = [Cost(0, s.cpu - p.more["sha256-parts"]) for s, p in zip(sums, costs["parts"])]
    yield Row("B5", "CPU, if parts had no SHA-256", ratio(costs["mailcask"], once_hashed, "cpu"), None,
              middle(costs["mailcask"], "cpu"), ("roofline", middle(once_hashed, "cpu")), "s")
    shares = {TLS: middle(costs["sink"], "cpu"), **{n: middle(costs["parts"], n)
                                                    for n in costs["parts"][0].more}}
    for name, seconds in shares.items():
        yield Row("B5", "of the roofline", peer=(name, seconds), unit="s")
