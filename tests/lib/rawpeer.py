"""The peers' protocol by hand (docs/peers.md), with a host's own certificate, from its namespace."""
import json
import subprocess


class Raw:
    """A TLS connection to @dst with @src's certificate, from @src's namespace. hello is said."""

    def __init__(self, env, src, dst):
        self.p = env.popen(src.in_ns("openssl", "s_client", "-quiet", "-connect", "%s:8101" % dst.address, "-cert", src.crt, "-key", src.key),
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.n = 0
        self.send({"hello": {"name": src.name, "protocol": 1, "version": "0.1", "qemu": "7.2.22", "accel": "tcg", "fips": False}})

    def raw(self, data):
        self.p.stdin.write(data)
        self.p.stdin.flush()

    def send(self, obj):
        self.raw(json.dumps(obj).encode() + b"\n")

    def ask(self, req, **args):
        """One request; its answer."""
        self.n += 1
        self.send({"id": self.n, "req": req, **args})
        while True:
            line = self.p.stdout.readline()
            assert line, "%s: the connection was closed" % req
            answer = json.loads(line)
            if answer.get("id") == self.n:
                return answer

    def closed(self):
        """It is closed by the other side; what was said last."""
        rest = self.p.stdout.read()
        return rest.decode(errors="replace")
