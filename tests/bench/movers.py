"""Who moves a guest in bench_migrate.py: policyd-migrate by hand, and QEMU's own migration in three ways, best settings, limits lifted.

mover.move(src, dst) moves the guest of one Qemu to another (started with -incoming defer) and returns what the mover itself knows: total_s from
the command to the source being out of use, counted_mib that it says to have sent, ram_mib of guest memory sent, reported_blackout_ms, rounds."""
import os
import time

import hosts
import worker
from env import wait_for

CHANNELS = 2
MAX_BLACKOUT_MS = 300  # the same limit for all


class Mover:
    plain = False  # without encryption

    def __init__(self, env, folder, link):
        self.env, self.folder, self.link = env, folder, link
        os.makedirs(folder)


class Ours(Mover):
    name, program = "ours", "policyd-migrate"

    def __init__(self, env, folder, link):
        super().__init__(env, folder, link)
        self.tls, self.epoch = {}, 0
        for me in ("alpha", "beta"):
            home = os.path.join(folder, me)
            os.makedirs(os.path.join(home, "trust"))
            os.makedirs(os.path.join(home, "state"))
            hosts.certificate(home, me)
        for me, other in (("alpha", "beta"), ("beta", "alpha")):
            home = os.path.join(folder, me)
            with open(os.path.join(folder, other, other + ".crt")) as f, open(os.path.join(home, "trust", other + ".crt"), "w") as g:
                g.write(f.read())
            self.tls[me] = {"certificate": os.path.join(home, me + ".crt"), "key": os.path.join(home, me + ".key"),
                            "trust": os.path.join(home, "trust"), "fips": False}

    def start(self, role, q, me, other, **more):
        w = worker.Worker(self.env, ns=q.ns, program=self.program)
        w.send(**worker.start_line(role, q, me, other, os.path.join(self.folder, me, "state"), self.tls[me], self.epoch,
                                   address=self.link.address(q.ns if role == "target" else self.link.other(q.ns)),
                                   max_blackout_ms=MAX_BLACKOUT_MS, **more))
        return w

    def move(self, src, dst):
        self.epoch += 1
        began = time.monotonic()
        target = self.start("target", dst, "beta", "alpha", port=0, ports=[49152, 49215])
        source = self.start("source", src, "alpha", "beta", port=target.wait("listening")["port"])
        done = source.wait("done")
        total = done["t_s"] - began
        if not done["ok"] or done["outcome"] != "moved":
            raise RuntimeError("our move failed: %s" % done)
        target.wait("done")
        source.join()
        target.join()
        stats = done["stats"]
        return {"total_s": total, "counted_mib": stats["wire_bytes"] / 2**20, "ram_mib": stats["ram_bytes"] / 2**20,
                "reported_blackout_ms": stats["blackout_ms"], "rounds": stats["rounds"]}


class OursPlain(Ours):
    """The same engine linked with channels that do not encrypt (plain_conn.c): only to measure what TLS costs. Never installed."""
    name, program, plain = "ours without tls", "tests/bench/policyd-migrate-plain", True


class QemuMultifdTls(Mover):
    """QEMU's own pre-copy: multifd over TLS (x509 both ways), return-path, bandwidth limit lifted."""

    name, method = "qemu multifd+tls", "none"

    def __init__(self, env, folder, link):
        super().__init__(env, folder, link)
        if not self.plain:
            self._certificates()

    def _certificates(self):
        hosts.certificate(self.folder, "ca")
        at = {n: os.path.join(self.folder, n) for n in ("ca.crt", "ca.key", "ca-cert.pem", "leaf.csr", "leaf.ext", "server-cert.pem",
                                                        "server-key.pem", "client-cert.pem", "client-key.pem")}
        with open(at["leaf.ext"], "w") as f:  # QEMU wants leaves that are no CA
            f.write("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nsubjectAltName=DNS:localhost\n")
        hosts.sh("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
                 "-keyout", at["server-key.pem"], "-out", at["leaf.csr"])
        hosts.sh("openssl", "x509", "-req", "-in", at["leaf.csr"], "-CA", at["ca.crt"], "-CAkey", at["ca.key"], "-CAcreateserial", "-days",
                 "30", "-extfile", at["leaf.ext"], "-out", at["server-cert.pem"])
        for a, b in (("ca.crt", "ca-cert.pem"), ("server-cert.pem", "client-cert.pem"), ("server-key.pem", "client-key.pem")):
            os.symlink(at[a], at[b])

    def prepare(self, q, endpoint):
        qmp, caps = q.qmp, ("multifd", "return-path", "events")
        if q.creds:  # it was a target before: other end of TLS now, or another folder
            qmp("object-del", id="tls0")
        if not self.plain:
            qmp("object-add", **{"qom_type": "tls-creds-x509", "id": "tls0", "endpoint": endpoint, "dir": self.folder, "verify_peer": True})
        q.creds = not self.plain
        on = [c["capability"] for c in qmp("query-migrate-capabilities") if c["state"]]  # what our own move left on
        qmp("migrate-set-capabilities", capabilities=[{"capability": c, "state": c in caps} for c in {*on, *caps}])
        qmp("migrate-set-parameters", max_bandwidth=2**40, downtime_limit=MAX_BLACKOUT_MS, multifd_channels=CHANNELS,
            multifd_compression=self.method, tls_creds="" if self.plain else "tls0",
            tls_hostname="localhost" if endpoint == "client" and not self.plain else "")

    def move(self, src, dst):
        began = time.monotonic()
        address = self.link.address(dst.ns)
        self.prepare(dst, "server")
        dst.qmp("migrate-incoming", uri="tcp:%s:0" % address)
        port = next(a["port"] for a in dst.qmp("query-migrate")["socket-address"])
        self.prepare(src, "client")
        src.qmp("migrate", uri="tcp:%s:%s" % (address, port))
        info = wait_for("QEMU's own migration", lambda: self.ended(src), 200, 0.01)
        if info["status"] != "completed":
            raise RuntimeError("QEMU's migration failed: %s; target says: %s" % (info, dst.log_tail()))
        wait_for("the target running", lambda: dst.qmp("query-status")["status"] == "running", 60, 0.002)
        total = time.monotonic() - began
        src.qmp("quit")
        ram = info["ram"]
        return {"total_s": total, "counted_mib": ram["transferred"] / 2**20, "ram_mib": ram["normal-bytes"] / 2**20,
                "reported_blackout_ms": info["downtime"], "rounds": ram["dirty-sync-count"]}

    @staticmethod
    def ended(src):
        info = src.qmp("query-migrate")
        return info if info.get("status") in ("completed", "failed", "cancelled") else None


class QemuMultifdZstdTls(QemuMultifdTls):
    name, method = "qemu multifd+zstd+tls", "zstd"


class QemuMultifd(QemuMultifdTls):
    name, plain = "qemu multifd", True


MOVERS = (Ours, QemuMultifd, QemuMultifdTls, QemuMultifdZstdTls)
