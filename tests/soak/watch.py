"""Whether a process stays as it is: its memory, descriptors and threads over time."""

import statistics

from harness import *

# Of the second quarter of a life and the last one, when all has been in use:
MEMORY_SHARE = 1.10       # the median of RssAnon may be a tenth higher,
MEMORY_SLACK_KIB = 4096   # and 4 MiB,
# and the least number of descriptors and of threads, as between two polls, may be two more.
IDLE_SLACK = 2
# In a life shorter than this one buffers are still used for the first time, and there is hardly a moment between polls.
WARM_SECONDS = 600
WARM_SLACK_KIB = 49152
WARM_IDLE_SLACK = 24

Sample = collections.namedtuple("Sample", "at memory_kib descriptors threads")


class Life:
    """One process, from its start to its end."""

    def __init__(self, pid):
        self.pid, self.samples, self.began, self.end = pid, [], time.monotonic(), None

    def sample(self):
        """False once it is gone."""
        try:
            text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            count = len(os.listdir(f"/proc/{self.pid}/fd"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        values = dict(re.findall(r"^(RssAnon|Threads):\s+(\d+)", text, re.M))
        if len(values) == 2:
            self.samples.append(Sample(time.monotonic(), int(values["RssAnon"]), count, int(values["Threads"])))
        return len(values) == 2

    def seconds(self):
        return (self.samples[-1].at if self.samples else self.began) - self.began

    def quarters(self):
        begin, whole = self.began, self.seconds()
        return [[s for s in self.samples if begin + whole * q / 4 <= s.at <= begin + whole * (q + 1) / 4] for q in range(4)]

    def figures(self):
        """Of each quarter (median of memory in KiB, least descriptors, least threads), or None: too short to say."""
        quarters = self.quarters()
        if any(len(q) < 3 for q in quarters):
            return None
        return [(statistics.median(s.memory_kib for s in q), min(s.descriptors for s in q), min(s.threads for s in q))
                for q in quarters]

    def growth(self):
        """What has grown, in words; "" if nothing."""
        figures = self.figures()
        if figures is None:
            return "too few samples"
        (memory, descriptors, threads), last = figures[1], figures[3]
        warm = self.seconds() >= WARM_SECONDS
        slack, idle_slack = (MEMORY_SLACK_KIB, IDLE_SLACK) if warm else (WARM_SLACK_KIB, WARM_IDLE_SLACK)
        grown = []
        if last[0] > memory * MEMORY_SHARE + slack and not SANITIZED:
            grown.append(f"memory: {memory:.0f} KiB, then {last[0]:.0f}")
        if last[1] > descriptors + idle_slack:
            grown.append(f"descriptors: {descriptors}, then {last[1]}")
        if last[2] > threads + idle_slack:
            grown.append(f"threads: {threads}, then {last[2]}")
        return "; ".join(grown)

    def text(self):
        most = [max(getattr(s, f) for s in self.samples) for f in Sample._fields[1:]] if self.samples else "-"
        return (f"{self.seconds():.0f} s, {self.end}; memory KiB, descriptors, threads, by quarter: "
                f"{self.figures()}; at most {most}")
