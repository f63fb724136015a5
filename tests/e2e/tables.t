#!/usr/bin/env python3
"""Account tables as directories and spreadsheets export them, ten thousand accounts each: read at the start and
at a reload, and what is said of one that cannot be read."""

import resource
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

ACCOUNTS = 10_000
COLUMNS = ("account", "user", "poll")
NAMES = ("anna%05d@firma.example", "jörg.müller%05d@firma.example", "Zoë \"Zo\" O'Neil, Büro %05d", "林%05d@公司.example", "a;b%05d")
rows = [(NAMES[i % len(NAMES)] % i, f"u{i}" if i % 3 else "", f"{i % 50 + 10}m") for i in range(ACCOUNTS)]


def quoted(field):
    return '"' + field.replace('"', '""') + '"'


def table(separator, line_end, always=False):
    def line(fields):
        return separator.join(quoted(f) if always or re.search('[,;"]', f) else f for f in fields) + line_end
    return "".join(map(line, [COLUMNS, *rows]))


STYLES = {
    "commas": table(",", "\n").encode(),
    "everything quoted, CRLF": table(",", "\r\n", True).encode(),
    "semicolons, CRLF, byte order mark": table(";", "\r\n").encode("utf-8-sig"),
    "semicolons, everything quoted, byte order mark": table(";", "\n", True).encode("utf-8-sig"),
    "no line end at the end": table(",", "\n").encode().rstrip(b"\n"),
}
REFUSED = {
    "a spreadsheet's own encoding": (table(";", "\r\n").replace("林", "L").replace("公司", "g").encode("cp1252"), r":\d+: text that is not UTF-8; save the file as UTF-8$"),
    "UTF-16": (table("\t", "\r\n").encode("utf-16"), r":1: text that is not UTF-8; save the file as UTF-8$"),
    "tabs": (table("\t", "\r\n").encode(), r":1: unknown column 'account\?user\?poll'; allowed: account, "),
    "a column of the directory's own": (table(",", "\n").replace("poll", "mailNickname", 1).encode(), r":1: unknown column 'mailNickname'; allowed: account, "),
    "a line above the header": (b"#TYPE Selected.User\n" + table(",", "\n").encode(), r":1: unknown column '#TYPE Selected.User'; allowed: "),
    "a quote that is not doubled": (table(",", "\n").encode().replace(b'Zo"" O', b'Zo" O', 1), r":4: text behind a quoted field; allowed: "),
    "an account twice": (table(",", "\n").encode() + b"anna00000@firma.example,,1m\n", r":10002: .*anna00000@firma.example"),
    "a field too many": (table(",", "\n").encode() + b"x,y,1m,z\n", r":10002: 4 fields; allowed: 3, as in the header row$"),
}

server = Pop3d(temp_folder())
cask = Mailcask()
(cask.folder / "secret").write_text("p\n")
(cask.folder / "secret").chmod(0o600)
cask.add_server("s", server.port, server.ca, accounts_file="accounts.csv", password_file="secret")
cask.init()
accounts_file = cask.folder / "accounts.csv"


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def names():
    return [a["account"] for a in cask.json("status")[0]["accounts"]]


def read_at_start():
    for name, text in STYLES.items():
        accounts_file.write_bytes(text)
        before = children_seconds()
        result = run([BUILD / "mailcaskd", "--config", cask.write_config(), "--check-config"])
        is_(result.status, 0, f"{name}: read") or diag(str(result))
        diag(f"{ACCOUNTS} accounts: checked with {1000 * (children_seconds() - before):.0f} ms of CPU time")


def refused():
    for name, (text, message) in REFUSED.items():
        accounts_file.write_bytes(text)
        result = run([BUILD / "mailcaskd", "--config", cask.write_config(), "--check-config"])
        is_(result.status, 2, f"{name}: exit 2")
        like(result.err, r"^mailcaskd: .*accounts\.csv" + message, "with the line, and what is allowed")


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def reloaded():
    accounts_file.write_bytes(b"account\n")
    service = cask.start()
    wait_for(lambda: cask.tool("status").status == 0, what="the service")
    ticks = os.sysconf("SC_CLK_TCK")
    for i, (name, text) in enumerate(STYLES.items(), 1):
        accounts_file.write_bytes(text)
        before = cpu_ticks(service.pid)
        service.child.send_signal(signal.SIGHUP)
        wait_for(lambda: service.output().count("configuration read again") == i, what="the reload")
        diag(f"reloaded with about {1000 * (cpu_ticks(service.pid) - before) / ticks:.0f} ms of CPU time")
        is_(names(), sorted((row[0] for row in rows), key=str.encode), f"{name}: every account, by its name")
    accounts_file.write_bytes(REFUSED["tabs"][0])
    service.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "unknown column" in service.output(), what="the refusal")
    is_(len(names()), ACCOUNTS, "a table that cannot be read at a reload: the old ones stay")
    service.stop()


read_at_start()
refused()
reloaded()
done()
