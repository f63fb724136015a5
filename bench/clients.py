"""Who fetches mail: mailcask and its peers. Each has

    fresh()      forget what was fetched
    fetch()      fetch all accounts once: a Cost
    count()      messages it has now
    stored()     bytes on disk

and is made for a folder of its own, a Source, and the names of its accounts. What each writes, and
when it syncs, is in BENCHMARKS.md."""

import collections
import os
import shutil

import files
from contest import Failed, measure
from harness import BUILD, PASSWORD, Mailcask, run

# Where mail comes from. hosts: all of them the same server.
Source = collections.namedtuple("Source", "port ca hosts", defaults=[("127.0.0.1",)])


def private(path, content):
    path.write_text(content)
    path.chmod(0o600)
    return path


class Ours:
    """mailcaskd --once into an archive. settings: of the [server], such as poll="1s"."""

    name = "mailcask"

    def __init__(self, folder, source, accounts, archive_settings=None, **settings):
        folder.mkdir(parents=True)
        self.accounts = list(accounts)
        self.cask = Mailcask(folder, **(archive_settings or {}))
        for i, host in enumerate(source.hosts):
            self.cask.add_server(f"s{i}", source.port, source.ca, host=host, **settings)
        for i, account in enumerate(accounts):
            self.cask.add_account(account, f"s{i % len(source.hosts)}")

    def fresh(self):
        files.remove(self.cask.archive)
        self.cask.init()

    def fetch(self, env=None):
        return measure(self.cask.once_arguments(), env=env)

    def count(self):
        return self.cask.json("stats")[0]["messages"]

    def stored(self):
        return files.size(self.cask.archive)


class _Peer:
    def __init__(self, folder, source, accounts):
        self.folder, self.source, self.accounts = folder, source, list(accounts)
        folder.mkdir(parents=True)
        self.state, self.mail = folder / "state", folder / "mail"
        self.configure()

    def fresh(self):
        for folder in (self.state, self.mail):
            files.remove(folder)
            folder.mkdir()
        for account in self.accounts:
            for part in ("cur", "new", "tmp"):
                (self.mail / account / part).mkdir(parents=True)

    def count(self):
        return sum(len(os.listdir(self.mail / a / "new")) for a in self.accounts)

    def stored(self):
        return files.size(self.mail)


class Mpop(_Peer):
    """One process, one account after the other, into maildirs."""

    name = "mpop"

    def configure(self):
        lines = ["defaults", f"host {self.source.hosts[0]}", f"port {self.source.port}", "tls on",
                 "tls_starttls off", f"tls_trust_file {self.source.ca}", f"password {PASSWORD}",
                 "keep on", "received_header off", ""]
        for account in self.accounts:
            lines += [f"account {account}", f"user {account}",
                      f"delivery maildir {self.mail}/{account}",
                      f"uidls_file {self.state}/{account}", ""]
        self.config = private(self.folder / "mpoprc", "\n".join(lines))
        self.command = ["mpop", "-C", self.config, "-Q"]

    def fetch(self):
        return measure([*self.command, "-a"])


class MpopParallel(Mpop):
    """A process an account, `at_once` of them."""

    at_once = 4

    def fetch(self):
        names = "".join(f"{a}\n" for a in self.accounts).encode()
        return measure(["xargs", "-P", self.at_once, "-n", "1", *self.command], stdin=names)


class Fetchmail(_Peer):
    """One process, one account after the other, all mail into one batch-SMTP file: no process and no
    delivery a message, which is the least it can do."""

    name = "fetchmail"
    NO_NEW_MAIL = 1

    def configure(self):
        lines = ["set no bouncemail", f"set idfile {self.state}/ids"]
        for account in self.accounts:
            lines += [f"poll {self.source.hosts[0]} protocol pop3 port {self.source.port} uidl",
                      f'  user "{account}" password "{PASSWORD}" ssl sslcertck sslcommonname localhost',
                      f'  sslcertfile "{self.source.ca}" keep no rewrite',
                      f'  bsmtp "{self.mail}/all"', ""]
        self.config = private(self.folder / "fetchmailrc", "\n".join(lines))

    def fetch(self):
        return measure(["fetchmail", "-f", self.config, "--silent", "--nosyslog"],
                       env={"FETCHMAILHOME": str(self.state)}, good=(0, self.NO_NEW_MAIL))

    def count(self):
        with open(self.mail / "all", "rb") as file:
            return sum(line.startswith(b"MAIL FROM:") for line in file)


class Getmail(_Peer):
    """One process, one account after the other, into maildirs; a child for each delivery. Root's
    deliveries are another user's: it insists."""

    name = "getmail6"
    OTHER = "nobody"

    def configure(self):
        as_root = f"user = {self.OTHER}\n" if os.geteuid() == 0 else ""
        for account in self.accounts:
            private(self.folder / account, f"""[retriever]
type = SimplePOP3SSLRetriever
server = {self.source.hosts[0]}
port = {self.source.port}
ca_certs = {self.source.ca}
username = {account}
password = {PASSWORD}
[destination]
type = Maildir
path = {self.mail}/{account}/
{as_root}[options]
delete = false
read_all = false
received = false
delivered_to = false
verbose = 0
""")

    def fresh(self):
        super().fresh()
        if os.geteuid() == 0:
            for folder in (self.mail, *self.mail.glob("*"), *self.mail.glob("*/*")):
                shutil.chown(folder, self.OTHER)

    def fetch(self):
        each = [x for a in self.accounts for x in ("--rcfile", self.folder / a)]
        return measure(["getmail", "--getmaildir", self.state, *each])


def checked(client, count, env=None):
    """A contestant: a fresh start, all mail fetched, none missing. env: for mailcask."""
    def contestant():
        client.fresh()
        cost = client.fetch(**({"env": env} if env else {}))
        got = client.count()
        if got != count:
            raise Failed(f"{client.name} has {got} messages of {count}")
        return cost._replace(more={"stored": client.stored()})
    return contestant


def version(program):
    """Of the Debian package."""
    package = {"getmail": "getmail6", "borg": "borgbackup", "dovecot": "dovecot-pop3d"}.get(program, program)
    found = run(["dpkg-query", "-W", "-f", "${Version}", package])
    return found.out.decode() if found.status == 0 else "?"
