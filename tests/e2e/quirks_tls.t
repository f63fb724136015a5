#!/usr/bin/env python3
"""Quirks of TLS and addresses, Q55 to Q58 of workers/POP3.md."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from quirks import *

MESSAGES = messages(5)


def old_certificates():
    """RSA of 1024 bits, signed with SHA-1."""
    made = Certificates()
    key, request = made.folder / "old.key", made.folder / "old.csr"
    made._openssl("req", "-newkey", "rsa:1024", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=old")
    cert, extensions = made.folder / "old.pem", made.folder / "old.ext"
    extensions.write_text(f"subjectAltName={made.NAMES}\nbasicConstraints=critical,CA:FALSE\n")
    made._openssl("x509", "-req", "-in", request, "-CA", made.ca, "-CAkey", made.ca_key, "-CAcreateserial",
                  "-sha1", "-days", "30", "-extfile", extensions, "-out", cert)
    return Certificate(cert, key), made.ca


def q55_no_close_notify():
    """Behind the reply to QUIT it is harmless; within a body it is a cut."""
    box = Maildrop(MESSAGES, script="on QUIT then close")
    box.once()
    box.holds(MESSAGES)
    cut = Maildrop(MESSAGES, script="session 1 on RETR 3 close-after 60")
    said = cut.once(status=1)
    check("dropped the connection" in said, "a cut within a reply is said", said)
    cut.holds(MESSAGES[:2], "what was whole before it is archived")
    cut.once()
    cut.holds(MESSAGES)


def q56_old_tls_only_where_it_is_asked_for():
    certificate, ca = old_certificates()
    box = Maildrop(MESSAGES, "--tls-max", "1.0", certificate=certificate, ca=ca)
    for setting in ("1.2", "1.1"):
        box.settings["tls_min"] = setting
        box.configure()
        said = box.once(status=1)
        check("tls-min = 1.0" in said, "a server of TLS 1.0 is refused, and what would help is said", said)
    check(not box.server.log("login"), "no password was sent")
    box.settings["tls_min"] = "1.0"
    box.configure()
    box.once()
    box.holds(MESSAGES)
    check("TLSv1" in box.sessions()[-1]["tls"], "the ledger says what was spoken", box.sessions()[-1])


def q56_an_old_certificate_only_where_it_is_asked_for():
    certificate, ca = old_certificates()
    box = Maildrop(MESSAGES, certificate=certificate, ca=ca)
    said = box.once(status=1)
    check("tls-min = 1.0" in said, "a short key is refused, and what would help is said", said)
    check(not box.server.log("login"), "no password was sent")
    box.settings["tls_min"] = "1.0"
    box.configure()
    box.once()
    box.holds(MESSAGES)
    check("TLSv1.3" in box.sessions()[-1]["tls"], "the newest version is spoken all the same", box.sessions()[-1])


def q56_no_downgrade_by_itself():
    """A server that can do better is not spoken with in an old version, whatever is allowed."""
    box = Maildrop(MESSAGES, tls_min="1.0")
    box.once()
    check("TLSv1.3" in box.sessions()[-1]["tls"], "the newest version", box.sessions()[-1])
    strict = Maildrop(MESSAGES, "--tls-max", "1.2", tls_min="1.3")
    strict.once(status=1)
    check(not strict.server.log("login"), "tls-min = 1.3 refuses TLS 1.2")


HOSTS = """
set -e
mount --bind "$1" /etc/hosts
shift
exec "$@"
"""


def q57_several_addresses():
    """Of several back ends the one that showed the mailbox last is asked first."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if run([*unshare, "true"]).status != 0:
        raise Skipped("no mount namespace of our own")
    made = Certificates()
    certificate = made.make("multi", "DNS:mail.example")
    box = Maildrop(MESSAGES, certificate=certificate, ca=made.ca, host="mail.example")
    port = box.server.port
    box.server.stop()
    hosts = box.cask.folder / "hosts"
    hosts.write_text("".join(f"127.0.0.{i} mail.example\n" for i in (2, 3, 4)))

    servers = []

    def serve(i, script=None):
        servers.append(Pop3d(box.mail, "--listen", f"127.0.0.{i}:{port}", certificate=certificate, ca=made.ca,
                             script=script))
        return servers[-1]

    def once(status=0):
        result = run([*unshare, "sh", "-c", HOSTS, "sh", hosts, *box.cask.once_arguments()])
        check(result.status == status, f"exit status {status}", result)
        return box.sessions()[-1]["address"].split(":")[0] if status == 0 else None

    third = serve(3)
    same(once(), "127.0.0.3", "every address is tried in turn")
    second, fourth = serve(2), serve(4)
    same([once(), once()], ["127.0.0.3"] * 2, "it stays with the one that was good")
    third.stop()
    moved = once()
    check(moved in ("127.0.0.2", "127.0.0.4"), "another one takes over", moved)
    third = serve(3)
    same(once(), moved, "and stays")
    (second if moved == "127.0.0.2" else fourth).stop()
    ill = serve(int(moved[-1]), script='on GREETING reply "-ERR not well"')
    once(status=1)
    check(once() != moved, "one that refuses is not asked first again")
    check(ill.log("connect"), "it had been asked")
    same(sum(sum(s.served(USER).values()) for s in servers), 5, "each message is fetched once")


def q58_lost_reply_to_quit():
    """Nothing was deleted: all is archived, and nothing is fetched again."""
    box = Maildrop(MESSAGES, script="on QUIT close anyway")
    box.once()
    box.holds(MESSAGES)
    box.once()
    same(box.retrieved(), {f"{i:04}": 1 for i in range(1, 6)}, "nothing is fetched twice")


run_quirks(globals())
