#!/usr/bin/env python3
"""The README's recipe as it stands there: mail of some months into a new account on another server, by a
restored Maildir and mbsync, into a real Dovecot over IMAP."""

import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import datetime
import imaplib
import shlex
import ssl

IMAP = """
protocols = pop3 imap
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
"""
USER = "alice@new.example"
picture = base64.encodebytes(random.Random(3).randbytes(200_000)).replace(b"\n", b"\r\n")


def message(day, number, body):
    """(day, bytes as POP3 delivers them)"""
    date = day.strftime("%a, %d %b %Y 12:34:56 +0200").encode()
    return day, wire_bytes(b"Date: %s\r\nFrom: b@x.example\r\nSubject: =?utf-8?q?=C3=A4?= %d\r\n\r\n%s" % (date, number, body), "asis")


def mailbox():
    days = [datetime.date(2026, month, day) for month in range(1, 8) for day in (1, 15, 28)] + \
           [datetime.date(2026, 2, 28), datetime.date(2026, 5, 31), datetime.date(2026, 6, 1)]
    bodies = [b"short\r\n", b"", b".\r\n..dots\r\n.\r\nFrom the start\r\n", b"8 bit \xe4\xf6\xff\r\n" * 9, picture,
              b"no line end", b"x" * 5000 + b"\r\n", b"tab\t  and blanks   \r\n\r\n\r\n", b"bare\nline\nends\n"]
    return [message(day, i, bodies[i % len(bodies)]) for i, day in enumerate(days)]


def block_behind(text, mark):
    """The commands, or the file, that the README shows first behind these words."""
    rest = text[text.index(mark):]
    found = re.search(r"```\n([^`]*)```|\n\n((?:    .*\n)+)", rest)
    return found[1] or re.sub(r"(?m)^    ", "", found[2])


def arrived(port, ca):
    """[(flags, day, bytes)] of the INBOX."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    with imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context) as client:
        client.login(USER, PASSWORD)
        if client.select("INBOX", readonly=True)[1] == [b"0"]:
            return []
        parts = [p for p in client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1] if isinstance(p, tuple)]
    return [(b" ".join(imaplib.ParseFlags(head)), re.search(rb'INTERNALDATE "([^"]*)"', head)[1].decode().strip(), body)
            for head, body in parts]


def plain(data):
    """What mbsync does not change."""
    return sha256(re.sub(rb"(?m)^X-TUID: .*\r\n", b"", data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), count=1))


def run_recipe(dovecot, port):
    source = mailbox()
    headless = b"Date: Tue, 10 Mar 2026 12:00:00 +0000\r\nSubject: no empty line\r\n"
    mail = temp_folder()
    write_files(mail / "alice", [data for _, data in source] + [headless])
    server = Pop3d(mail, "--line-ends", "asis")
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca)
    cask.add_account("alice@example.com", "s", user="alice")
    cask.init()
    is_(cask.once().status, 0, f"{len(source) + 1} messages of seven months are archived")
    text = (ROOT / "README.md").read_text()
    commands = block_behind(text, "### Into another mailbox").splitlines()
    (cask.folder / "password").write_text(PASSWORD + "\n")
    config = block_behind(text, "with, in `mbsyncrc`").replace("imap.new.example", "localhost").replace("/srv/restored", str(cask.folder))
    config = config.replace("SSLType IMAPS", f"SSLType IMAPS\nPort {port}\nCertificateFile {dovecot.ca}")
    (cask.folder / "mbsyncrc").write_text(config)
    (cask.folder / "mbsyncrc").chmod(0o600)
    environment = dict(os.environ, MAILCASK_CONFIG=str(cask.write_config()), PATH=f"{BUILD}:{os.environ['PATH']}", TZ="Europe/Berlin")

    def follow(until=None):
        """The README's two commands."""
        results = []
        for line in commands:
            line = line.replace("/srv/restored", str(cask.folder)).replace("2026-05-31", until or "2026-05-31")
            results.append(run(shlex.split(line), cwd=cask.folder, env=environment))
        if any(r.status != 0 for r in results):
            diag("\n".join(map(str, results)))
        return [r.status for r in results], b"incomplete header; skipping" in results[-1].err

    wanted = [(day, data) for day, data in source if datetime.date(2026, 3, 1) <= day <= datetime.date(2026, 5, 31)]
    is_(follow(), ([0, 0], True), "the two commands of the README; mbsync names what it cannot send")
    got = arrived(port, dovecot.ca)
    is_(sorted(plain(data) for _, _, data in got), sorted(plain(data) for _, data in wanted),
        f"{len(wanted)} messages of March to May arrive, the same but for X-TUID and line ends")
    is_({flags for flags, _, _ in got}, {b"\\Seen"}, "as read")
    days = {plain(data): day for day, data in wanted}
    stamps = [(datetime.datetime.strptime(stamp, "%d-%b-%Y %H:%M:%S %z"), days.get(plain(data))) for _, stamp, data in got]
    ok(all(day and stamp.timestamp() == datetime.datetime.fromisoformat(f"{day}T12:34:56+02:00").timestamp() for stamp, day in stamps),
       "with the date of their Date header")
    is_((follow()[0], len(arrived(port, dovecot.ca))), ([0, 0], len(wanted)), "again: nothing comes twice")
    more = [data for day, data in source if datetime.date(2026, 3, 1) <= day <= datetime.date(2026, 6, 15)]
    is_(follow("2026-06-15")[0], [0, 0], "with two weeks more")
    is_(sorted(plain(data) for _, _, data in arrived(port, dovecot.ca)), sorted(map(plain, more)), "only these are added")
    kept = read_maildir(cask.folder / "alice")
    is_(hashes(kept), hashes(more + [headless]), "in the folder each message is what was archived, to the bit")


def main():
    missing = [name for name, there in (("dovecot-pop3d", dovecot_version()), ("isync", shutil.which("mbsync")),
                                        ("dovecot-imapd", any(pathlib.Path(p).exists() for p in ("/usr/lib/dovecot/imap", "/usr/libexec/dovecot/imap"))))
               if not there]
    if missing:
        skip("the recipe", f"not installed: {', '.join(missing)}")
        return
    port = free_port()
    run_recipe(Dovecot(extra=IMAP.format(port=port)), port)


main()
done()
