"""The servers of the workloads. They run on the cores that are not the client's."""

import contextlib
import mmap
import pathlib
import struct
import tempfile

import files
from clients import Source
from harness import BUILD, Certificates, Dovecot, Server


@contextlib.contextmanager
def dovecot(mail):
    """Dovecot over a MailSet: a Source for its clients."""
    server = Dovecot(uidl="default")
    try:
        for account, folder in mail.accounts.items():
            server.fill(account, folder)
        yield Source(server.port, server.ca)
    finally:
        server.stop()
        files.remove(server.folder)


def box(name, count, size):
    """A user of the light server; a name that begins with h is held back."""
    return f"{name}-{count}x{size}"


class Light(Server):
    """bench/light: synthetic mailboxes, named by box(). gate: see bench/light/counters.h."""

    COUNTERS = ("gate", "open", "open_peak", "logins", "resumed", "quits", "retrieved", "sent")

    def __init__(self, work, addresses=1, gated=False):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="light-", dir=work))
        hosts = [f"127.0.0.{n}" for n in range(1, addresses + 1)]
        tls = folder / "tls"
        tls.mkdir()
        made = Certificates(tls)
        certificate = made.make("light", ",".join(["DNS:localhost", *(f"IP:{h}" for h in hosts)]))
        self.log_file = folder / "log"
        super().__init__([BUILD / "bench/light_server", "--cert", certificate.cert, "--key",
                          certificate.key, "--port-file", folder / "port", "--counters",
                          folder / "counters", "--log", self.log_file, "--addresses", addresses,
                          *(["--gated"] if gated else [])], folder)
        self.wait_ready((folder / "port").exists, "light_server")
        self.source = Source(int((folder / "port").read_text()), made.ca, hosts)
        with open(folder / "counters", "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8 * len(self.COUNTERS))

    def counter(self, name):
        return struct.unpack_from("=Q", self.map, 8 * self.COUNTERS.index(name))[0]

    def open_gate(self, gate):
        struct.pack_into("=Q", self.map, 0, gate)

    def sessions(self):
        """Of those that have ended: (user, messages, first, last) with times in seconds."""
        for line in self.log_file.read_text().splitlines():
            user, messages, first, last = line.split()
            yield user, int(messages), int(first) / 1000, int(last) / 1000


@contextlib.contextmanager
def light(work, **options):
    server = Light(work, **options)
    try:
        yield server
    finally:
        server.stop()


class Delay(Server):
    """bench/delay_proxy.c in front of a Source: .source is the same one, far away."""

    def __init__(self, work, source, round_trip_ms):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="delay-", dir=work))
        super().__init__([BUILD / "bench/delay_proxy", folder / "port", source.port, round_trip_ms], folder)
        self.wait_ready((folder / "port").exists, "delay_proxy")
        self.source = source._replace(port=int((folder / "port").read_text()))


@contextlib.contextmanager
def far_away(work, source, round_trip_ms):
    proxy = Delay(work, source, round_trip_ms)
    try:
        yield proxy
    finally:
        proxy.stop()
