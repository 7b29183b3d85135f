"""A policyd-migrate's other side, scripted, of any version of the protocol: written from docs/wire.md alone, it shares no code with migrate/. The source
half sends what it is told to; the target half takes a guest's RAM as it comes and keeps the streams for wirecheck.py."""
import select
import socket
import ssl
import struct
import time

from wirecheck import PAGE, BARRIER, DATA, GEOMETRY, KEEPALIVE, LANDED

HELLO, WELCOME, READY, NOTE, SUSPENDED, DIGEST, STATE = 1, 2, 4, 5, 6, 7, 8
ABORT, PING = 14, 15
TOKEN = bytes(15) + b"\x01"  # lib/worker.py's
PATIENCE_S = 60  # guards against hangs only


def text(s):
    return struct.pack(">H", len(s)) + s.encode()


def tls_context(tls, server):
    """@tls: certificate, key, and the folder of those that are trusted."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    c.minimum_version = ssl.TLSVersion.TLSv1_3
    c.load_cert_chain(tls["certificate"], tls["key"])
    c.load_verify_locations(cafile=tls["peer"])
    c.verify_mode = ssl.CERT_REQUIRED
    return c


def opening(kind, channel=0, channels=0):
    return b"BALLAST" + kind + struct.pack(">HHHH", 1, channel, channels, 0) + TOKEN


class Stream:
    """A connection whose octets are taken as they come."""

    def __init__(self, sock):
        sock.settimeout(PATIENCE_S)
        self.sock, self.buf = sock, bytearray()

    def take(self, n):
        while len(self.buf) < n:
            more = self.sock.recv(1 << 16)
            if not more:
                raise ConnectionError("closed after %r" % bytes(self.buf[-64:]))
            self.buf += more
        out = bytes(self.buf[:n])
        del self.buf[:n]
        return out

    def frame(self):
        """The next control frame that is no PING or NOTE: (type, payload)."""
        while True:
            kind, zero, length = struct.unpack(">HHI", self.take(8))
            payload = self.take(length)
            assert zero == 0
            if kind not in (PING, NOTE):
                return kind, payload

    def expect(self, kind):
        got, payload = self.frame()
        if got == ABORT:
            raise ConnectionAbortedError(payload[2:-1].decode())
        assert got == kind, (got, kind, payload)
        return payload

    def send(self, data):
        self.sock.sendall(data)

    def say(self, kind, payload=b""):
        self.send(struct.pack(">HHI", kind, 0, len(payload)) + payload)

    def abort(self, reason):
        self.say(ABORT, text(reason) + b"\0")


class OldSource:
    """Connects to a target that waits: control first."""

    def __init__(self, tls, peer, port):
        self.context, self.peer, self.port = tls_context(tls, False), peer, port
        self.control, self.data = self._open(b"C"), []

    def _open(self, kind, channel=0, channels=0):
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        s = Stream(self.context.wrap_socket(raw, server_hostname=self.peer))
        assert s.take(1) == b"\x06", "no welcome octet"
        s.send(opening(kind, channel, channels))
        return s

    def hello(self, qemu, epoch, versions, machine, channels=1):
        """@qemu: lib/qemu.py's, the one that waits."""
        self.control.say(HELLO, struct.pack(">HH", *versions) + text(qemu.uuid) + struct.pack(">Q", epoch) + text(qemu.name) + text("alpha") +
                         text(machine) + text("7.2.22") + struct.pack(">HBIQH", channels, 1, 300, 0, 1) + text("ram") +
                         struct.pack(">QI", qemu.mem_mib << 20, PAGE))

    def channels(self, n):
        self.data = [self._open(b"D", i, n) for i in range(n)]
        self.control.expect(READY)

    @staticmethod
    def record(kind, flags, count, body, rnd=0):
        return struct.pack(">BBHIIHH", kind, flags, count, len(body), rnd, 0, 0) + body

    def geometry(self, size):
        for d in self.data:
            d.send(self.record(GEOMETRY, 0, 1, struct.pack(">Q", size)))

    def pages(self, channel, first, contents, digest, codec, packed):
        body = struct.pack(">IIQ", first, len(contents), digest) + packed
        self.data[channel].send(self.record(DATA, codec, 1, body))

    def barrier(self, channel, n_data, last):
        """Round 0's end; what the target counted."""
        self.data[channel].send(self.record(BARRIER, last, 0, struct.pack(">QQ", n_data, 0)))

    def landed(self, channel):
        while True:
            kind, _, _, length, rnd, _, _ = struct.unpack(">BBHIIHH", self.data[channel].take(16))
            body = self.data[channel].take(length)
            if kind == LANDED:
                return struct.unpack(">QQ", body)
            assert kind == KEEPALIVE, kind


class OldTarget:
    """Listens; takes one source's RAM. .streams: what came on each data channel."""

    def __init__(self, tls, version, codecs=None):
        self.context, self.version, self.codecs = tls_context(tls, True), version, codecs
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.offered = self.control = self.root = None
        self.streams, self.channels, self.said_s = [], [], 0

    def _accept(self):
        self.listener.settimeout(PATIENCE_S)
        raw, _ = self.listener.accept()
        s = Stream(self.context.wrap_socket(raw, server_side=True))
        s.send(b"\x06")
        return s, s.take(32)

    def welcome(self, n):
        self.control, head = self._accept()
        assert head == opening(b"C"), head
        self.offered = struct.unpack(">HH", self.control.expect(HELLO)[:4])
        more = b"" if self.codecs is None else bytes([self.codecs])
        self.control.say(WELCOME, struct.pack(">HH", self.version, n) + text("7.2.22") + more)

    def accept_data(self, n):
        for i in range(n):
            s, head = self._accept()
            assert head == opening(b"D", i, n), head
            self.channels.append(s)
            self.streams.append(bytearray())
        self.control.say(READY)

    def _records(self, i):
        """Move whole records from the channel's buffer to its stream; a BARRIER among them, or None."""
        c = self.channels[i]
        while len(c.buf) >= 16:
            kind, flags, _, length, rnd, _, _ = struct.unpack(">BBHIIHH", c.buf[:16])
            if len(c.buf) < 16 + length:
                return None
            record = c.take(16 + length)
            self.streams[i] += record
            if kind == BARRIER:
                return flags, rnd, record[16:]
        return None

    def _pump(self, waiting):
        """Wait for octets on one of the channels (or on control) and take them; keep all connections alive."""
        socks = {c.sock: c for c in [self.control] + [self.channels[i] for i in waiting]}
        ready = [s for s in socks if s.pending()] or select.select(list(socks), [], [], 1)[0]
        for s in ready:
            more = s.recv(1 << 18)
            if not more:
                raise ConnectionError("the source closed a connection")
            socks[s].buf += more
        if time.monotonic() < self.said_s + 1:
            return
        self.said_s = time.monotonic()
        self.control.say(PING)
        for c in self.channels:
            c.send(OldSource.record(KEEPALIVE, 0, 0, b""))

    def receive(self):
        """All rounds up to the last; each barrier answered. Then the digest that the source names is in .root."""
        end, n = time.monotonic() + PATIENCE_S, len(self.channels)
        last = False
        while not last:
            barriers = {}
            while len(barriers) < n:
                for i in set(range(n)) - set(barriers):
                    b = self._records(i)
                    if b:
                        barriers[i] = b
                if len(barriers) < n:
                    assert time.monotonic() < end, "the rounds do not end"
                    self._pump(set(range(n)) - set(barriers))
            for i, (flags, rnd, body) in barriers.items():
                self.channels[i].send(OldSource.record(LANDED, flags, 0, body, rnd))
            last = barriers[0][0] == 1
        self.control.expect(SUSPENDED)
        self.root = self.control.expect(DIGEST)[:16].hex()
