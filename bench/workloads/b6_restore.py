"""B6 restore: all of it, and one message. No server is in it, so every contestant has all cores, and
is done when what it wrote is on disk."""

import os
import random
import shlex
import statistics
import time

import files
import mail
import servers
from clients import Ours, checked
from contest import ALL_CORES, Failed, contest, measure, text
from harness import BUILD, run as command
from table import Row, versus

MAILDIR_WALL_TARGET = 0.60
MAILDIR_CPU_TARGET = 1.0
SHOW_TARGET_MS = 5
LABEL = {"wall": "wall", "cpu": "CPU"}
SHOWN = 200
SHOWN_SMALL = 20
PASSWORD = {"RESTIC_PASSWORD": "secret"}
FREE = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}


def restorer(to, count, *arguments, env=None):
    """A contestant: a command that fills the folder `to` (and runs in it), and a sync of that."""
    line = f"{shlex.join(text(arguments))} && sync -f ."

    def contestant():
        files.remove(to)
        to.mkdir()
        cost = measure(["sh", "-c", line], cwd=to, env=env, cores=ALL_CORES)
        got = sum(len(names) for _, _, names in os.walk(to))
        if count is not None and got != count:
            raise Failed(f"{arguments[0]} restored {got} files of {count}")
        return cost
    return contestant


def must(*arguments, **options):
    result = command(arguments, **options)
    if result.status != 0:
        raise Failed(f"{arguments[0]}: {result.err.decode(errors='replace')[-300:]}")


def peers(tree, work, count):
    """The same maildirs in a tar, a borg and a restic, and who restores them."""
    tar, borg, restic = work / "b6.tar", work / "b6-borg", work / "b6-restic"
    cache = {"BORG_BASE_DIR": str(work / "b6-borg-home"), "RESTIC_CACHE_DIR": str(work / "b6-restic-cache"),
             **FREE, **PASSWORD}
    must("tar", "cf", tar, "-C", tree, ".")
    must("borg", "init", "--encryption", "none", borg, env=cache)
    must("borg", "create", "--compression", "zstd,3", f"{borg}::mail", ".", cwd=tree, env=cache)
    must("restic", "init", "-q", "--repo", restic, env=cache)
    must("restic", "backup", "-q", "--repo", restic, ".", cwd=tree, env=cache)
    return {
        "cp -r": restorer(work / "to-cp", count, "cp", "-r", f"{tree}/.", "."),
        "tar x": restorer(work / "to-tar", count, "tar", "xf", tar),
        "borg extract": restorer(work / "to-borg", count, "borg", "extract", f"{borg}::mail", env=cache),
        "restic restore": restorer(work / "to-restic", count, "restic", "restore", "-q", "--repo", restic,
                                   "latest", "--target", ".", env=cache),
    }


def ours(cask, work, count):
    tool = (BUILD / "mailcask", "--archive", cask.archive, "restore", "--all", "--to")
    return {
        "maildir": restorer(work / "to-maildir", count, *tool, "maildir:all"),
        "mbox": restorer(work / "to-mbox", None, *tool, "mbox:all"),
        "eml": restorer(work / "to-eml", count, *tool, "eml:all"),
    }


def latency_ms(arguments):
    """From before the process starts until it has ended, and its CPU; its output is thrown away."""
    arguments = text(arguments)
    start = time.monotonic()
    child = os.posix_spawnp(arguments[0], arguments, os.environ,
                            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(child, 0)
    took = time.monotonic() - start
    if status != 0:
        raise Failed(f"{arguments}: {os.waitstatus_to_exitcode(status)}")
    return 1000 * took, 1000 * (usage.ru_utime + usage.ru_stime)


def medians(pairs):
    return [statistics.median(figures) for figures in zip(*pairs)]


def show_ms(cask, times):
    """The medians of `show`, of messages anywhere in the archive."""
    counts = {a["account"]: a["messages"] for a in cask.json("accounts")}
    chosen = random.Random(1)
    tool = [BUILD / "mailcask", "--archive", cask.archive, "show"]
    names = [chosen.choice(list(counts)) for _ in range(times)]
    return medians(latency_ms([*tool, f"{n}/{chosen.randint(1, counts[n])}"]) for n in names)


def run(options, work):
    mails = mail.company(work)
    if options.small:
        mails = mails.first(3)
    count, times = mails.count(), SHOWN_SMALL if options.small else SHOWN
    with servers.dovecot(mails) as source:
        client = Ours(work / "b6-mailcask", source, mails.accounts)
        checked(client, count)()
    cask, tree = client.cask, work / "b6-tree"
    if cask.restore(f"maildir:{tree}").status != 0:
        raise Failed("the mail cannot be restored")
    costs = contest({**ours(cask, work, count), **peers(tree, work, count)}, options.rounds)
    borg = costs["borg extract"]
    for figure, target in (("wall", MAILDIR_WALL_TARGET), ("cpu", MAILDIR_CPU_TARGET)):
        yield versus("B6", f"maildir {LABEL[figure]}", costs["maildir"], borg, figure, "s", target,
                     "borg extract")
    for peer in ("restic restore", "tar x", "cp -r"):
        yield versus("B6", "maildir wall", costs["maildir"], costs[peer], "wall", "s", name=peer)
    for kind in ("mbox", "eml"):
        yield versus("B6", f"{kind} wall", costs[kind], costs["cp -r"], "wall", "s", name="cp -r")
    yield from show_rows(cask, mails, times)


def show_rows(cask, mails, times):
    floor, floor_cpu = medians(latency_ms(["cat", file]) for file in list(mails.files())[:times])
    wall, cpu = show_ms(cask, times)
    yield Row("B6", "show of one message", None, SHOW_TARGET_MS, wall, ("cat", floor), "ms")
    yield Row("B6", "show, CPU", ours=cpu, peer=("cat", floor_cpu), unit="ms")
    must(BUILD / "mailcask", "repack", "--remove-now", "--archive", cask.archive)
    wall, cpu = show_ms(cask, times)
    yield Row("B6", "show after repack", None, SHOW_TARGET_MS, wall, ("cat", floor), "ms")
    yield Row("B6", "show after repack, CPU", ours=cpu, peer=("cat", floor_cpu), unit="ms")
