#!/usr/bin/env python3
"""`mailcask probe`: broken set-ups, played by the scripted server, by Dovecot, by certificates that openssl
made and by sockets that are no POP3 server; for each the cause, the step and the remedy that are named.
And what holds for all of them: nothing is fetched or deleted, no password is shown or sent in the clear."""

import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from harness import *
import concurrent.futures
import threading

MESSAGES = [b"Subject: %d\r\n\r\nbody\r\n" % i for i in range(3)]
SECRET = "Tr0ub4dor-and-3"
SHORT = 4  # seconds for a server that says nothing
mail = temp_folder()
write_files(mail / "u", MESSAGES)
certificates = Certificates()
servers = []


def pop3d(*options, script=None, certificate=certificates.good):
    server = Pop3d(mail, "--no-lock", "--password", SECRET, *options, script=script, certificate=certificate, ca=certificates.ca)
    servers.append(server)
    return server


def configured(port, password=SECRET, account=None, ca=certificates.ca, **settings):
    cask = Mailcask()
    cask.add_server("s", port, ca, **settings)
    cask.add_account("a", "s", user="u", password=password, **(account or {}))
    return cask


def probe(cask, *what, env=None):
    """Both forms: the text's Result and the object of --json, and that they agree."""
    arguments = [BUILD / "mailcask", "probe", "--config", cask.write_config(), *(what or ("--account", "a"))]
    with concurrent.futures.ThreadPoolExecutor() as both:
        text, as_json = both.map(lambda more: run([*arguments, *more], env=env), ([], ["--json"]))
    shown = (text.out + text.err + as_json.out + as_json.err).decode()
    if SECRET in shown or base64.b64encode(b"\0u\0" + SECRET.encode()).decode() in shown:
        ok(False, "no secret is shown")
    return text, json.loads(as_json.out) if as_json.out else None, as_json


def broken(name, cause, step, cask, remedy, *what, text="", seconds=60, **options):
    """One TAP line: it ends with exit 1, at this step, with this cause and remedy in both forms."""
    shown, found, as_json = probe(cask, *(what or ("--account", "a")), "--timeout", seconds, **options)
    result = found["result"] if found else {}
    words = shown.out.decode()
    right = (shown.status == 1 and as_json.status == 1 and result.get("cause") == cause and
             result.get("step") == step and re.search(remedy, result.get("remedy") or "") and
             re.search(text, result.get("text") or "") and found["steps"][-1]["result"] == "failed" and
             all(s["result"] == "ok" for s in found["steps"][:-1]) and
             f"cause    {cause}\n" in words and result["remedy"] in words and "FAILED" in words)
    if not ok(right, f"{name}: {cause}"):
        diag(f"want {cause} at {step}, remedy /{remedy}/, text /{text}/")
        diag(words + shown.err.decode())
        diag(str(result))
    return found


class Peer:
    """A server of another kind: says something to each client, or waits for it to speak first."""

    def __init__(self, greeting=b"", answer=b"", certificate=None, hang=False):
        self.greeting, self.answer, self.hang, self.heard = greeting, answer, hang, b""
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate.cert, certificate.key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.one, args=(client,), daemon=True).start()

    def one(self, client):
        with contextlib.suppress(OSError):
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            client.sendall(self.greeting)
            data = client.recv(1000)
            self.heard += data
            client.sendall(self.answer if data else b"")
            while self.hang and client.recv(1000):
                pass
        client.close()


# ---- the configuration and the network ---------------------------------------------------------

def passwords():
    good = pop3d()
    cask = configured(good.port)
    del cask.accounts["a"]["password"]
    secret_file = cask.folder / "secret"
    cask.accounts["a"]["password-file"] = secret_file
    broken("password file missing", "no-password", "password", cask, "Make the password-file", text="No such file")
    secret_file.write_text(SECRET)
    secret_file.chmod(0o644)
    broken("password file open to others", "no-password", "password", cask, "0600", text="chmod 600")
    secret_file.chmod(0o600)
    secret_file.write_text("\n")
    broken("password file empty", "no-password", "password", cask, "first line", text="first line is empty")
    del cask.accounts["a"]["password-file"]
    cask.accounts["a"]["password-command"] = "exit 3"
    broken("password command fails", "no-password", "password", cask, "password-command", text="exit status 3")
    is_(good.log("connect"), [], "without a password no server is troubled")


def network():
    broken("unknown host", "unknown-host", "resolve", configured(995, host="pop.no-such-host.invalid"),
           "typing error|resolv.conf") if resolves_negatively() else skip("unknown host", "no name service", in_ci=True)
    broken("nothing listens", "connection-refused", "connect", configured(free_port()), "995 with tls = implicit")
    broken("no way there", "unreachable", "connect", configured(995, host="255.255.255.255"), "route") \
        if connect_error("255.255.255.255") in ("ENETUNREACH", "EHOSTUNREACH") else \
        skip("no way there", "this machine answers otherwise", in_ci=True)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    waiting = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        waiting.append(client)
    broken("packets dropped", "no-answer", "connect", configured(port), "firewall", seconds=SHORT)
    full.close()


def resolves_negatively():
    """As the system's resolver puts it; without a name server it is EAI_AGAIN."""
    try:
        socket.getaddrinfo("pop.no-such-host.invalid", 995)
    except socket.gaierror as error:
        return error.errno == socket.EAI_NONAME
    return False


def connect_error(address):
    import errno
    with socket.socket() as s:
        s.settimeout(1)
        try:
            return errno.errorcode.get(s.connect_ex((address, 995)))
        except OSError:
            return None


# ---- TLS ---------------------------------------------------------------------------------------

def kinds_of_tls():
    stls = pop3d("--tls", "starttls")
    broken("implicit where STLS is spoken", "wants-starttls", "tls", configured(stls.port), "Set tls = starttls")
    implicit = pop3d()
    broken("STLS where TLS is implicit", "wants-implicit-tls", "greeting", configured(implicit.port, tls="starttls"),
           "Set tls = implicit", seconds=SHORT)
    plain = pop3d("--tls", "none")
    for tls, step in (("starttls", "stls"), ("implicit", "tls")):
        broken(f"plaintext only, tls = {tls}", "plaintext-only", step, configured(plain.port, tls=tls),
               "operator must switch TLS on")
    refuses = pop3d("--tls", "starttls", script='on STLS reply "-ERR not today"')
    broken("STLS refused", "plaintext-only", "stls", configured(refuses.port, tls="starttls"), "port = 995",
           text="not today")
    injected = pop3d("--tls", "starttls", script=r'on STLS after "+OK injected\r\n"')
    broken("reply injected behind STLS", "protocol", "stls", configured(injected.port, tls="starttls"), "avoid|host",
           text="injecting")
    for server in (stls, implicit, plain, refuses, injected):
        ok(not server.log("login") and not [l for l in server.log() if " PASS=" in l or " SASL=" in l],
           "no password was sent")


def certificates_of_all_kinds():
    cases = [("expired certificate", certificates.expired(), "certificate-expired", "renew"),
             ("certificate of tomorrow", certificates.make("early", certificates.NAMES, "20400101000000Z",
                                                           "20410101000000Z"), "certificate-not-yet-valid", "clock"),
             ("wrong name", certificates.wrong_name(), "certificate-name", "Set host to one of the names"),
             ("self-signed", certificates.self_signed(), "certificate-self-signed", "fingerprint")]
    for name, certificate, cause, remedy in cases:
        server = pop3d(certificate=certificate)
        broken(name, cause, "certificate", configured(server.port), remedy)
        ok(not server.log("login"), "no password was sent")
    elsewhere = Certificates()
    server = pop3d(certificate=elsewhere.good)
    broken("unknown CA", "certificate-issuer", "certificate", configured(server.port), "ca-file")
    good = pop3d()
    broken("another certificate pinned", "certificate-pin", "certificate",
           configured(good.port, fingerprint="sha256:" + "0" * 64), "confirmed")
    (certificates.folder / "empty.pem").write_text("nothing\n")
    broken("CA file unusable", "ca-file", "tls", configured(good.port, ca=certificates.folder / "empty.pem"),
           "ca-certificates")
    weak_key = certificates.folder / "weak.key"
    weak, extensions = certificates.folder / "weak.pem", certificates.folder / "weak.ext"
    request = certificates.folder / "weak.csr"
    certificates._openssl("req", "-newkey", "rsa:1024", "-nodes", "-keyout", weak_key, "-out", request, "-subj", "/CN=w")
    extensions.write_text(f"subjectAltName={certificates.NAMES}\n")
    certificates._openssl("x509", "-req", "-in", request, "-CA", certificates.ca, "-CAkey", certificates.ca_key,
                          "-CAcreateserial", "-days", "30", "-extfile", extensions, "-out", weak)
    server = pop3d(certificate=Certificate(weak, weak_key))
    broken("key too short", "certificate-weak", "certificate", configured(server.port), r"tls-min = 1\.0")
    server = pop3d("--tls-max", "1.0")
    broken("TLS 1.0 only", "tls-old", "tls", configured(server.port), r"tls-min = 1\.0")


# ---- what answers is no POP3 server ------------------------------------------------------------

def other_servers():
    web = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    cases = [("IMAP over TLS", Peer(b"* OK IMAP4rev1 ready\r\n", certificate=certificates.good), {}, "imap-server", "993"),
             ("IMAP in the clear", Peer(b"* OK ready\r\n"), {"tls": "starttls"}, "imap-server", "993"),
             ("IMAP where TLS is awaited", Peer(b"* OK ready\r\n"), {}, "imap-server", "993"),
             ("SMTP", Peer(b"220 mx.example ESMTP\r\n"), {"tls": "starttls"}, "smtp-server", "465"),
             ("SMTP where TLS is awaited", Peer(b"220 mx.example ESMTP\r\n"), {}, "smtp-server", "465"),
             ("a web server, TLS awaited", Peer(answer=web), {}, "web-server", "443"),
             ("a web server, silent", Peer(answer=web), {"tls": "starttls"}, "web-server", "443"),
             ("a web server over TLS", Peer(answer=web, certificate=certificates.good), {}, "web-server", "443"),
             ("SSH", Peer(b"SSH-2.0-x\r\n"), {"tls": "starttls"}, "other-server", "995 or 110")]
    for name, peer, settings, cause, remedy in cases:
        step = "greeting" if settings or peer.context else "tls"
        broken(name, cause, step, configured(peer.port, **settings), remedy, seconds=60 if peer.greeting else SHORT)
        if SECRET.encode() in peer.heard:
            ok(False, "no password was sent")
    broken("a silent port, TLS awaited", "no-tls", "tls", configured(Peer(hang=True).port), "995", seconds=SHORT)
    broken("a silent port", "no-greeting", "greeting", configured(Peer(hang=True).port, tls="starttls"), "Check port",
           seconds=SHORT)


# ---- POP3 --------------------------------------------------------------------------------------

def login(reply):
    return f'on SASL reply "{reply}"\non PASS reply "{reply}"\n'


def refusals():
    cases = [("-ERR [AUTH] invalid credentials", "password-refused", "Correct user"),
             ("-ERR Logon failure", "login-refused", "Do not try often"),
             ("-ERR [AUTH] Application-specific password required: https://support.google.com/x", "app-password",
              "Make an app password"),
             ("-ERR [SYS/PERM] Your account is not enabled for POP access.", "pop-disabled", "web mail"),
             ("-ERR Login failed; POP3 access disabled, enable it in the settings", "pop-disabled", "web mail"),
             ("-ERR Authentication failure: basic authentication is disabled", "oauth-only", "OAuth2"),
             ("-ERR [IN-USE] Do you have another POP session running?", "mailbox-locked", "about 10 minutes"),
             ("-ERR Unable to lock maildrop: lock file", "mailbox-locked", "about 10 minutes"),
             ("-ERR [LOGIN-DELAY] minimum time between mail checks violation", "login-too-often", "raise poll"),
             ("-ERR Too many login attempts", "login-too-often", "raise poll"),
             ("-ERR [SYS/PERM] account closed", "account-refused", "operator"),
             ("-ERR [SYS/TEMP] LDAP is down", "server-fault", "by itself")]
    for reply, cause, remedy in cases:
        server = pop3d(script=login(reply))
        broken(reply, cause, "login", configured(server.port), remedy, text=re.escape(reply[5:25]))
    server = pop3d()
    broken("a wrong password, for real", "password-refused", "login", configured(server.port, password="wrong"),
           "Correct user")
    server = pop3d(script=login(f"-ERR {SECRET} is wrong"))
    broken("a password that is echoed", "login-refused", "login", configured(server.port), "password", text="left out")


def in_the_middle():
    cases = [("turned away", 'on GREETING reply "-ERR too many connections"', "greeting-refused", "greeting", "max-connections"),
             ("closed at once", "on GREETING close", "no-greeting", "greeting", "995"),
             ("no greeting", "on GREETING hang", "no-greeting", "greeting", "995"),
             ("CAPA hangs", "on CAPA hang", "no-capa", "capabilities", "avoid = capa"),
             ("closed behind the password", "on SASL close\non PASS close", "login-uncertain", "login", "once more"),
             ("the listing refused", 'on UIDL reply "-ERR [SYS/TEMP] broken"', "listing-refused", "listing", "quota"),
             ("closed in the listing", "on LIST close", "connection-lost", "listing", "firewall"),
             ("nonsense in the login", 'on SASL reply "hello"', "protocol", "login", "avoid")]
    for name, script, cause, step, remedy in cases:
        broken(name, cause, step, configured(pop3d(script=script).port), remedy, seconds=SHORT if "hang" in script else 60)


def dovecot():
    server = dovecot_or_skip("Dovecot", password=SECRET, extra="mail_max_userip_connections = 10\n")
    if server is None:
        return
    server.fill("u", MESSAGES)
    broken("Dovecot: a wrong password", "password-refused", "login",
           configured(server.port, password="wrong", ca=server.ca), "Correct user")
    broken("Dovecot: STLS where TLS is implicit", "wants-implicit-tls", "greeting",
           configured(server.port, ca=server.ca, tls="starttls"), "tls = implicit", seconds=SHORT)
    broken("Dovecot: implicit where STLS is spoken", "wants-starttls", "tls",
           configured(server.plain_port, ca=server.ca), "tls = starttls")
    broken("Dovecot: an unknown CA", "certificate-issuer", "certificate", configured(server.port), "ca-file")
    for port, tls in ((server.port, "implicit"), (server.plain_port, "starttls")):
        well(f"Dovecot, {tls}", configured(port, ca=server.ca, tls=tls))
    is_(server.count("u"), len(MESSAGES), "Dovecot: all messages are still there")
    without = Dovecot(password=SECRET, extra="ssl = no\n")
    broken("Dovecot: no TLS", "plaintext-only", "stls", configured(without.plain_port, ca=server.ca, tls="starttls"),
           "operator must switch TLS on")


HOSTS = """
set -e
mount --bind "$1" /etc/hosts
shift
exec "$@"
"""


def providers():
    """What is known of a provider is said with the remedy. Its name leads here in a namespace of our own."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if run([*unshare, "true"]).status != 0:
        skip("a provider's advice", "no mount namespace of our own")
        return
    server = pop3d(script=login("-ERR [AUTH] Username and password not accepted"),
                   certificate=certificates.make("gmail", "DNS:pop.gmail.com"))
    cask = configured(server.port)
    del cask.servers["s"]["host"], cask.accounts["a"]["user"]
    cask.servers["s"]["preset"] = "gmail"
    hosts = cask.folder / "hosts"
    hosts.write_text("127.0.0.1 pop.gmail.com\n")
    probing = [*unshare, "sh", "-c", HOSTS, "sh", hosts, BUILD / "mailcask", "probe", "--config", cask.write_config(),
               "--account", "a"]
    shown, as_json = run(probing), run([*probing, "--json"])
    found = json.loads(as_json.out)
    is_((shown.status, found["host"], found["user"], found["result"]["cause"]),
        (1, "pop.gmail.com", "recent:a", "password-refused"), "preset = gmail") or diag(str(shown))
    like(found["result"]["provider"], "enable POP for all mail", "the provider's advice is added")
    like(shown.out, "enable POP for all mail", "in words, too")


# ---- all is well -------------------------------------------------------------------------------

def well(name, cask, *what):
    shown, found, as_json = probe(cask, *what)
    right = (shown.status == as_json.status == 0 and found["result"]["cause"] == "none" and
             all(s["result"] == "ok" for s in found["steps"]) and b"All is well" in shown.out)
    if not ok(right, f"{name}: all is well"):
        diag(shown.out.decode() + shown.err.decode())
        diag(str(found))
    return found


def good_ones():
    implicit, stls = pop3d(), pop3d("--tls", "starttls")
    names = ["password", "resolve", "connect", "tls", "certificate", "greeting", "capabilities", "login",
             "capabilities", "listing", "quit"]
    found = well("implicit TLS", configured(implicit.port))
    is_([s["step"] for s in found["steps"]], names, "a line for each step")
    texts = {s["step"]: s["text"] for s in found["steps"]}
    like(texts["tls"], "TLSv1.3", "with what was found: the version of TLS")
    like(texts["certificate"], r'localhost.*issued by "mailcask test CA", valid until 20\d\d-', "the certificate")
    like(texts["listing"], "^3 messages", "the mailbox")
    ok(all(isinstance(s["microseconds"], int) for s in found["steps"]) and
       sum(s["microseconds"] for s in found["steps"]) > 0, "and its time")
    is_((found["account"], found["port"], found["tls"], found["user"]), ("a", implicit.port, "implicit", "u"),
        "and what was asked")
    found = well("STLS", configured(stls.port, tls="starttls"))
    is_([s["step"] for s in found["steps"]][2:7], ["connect", "greeting", "stls", "tls", "certificate"],
        "STLS has its own order")
    found = well("a server only", configured(implicit.port), "--server", "s")
    is_([s["step"] for s in found["steps"]], names[1:7] + ["quit"], "it stops before the login")
    is_(len(implicit.log("login")), 2, "no login was tried")
    well("USER and PASS", configured(pop3d("--no-capa", "SASL").port))
    well("no CAPA", configured(pop3d(script='on CAPA reply "-ERR what?"').port))
    no_uidl = pop3d("--no-capa", "UIDL", script='on UIDL reply "-ERR unknown"')
    found = well("no UIDL", configured(no_uidl.port))
    like(found["steps"][-2]["text"], "never deleted from", "a listing that is not trusted is said")
    well("a pinned certificate", configured(implicit.port, ca="", fingerprint=fingerprint(certificates.good.cert)))


def fingerprint(path):
    return "sha256:" + sha256(ssl.PEM_cert_to_DER_cert(pathlib.Path(path).read_text()))


def usage():
    cask = configured(free_port())
    config = cask.write_config()
    for arguments, words in ([["--account", "nobody"], "there is no account nobody"],
                             [["--server", "nobody"], "there is no server nobody"],
                             [[], "either --account NAME or --server NAME"],
                             [["--account", "a", "--server", "s"], "either --account NAME or --server NAME"],
                             [["--account", "a", "--timeout", "x"], "--timeout: allowed"],
                             [["--account", "a", "--timeout", "0"], "--timeout: allowed"]):
        for form in ([], ["--json"]):
            result = run([BUILD / "mailcask", "probe", "--config", config, *arguments, *form])
            ok(result.status == 2 and words in result.err.decode() and result.out == b"",
               f"{' '.join([*arguments, *form]) or 'nothing'}: exit 2") or diag(str(result))
    result = run([BUILD / "mailcask", "probe", "--account", "a"], env={"MAILCASK_CONFIG": ""})
    is_((result.status, b"which configuration" in result.err), (2, True), "no configuration: exit 2")
    config.write_text("[nonsense]\n")
    is_(run([BUILD / "mailcask", "probe", "--account", "a", "--config", config]).status, 2, "a broken one: exit 2")
    alone = temp_folder() / "mailcask"
    shutil.copy(BUILD / "mailcask", alone)
    result = run([alone, "probe", "--account", "a", "--config", cask.write_config()])
    is_((result.status, b"mailcaskd is needed" in result.err), (4, True), "no mailcaskd beside it: exit 4")


def nothing_changed():
    """Of all the servers of this test."""
    forbidden = [l for s in servers for l in s.log("session") if re.search(r" (RETR|DELE|TOP|RSET)=", l)]
    is_(forbidden, [], "no message was asked for or deleted, whatever happened")
    is_([l for s in servers for l in s.log("deleted")], [], "and none is gone")
    plain = [l for s in servers for l in s.log("login") if "tls=no" in l]
    is_(plain, [], "no login without TLS")


for part in (good_ones, usage, passwords, network, kinds_of_tls, certificates_of_all_kinds, other_servers, refusals,
             in_the_middle, dovecot, providers, nothing_changed):
    part()
done()
