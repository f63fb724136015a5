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


def q58_lost_reply_to_quit():
    """Nothing was deleted: all is archived, and nothing is fetched again."""
    box = Maildrop(MESSAGES, script="on QUIT close anyway")
    box.once()
    box.holds(MESSAGES)
    box.once()
    same(box.retrieved(), {f"{i:04}": 1 for i in range(1, 6)}, "nothing is fetched twice")


run_quirks(globals())
