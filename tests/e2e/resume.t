#!/usr/bin/env python3
"""The service resumes TLS sessions from one poll to the next, and verifies anew when it must."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *

made = Certificates()
mail = temp_folder()
write_files(mail / "a", [b"Subject: one\r\n\r\nbody\r\n"])


def serve(*options, port=0, certificate=made.good, ca=made.ca):
    return Pop3d(mail, "--listen", f"127.0.0.1:{port}", *options, certificate=certificate, ca=ca)


def start(server, **settings):
    cask = Mailcask()
    cask.add_server("s", server.port, server.ca, poll="1s", **settings)
    cask.add_account("a", "s")
    cask.init()
    return cask, cask.start()


def resumed(server, count):
    """What the server saw of its first handshakes: no, yes..."""
    lines = server.wait_log("^tls ", count)[:count]
    return [re.search(r"resumed=(\w+)", line)[1] for line in lines]


def polls_resume(name, tls="implicit", *options):
    server = serve("--tls", tls, *options)
    _, service = start(server, tls=tls)
    is_(resumed(server, 4), ["no", "yes", "yes", "yes"], f"{name}: the polls behind the first resume")
    service.stop()
    server.stop()


def a_server_without_tickets():
    server = serve("--no-tickets")
    _, service = start(server)
    is_(resumed(server, 3), ["no"] * 3, "a server that gives no tickets is polled all the same")
    service.stop()
    server.stop()


def a_server_that_restarts():
    server = serve(port=free_port())
    cask, service = start(server)
    is_(resumed(server, 2), ["no", "yes"], "before the server is restarted: resumed")
    cask.settle()
    server.stop()
    server = serve(port=server.port)
    cask.tool("resume", "--all")
    is_(resumed(server, 2), ["no", "yes"], "it has lost its keys: a full handshake, and again resumed")
    is_([s for s in cask.json("ledger", "--account", "a") if s.get("state") == "failed"
         and "handshake" in s["text"]], [], "no session failed for that")
    service.stop()
    server.stop()


def another_ca():
    """What the new one does not vouch for is refused at once, whatever could be resumed."""
    other = Certificates()
    server = serve()
    cask, service = start(server)
    is_(resumed(server, 2), ["no", "yes"], "with the right CA: resumed")
    cask.add_server("s", server.port, other.ca, poll="1s")
    cask.write_config()
    service.child.send_signal(signal.SIGHUP)
    server.wait_log("^tls-failed .*unknown ca")
    refused = next(i for i, line in enumerate(server.log()) if line.startswith("tls-failed"))
    time.sleep(3)
    is_([line for line in server.log()[refused:] if line.startswith("tls ")], [],
        "another ca-file by SIGHUP: nothing is resumed behind it")
    service.stop()
    server.stop()


SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
NAMESPACE = """
set -e
mount --bind "$1" %s
shift
exec "$@"
""" % SYSTEM_CAS


def the_systems_cas_are_replaced():
    """As an update of them does, in a mount namespace of our own."""
    name = "the system's CAs are replaced"
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if run([*unshare, "true"]).status != 0 or not os.path.exists(SYSTEM_CAS):
        skip(name, "no mount namespace of our own, or no CAs")
        return
    server = serve()
    cask = Mailcask()
    cask.add_server("s", server.port, "", poll="1s")
    cask.add_account("a", "s")
    cask.init()
    cas = cask.folder / "cas.pem"
    cas.write_bytes(made.ca.read_bytes())
    service = Server([*unshare, "sh", "-c", NAMESPACE, "sh", cas, BUILD / "mailcaskd", "--config",
                      cask.write_config()], temp_folder())
    is_(resumed(server, 2), ["no", "yes"], f"{name}: before that, resumed")
    cas.write_bytes(Certificates().ca.read_bytes())
    server.wait_log("^tls-failed .*unknown ca")
    ok(True, f"{name}: verified anew at the next poll")
    service.stop()
    server.stop()


def dovecot(tls):
    name = f"Dovecot, {tls}"
    server = dovecot_or_skip(name)
    if server is None:
        return
    server.fill("a", [b"Subject: 1\n\none\n"])
    cask = Mailcask()
    port = server.port if tls == "implicit" else server.plain_port
    cask.add_server("s", port, server.ca, tls=tls, poll="1s")
    cask.add_account("a", "s")
    cask.init()
    service = cask.start()

    def spoken(count):
        ledger = cask.tool("ledger", "--account", "a", "--json")
        found = [s["tls"] for s in map(json.loads, ledger.out.splitlines()) if s["type"] == "session"]
        return found if ledger.status == 0 and len(found) >= count else None

    for i in (2, 3):
        wait_for(lambda: spoken(i - 1), what=f"session {i - 1}")
        server.fill("a", [b"Subject: %d\n\nmore\n" % i])
    first, *later = wait_for(lambda: spoken(3), what="the third session")
    ok("resumed" not in first and all(l.endswith(" (resumed)") for l in later),
       f"{name}: the ledger says what was resumed") or diag(f"{first} {later}")
    is_(service.stop(), 0, f"{name}: SIGTERM: exit 0")
    server.stop()


polls_resume("TLS 1.3")
polls_resume("TLS 1.2", "implicit", "--tls-max", "1.2")
polls_resume("STLS", "starttls")
a_server_without_tickets()
a_server_that_restarts()
another_ca()
the_systems_cas_are_replaced()
dovecot("implicit")
dovecot("starttls")
done()
