#!/usr/bin/env python3
"""Attachments are stored once, and every message comes back to the bit: in every spelling of base64,
and with real mail where it is at hand (../shared/corpus beside the project; CORPUS=all takes the
large sets, too)."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

CORPUS = ROOT.parent / "shared" / "corpus"
SANITIZED = "asan" in str(BUILD) or "tsan" in str(BUILD)
SETS = ["tricky", "usrp-2024", "openbmc-2024", "phishing-pot", "enron-part"]
LARGE_SETS = ["company", "spamassassin"]
BY_FOLDER = {"company", "tricky"}  # an account for each folder; else one for the set
# Allocated bytes.
SEGMENTS_MAX = {"company": 72_000_000, "usrp-2024": 26_200_000}
INDEX_MAX = {"company": 2_500_000}


def allocated(folder):
    return sum(f.stat().st_blocks * 512 for f in pathlib.Path(folder).rglob("*") if f.is_file())


def archive_of(mail):
    """A pass over a folder of accounts: its archive, and what each account should hold."""
    expected = {}
    for user in sorted(p for p in mail.iterdir() if p.is_dir()):
        expected[user.name] = hashes(wire_bytes(f.read_bytes(), "asis") for f in user.iterdir())
    server = Pop3d(mail, "--line-ends", "asis", "--read-only")
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    for user in expected:
        cask.add_account(user, "s")
    cask.init()
    result = cask.once(timeout=600)
    server.stop()
    if result.status != 0:
        diag(str(result))
    return cask, expected, result


def comes_back(name, mail):
    """Everything restored as it was served; the archive is sound. Returns it."""
    cask, expected, result = archive_of(mail)
    to = cask.folder / "restored"
    count = sum(sum(c.values()) for c in expected.values())
    is_((result.status, cask.restore(f"eml:{to}").status), (0, 0), f"{name}: archived and restored")
    wrong = [user for user, want in expected.items() if hashes((to / user).glob("*.eml")) != want]
    is_(wrong, [], f"{name}: {count} messages of {len(expected)} accounts come back exact")
    shutil.rmtree(to, ignore_errors=True)
    verified = cask.tool("verify")
    is_(verified.status, 0, f"{name}: the archive is sound") or diag(verified.out.decode())
    return cask


# ---- mail of our own ---------------------------------------------------------------------------

def lines(text, length, end):
    return end.join(text[i:i + length] for i in range(0, len(text), length))


def spellings():
    """One attachment, written in every way that mail programs are known to write it."""
    data = random.Random(1).randbytes(30_001)
    b64 = base64.b64encode(data)
    usual = lines(b64, 76, b"\r\n")
    middle = len(usual) // 156 * 78
    ways = {
        "usual": usual + b"\r\n", "72": lines(b64, 72, b"\r\n") + b"\r\n",
        "60": lines(b64, 60, b"\r\n") + b"\r\n", "1000": lines(b64, 1000, b"\r\n") + b"\r\n",
        "odd-length": lines(b64, 75, b"\r\n") + b"\r\n", "one-line": b64 + b"\r\n",
        "no-end": usual, "lf": lines(b64, 76, b"\n") + b"\r\n",
        "crcrlf": lines(b64, 76, b"\r\r\n") + b"\r\n", "cr": lines(b64, 76, b"\r") + b"\r\n",
        "mixed-ends": usual[:middle] + usual[middle:].replace(b"\r\n", b"\n") + b"\r\n",
        "blank-behind": usual.replace(b"\r\n", b" \r\n") + b"\r\n",
        "blank-before": usual.replace(b"\r\n", b"\r\n ") + b"\r\n",
        "tab-once": usual[:middle] + b"\t" + usual[middle:] + b"\r\n",
        "empty-line": usual[:middle] + b"\r\n" + usual[middle:] + b"\r\n",
        "no-padding": usual.rstrip(b"=") + b"\r\n", "more-padding": usual + b"==\r\n",
        "padding-inside": usual[:middle] + b"AA==\r\n" + usual[middle:] + b"\r\n",
        "bits-in-padding": lines(base64.b64encode(data + b"\1")[:-4] + b"AB==", 76, b"\r\n") + b"\r\n",
        "url-safe": lines(base64.urlsafe_b64encode(data), 76, b"\r\n") + b"\r\n",
        "junk": usual[:middle] + b"!#$%" + usual[middle:] + b"\r\n",
        "cut": usual[:-7] + b"\r\n", "text-behind": usual + b"\r\nwords behind it\r\n",
        "twice": usual + b"\r\n--b\r\n\r\n" + usual + b"\r\n--b--\r\n",
        "quoted": b"> " + usual.replace(b"\r\n", b"\r\n> ") + b"\r\n",
        "dots": usual[:middle] + b".\r\n..\r\n" + usual[middle:] + b"\r\n",
        "nul": usual[:middle] + b"\0" + usual[middle:] + b"\r\n",
        "long": lines(base64.b64encode(data * 120), 76, b"\r\n") + b"\r\n",
    }
    return {name: b"Subject: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s" % (name.encode(), way)
            for name, way in ways.items()}


def own_mail():
    mail = temp_folder()
    ways = spellings()
    write_files(mail / "ways", ways)
    write_files(mail / "again", ways)
    write_files(mail / "bare", {name: m.split(b"\r\n\r\n", 1)[1] for name, m in ways.items()})
    cask = comes_back("spellings", mail)
    stats = cask.json("stats")[0]
    ok(stats["parts_named_bytes"] > 3 * stats["parts_kept_bytes"] > 0,
       "what is the same in many spellings and in three accounts is kept once") or diag(stats)
    ok(stats["kept_once_bytes"] == stats["parts_named_bytes"] - stats["parts_kept_bytes"],
       "stats says how much that is")
    like(cask.tool("stats").out, r"^kept once .* attachments of ", "in words, too")


def stored_less():
    """The switch of the benchmark, and that it is worth it."""
    mail = temp_folder()
    data = random.Random(2)
    shared = lines(base64.b64encode(data.randbytes(100_000)), 76, b"\r\n")
    for user in ("one", "two", "three"):
        write_files(mail / user, [b"Subject: %d\r\n\r\n%s\r\n" % (i, shared) for i in range(10)])
    sizes = {}
    for switch in ("on", "off"):
        os.environ["MAILCASK_STORE_ONCE"] = switch
        cask = comes_back(f"store once {switch}", mail)
        sizes[switch] = allocated(cask.archive / "segments")
    del os.environ["MAILCASK_STORE_ONCE"]
    ok(sizes["on"] < 200_000 < sizes["off"], f"{sizes['on']} bytes instead of {sizes['off']}")


# ---- real mail ---------------------------------------------------------------------------------

def unpacked(name):
    """The set as folders of accounts."""
    raw, mail = temp_folder(), temp_folder()
    result = run([CORPUS / "unpack", raw, name])
    if result.status != 0:
        raise RuntimeError(result.err.decode())
    for file in sorted(p for p in (raw / name).rglob("*") if p.is_file()):
        parts = file.relative_to(raw / name).parts
        user = parts[0] if name in BY_FOLDER else name
        rest = parts[1:] if name in BY_FOLDER else parts
        (mail / user).mkdir(exist_ok=True)
        file.rename(mail / user / "_".join(rest))
    shutil.rmtree(raw)
    return mail


def real_mail(name):
    if not CORPUS.is_dir():
        ok(True, f"{name} # SKIP the mail sets are not here")
        return
    mail = unpacked(name)
    raw = sum(f.stat().st_size for f in mail.rglob("*") if f.is_file())
    cask = comes_back(name, mail)
    segments, index = allocated(cask.archive / "segments"), allocated(cask.archive / "index")
    stats = cask.json("stats")[0]
    diag(f"{name}: {raw / 1e6:.1f} MB in, segments {segments / 1e6:.2f} MB, index {index / 1e6:.2f} MB, "
         f"{stats['parts']} parts, kept once {stats['kept_once_bytes'] / 1e6:.1f} MB")
    if name in SEGMENTS_MAX:
        ok(segments <= SEGMENTS_MAX[name], f"{name}: segments of at most {SEGMENTS_MAX[name] / 1e6} MB")
    if name in INDEX_MAX:
        ok(index <= INDEX_MAX[name], f"{name}: an index of at most {INDEX_MAX[name] / 1e6} MB")
    shutil.rmtree(mail, ignore_errors=True)
    shutil.rmtree(cask.folder, ignore_errors=True)


own_mail()
stored_less()
for mail_set in SETS[:1] if SANITIZED else SETS + (LARGE_SETS if os.environ.get("CORPUS") == "all" else []):
    real_mail(mail_set)
done()
