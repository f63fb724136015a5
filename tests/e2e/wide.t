#!/usr/bin/env python3
"""Bounds: two hundred sessions in one worker, a message of a gigabyte in little memory, and RETRs that
do not wait for each other."""

import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

GIANT = int(os.environ.get("GIANT", str(1 << 30)))
ANON_LIMIT_KIB = 96 * 1024


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def watch(arguments, sample):
    """Run a program, calling sample(pid) every few milliseconds: (status, output)."""
    with subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        out = []
        reader = threading.Thread(target=lambda: out.append(p.stdout.read()))
        reader.start()
        while p.poll() is None:
            try:
                sample(p.pid)
            except (FileNotFoundError, ProcessLookupError, ValueError):
                pass
            time.sleep(0.01)
        reader.join()
        return p.returncode, b"".join(out).decode()


def two_hundred_sessions():
    mail = temp_folder()
    for i in range(200):
        write_files(mail / f"u{i}", [b"Subject: %d %d\r\n\r\nbody\r\n" % (i, k) for k in range(5)])
    server = Pop3d(mail, "--delay-ms", "300")
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, max_connections=200)
    for i in range(200):
        cask.add_account(f"u{i}", "s")
    cask.init()
    # One core: one worker.
    core = str(sorted(os.sched_getaffinity(0))[0])
    counts, sockets = set(), [0]

    def sample(pid):
        counts.add(threads(pid))
        links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        sockets[0] = max(sockets[0], sum("socket:" in l for l in links))

    status, out = watch(["taskset", "-c", core, *cask.once_arguments()], sample)
    is_(status, 0, "200 accounts on one core") or diag(out)
    ok(sockets[0] >= 190, f"their sessions run at the same time ({sockets[0]} sockets)")
    ok(max(counts) <= 12, f"with few threads ({max(counts)})")
    is_(sum(a["messages"] for a in cask.json("accounts")), 1000, "every message is archived")


def a_giant_message():
    mail = temp_folder()
    run([BUILD / "tests/mailgen", mail, "--accounts", "1", "--messages", "1", "--giant", str(GIANT)], timeout=300)
    users = [p.name for p in mail.iterdir() if p.is_dir()]
    server = Pop3d(mail, "--line-ends", "asis")
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    for user in users:
        cask.add_account(user, "s")
    cask.init()
    peak = {}

    def sampler(name):
        def sample(pid):
            peak[name] = max(peak.get(name, 0), memory_kib(pid, "RssAnon"))
        return sample

    status, out = watch(cask.once_arguments(), sampler("in"))
    is_(status, 0, "a message of 1 GiB goes in") or diag(out)
    largest = max((f for u in users for f in (mail / u).iterdir()), key=lambda f: f.stat().st_size)
    to = cask.folder / "out"
    status, out = watch([BUILD / "mailcask", "--archive", cask.archive, "restore", "--all", "--to", f"eml:{to}"],
                        sampler("out"))
    is_(status, 0, "and out") or diag(out)
    back = max(to.rglob("*.eml"), key=lambda f: f.stat().st_size)
    ok(file_hash(back) == file_hash(largest), "exact")
    if SANITIZED:
        diag("memory is not measured: a sanitizer takes its own")
    else:
        ok(peak["in"] <= ANON_LIMIT_KIB, f"with {peak['in'] // 1024} MiB of anonymous memory in")
        ok(peak["out"] <= ANON_LIMIT_KIB, f"and {peak['out'] // 1024} MiB out")


def file_hash(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        tail = b""
        while block := f.read(1 << 20):
            digest.update(block)
            tail = block[-2:]
    if tail != b"\r\n":
        digest.update(b"\r\n")
    return digest.hexdigest()


def round_trips():
    mail = temp_folder()
    write_files(mail / "u", [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(400)])
    batches = {}
    for name, options in (("with PIPELINING", []), ("without", ["--no-capa", "PIPELINING"])):
        server = Pop3d(mail, "--rtt-ms", "1", *options)
        cask = Mailcask()
        cask.add_server("s", server.port, server.ca)
        cask.add_account("u", "s")
        cask.init()
        is_(cask.once().status, 0, f"400 messages {name}")
        line = server.wait_log(r"^session u ")
        line = line[0] if isinstance(line, list) else server.log("session")[0]
        batches[name] = int(re.search(r"reads=(\d+)", line).group(1))
    ok(batches["without"] >= 400, f"without: a round trip a message ({batches['without']})")
    ok(batches["with PIPELINING"] <= 60, f"with: {batches['with PIPELINING']} round trips in all")


two_hundred_sessions()
round_trips()
a_giant_message()
done()
