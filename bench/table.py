"""The table of results: ratios first, each beside its target."""

import collections

from contest import middle, ratio

# ratio: of ours to the peer's, or None where ours alone is the figure, which the target then means.
# target: not to be exceeded, or None. peer: (name, figure) or None.
Row = collections.namedtuple("Row", "workload what ratio target ours peer unit",
                             defaults=[None, None, None, None, ""])

HEAD = ("workload", "ratio", "target", "", "ours", "peer", "peer's")


def versus(workload, what, ours, peer, figure, unit, target=None, name=None, scale=1):
    """Two contestants' Costs in a row."""
    return Row(workload, what, ratio(ours, peer, figure), target, middle(ours, figure) * scale,
               (name, middle(peer, figure) * scale), unit)


def missed(row):
    figure = row.ours if row.ratio is None else row.ratio
    return row.target is not None and figure > row.target


def number(value):
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def cells(row):
    unit = f" {row.unit}" if row.unit else ""
    verdict = "" if row.target is None else "MISSED" if missed(row) else "met"
    target = "" if row.target is None else f"<= {number(row.target)}{'' if row.ratio else unit}"
    name, figure = row.peer or ("", None)
    return (f"{row.workload} {row.what}", "" if row.ratio is None else f"{row.ratio:.2f}", target,
            verdict, "" if row.ours is None else number(row.ours) + unit, name or "",
            "" if figure is None else number(figure) + unit)


def render(rows):
    """Markdown that reads well as it is."""
    lines = [HEAD, *(cells(r) for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    left = {0, 5}

    def one(line):
        return "| " + " | ".join(c.ljust(w) if i in left else c.rjust(w)
                                 for i, (c, w) in enumerate(zip(line, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i in left else "-" * (w + 1) + ":"
                          for i, w in enumerate(widths)) + "|"
    return "\n".join([one(HEAD), rule, *map(one, lines[1:])])
