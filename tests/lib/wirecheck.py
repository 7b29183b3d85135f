#!/usr/bin/env python3
"""wirecheck.py [--root HEX] [--version N] --block FILE ... STREAM ...

Reads recorded data channels (one STREAM per channel: what the source sent, after the opening) and checks them by docs/wire.md, from which alone it
was written; it shares no code with migrate/. Then builds the RAM that a target would have and compares it with the source's files (--block, in the
order of the blocks) and the root digest with HEX. Exit 0 when all is as the text says, else 1 and one line per mistake.

XXH3, lz4 and zstd come from their libraries through ctypes (Debian's python has none of them)."""
import argparse
import ctypes
import ctypes.util
import struct
import sys

PAGE = 4096
GEOMETRY, DATA, ZERO, HOLE, BARRIER, LANDED, KEEPALIVE, WANTED = range(1, 9)
LENGTH_MAX = 262664


class Wrong(Exception):
    pass


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_xxh = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
_lz4 = ctypes.CDLL(ctypes.util.find_library("lz4") or "liblz4.so.1")
_zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
for _fn in (_zstd.ZSTD_decompress, _zstd.ZSTD_findFrameCompressedSize):
    _fn.restype = ctypes.c_size_t
_zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
_zstd.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_xxh.XXH3_64bits.restype = ctypes.c_uint64
_xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_xxh.XXH3_128bits.restype = Hash128
_xxh.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def unlz4(data, size):
    """One lz4 block."""
    out = ctypes.create_string_buffer(size)
    done = _lz4.LZ4_decompress_safe(bytes(data), out, len(data), size)
    if done != size:
        raise Wrong("lz4 block unpacks to %d octets, not %d" % (done, size))
    return out.raw


def unzstd(data, size):
    """One zstd frame."""
    out = ctypes.create_string_buffer(size)
    done = _zstd.ZSTD_decompress(out, size, data, len(data))
    if done != size or _zstd.ZSTD_findFrameCompressedSize(data, len(data)) != len(data):
        raise Wrong("not one zstd frame of %d octets" % size)
    return out.raw


class Target:
    def __init__(self, sizes, version=2):
        self.sizes, self.codecs = sizes, 2 if version == 1 else 4  # raw and lz4; zstd, differences
        self.pages = [dict() for _ in sizes]  # page -> content; absent = zeros
        self.seen = set()                     # (block, page) of this round
        self.counts = {"DATA": 0, "lz4": 0, "zstd": 0, "delta": 0, "ZERO": 0, "HOLE": 0, "KEEPALIVE": 0, "postponed": 0}

    def touch(self, block, page):
        if (block, page) in self.seen:
            raise Wrong("block %d page %d occurs twice in a round" % (block, page))
        self.seen.add((block, page))

    def root(self):
        total = 0
        for b, pages in enumerate(self.pages):
            for p, content in pages.items():
                digest = _xxh.XXH3_64bits(content, PAGE)
                h = _xxh.XXH3_128bits(struct.pack(">QQQ", b, p, digest), 24)
                total += h.high << 64 | h.low
        return "%032x" % (total % (1 << 128))


class Channel:
    """One recorded stream, consumed round by round."""

    def __init__(self, name, data):
        self.name, self.data, self.at = name, data, 0
        self.geometry = None

    def take(self, n):
        if self.at + n > len(self.data):
            raise Wrong("ends within a record")
        self.at += n
        return self.data[self.at - n:self.at]

    def round(self, number, target):
        """All records of one round; returns whether it was the last."""
        n_data = n_cleared = 0
        while True:
            head = self.take(16)
            kind, flags, count, length, rnd, block, zero = struct.unpack(">BBHIIHH", head)
            if length > LENGTH_MAX:
                raise Wrong("length %d" % length)
            body = self.take(length)
            if kind >= 128:
                continue
            if kind == GEOMETRY:
                self.on_geometry(flags, count, body, rnd, block, zero, target)
                continue
            if self.geometry is None:
                raise Wrong("type %d before GEOMETRY" % kind)
            if zero:
                raise Wrong("reserved octets are %d" % zero)
            if kind == KEEPALIVE:
                if flags or count or length or rnd or block:
                    raise Wrong("KEEPALIVE is not empty")
                target.counts["KEEPALIVE"] += 1
                continue
            if rnd != number:
                raise Wrong("type %d of round %d in round %d" % (kind, rnd, number))
            if kind == BARRIER:
                if count or block or flags > 1 or length != 16:
                    raise Wrong("BARRIER malformed")
                if struct.unpack(">QQ", body) != (n_data, n_cleared):
                    raise Wrong("BARRIER counts %s, the records %s" % (struct.unpack(">QQ", body), (n_data, n_cleared)))
                return flags == 1
            if block >= len(target.sizes):
                raise Wrong("block %d" % block)
            if kind == DATA:
                n_data += self.on_data(flags, count, body, block, target)
            elif kind in (ZERO, HOLE):
                n_cleared += self.on_clear(kind, flags, count, body, block, target)
            else:
                raise Wrong("type %d from the source" % kind)

    def on_geometry(self, flags, count, body, rnd, block, zero, target):
        if self.geometry is not None or flags or rnd or block or zero or not 1 <= count <= 4 or len(body) != 8 * count:
            raise Wrong("GEOMETRY malformed or repeated")
        self.geometry = struct.unpack(">%dQ" % count, body)
        if list(self.geometry) != target.sizes or any(s % PAGE for s in self.geometry):
            raise Wrong("GEOMETRY %r, the files have %r" % (self.geometry, target.sizes))

    def runs(self, count, body, block, target):
        runs, follows = [], 0
        if not 1 <= count <= 64:
            raise Wrong("%d runs" % count)
        for i in range(count):
            first, n = struct.unpack_from(">II", body, 8 * i)
            if n == 0 or first < follows or (first + n) * PAGE > target.sizes[block]:
                raise Wrong("run %d+%d in block %d" % (first, n, block))
            follows = first + n
            runs.append((first, n))
        return runs

    def on_data(self, codec, count, body, block, target):
        if codec >= target.codecs or len(body) < 8 * count + 9:
            raise Wrong("DATA malformed")
        runs = self.runs(count, body, block, target)
        n = sum(r[1] for r in runs)
        (digest,) = struct.unpack_from(">Q", body, 8 * count)
        content = body[8 * count + 8:]
        if n > 64:
            raise Wrong("%d pages in a DATA record" % n)
        if codec == 0 and len(content) != n * PAGE or codec >= 1 and len(content) >= n * PAGE:
            raise Wrong("%d octets of content for %d pages, codec %d" % (len(content), n, codec))
        if codec == 1:
            content = unlz4(content, n * PAGE)
            target.counts["lz4"] += n
        elif codec == 2:
            content = unzstd(content, n * PAGE)
            target.counts["zstd"] += n
        elif codec == 3:
            content = self.undelta(content, block, runs, target)
            target.counts["delta"] += n
        digests, at = b"", 0
        for first, k in runs:
            for page in range(first, first + k):
                data = content[at:at + PAGE]
                at += PAGE
                if not any(data):
                    raise Wrong("a page of zeros in a DATA record")
                target.touch(block, page)
                target.pages[block][page] = data
                digests += struct.pack(">Q", _xxh.XXH3_64bits(data, PAGE))
        if _xxh.XXH3_64bits(digests, len(digests)) != digest:
            raise Wrong("a DATA record's digest is wrong")
        target.counts["DATA"] += n
        return n

    @staticmethod
    def undelta(content, block, runs, target):
        """The pages whose differences from what the target holds these are."""
        out, at = [], 0
        for first, n in runs:
            for page in range(first, first + n):
                old = target.pages[block].get(page)
                if old is None or at + 8 > len(content):
                    raise Wrong("block %d page %d: a difference, but the target knows no content of it, or the record ends" % (block, page))
                (lines,) = struct.unpack_from(">Q", content, at)
                at += 8
                places = [i for i in range(64) if lines >> i & 1]
                if len(places) > 32 or at + 64 * len(places) > len(content):
                    raise Wrong("block %d page %d: %d lines differ" % (block, page, len(places)))
                new = bytearray(old)
                for i in places:
                    new[64 * i:64 * i + 64] = content[at:at + 64]
                    at += 64
                out.append(bytes(new))
        if at != len(content):
            raise Wrong("%d octets after the last difference" % (len(content) - at))
        return b"".join(out)

    def on_clear(self, kind, flags, count, body, block, target):
        if flags or len(body) != 8 * count:
            raise Wrong("ZERO or HOLE malformed")
        total = 0
        for first, n in self.runs(count, body, block, target):
            for page in range(first, first + n):
                target.touch(block, page)
                if target.pages[block].pop(page, None) is None:
                    raise Wrong("block %d page %d is cleared, but the target knows no content of it" % (block, page))
            total += n
        target.counts["ZERO" if kind == ZERO else "HOLE"] += total
        return total


    def record(self):
        """The next one that is neither optional nor KEEPALIVE: (kind, flags, count, round, block, body); None at the end."""
        while self.at < len(self.data):
            kind, flags, count, length, rnd, block, zero = struct.unpack(">BBHIIHH", self.take(16))
            if length > LENGTH_MAX or zero:
                raise Wrong("length %d, reserved octets %d" % (length, zero))
            body = self.take(length)
            if kind == KEEPALIVE and not (flags or count or length or rnd or block):
                continue
            if kind < 128:
                return kind, flags, count, rnd, block, body
        return None

    def postponed(self, target):
        """What "Post-copy" has after the last round: the list of what is missing, then each page of it once. How many pages."""
        record, wanted = self.record(), set()
        if record is None:
            return 0
        while True:
            if record is None or record[0] != WANTED:
                raise Wrong("type %s in the list of missing pages" % (record and record[0]))
            _, flags, count, rnd, block, body = record
            if rnd or flags > 1 or len(body) != 8 * count or (flags == 1) != (count == 0) or block >= len(target.sizes):
                raise Wrong("WANTED malformed")
            if flags:
                break
            for first, n in self.runs(count, body, block, target):
                if wanted & {(block, p) for p in range(first, first + n)}:
                    raise Wrong("a page is missing twice in block %d" % block)
                wanted |= {(block, p) for p in range(first, first + n)}
            record = self.record()
        for block, page in wanted:  # punched before anything else
            target.pages[block].pop(page, None)
        target.seen.clear()
        for kind, flags, count, rnd, block, body in iter(self.record, None):
            if kind not in (DATA, ZERO) or flags or rnd or block >= len(target.sizes):
                raise Wrong("type %d, flags %d, round %d in post-copy" % (kind, flags, rnd))
            if kind == DATA:
                self.on_data(0, count, body, block, target)
            else:
                for first, n in self.runs(count, body, block, target):
                    for page in range(first, first + n):
                        target.touch(block, page)
        if target.seen != wanted:
            raise Wrong("%d pages were missing, %d came, %d of them unasked" % (len(wanted), len(target.seen), len(target.seen - wanted)))
        return len(wanted)


def check(blocks, streams, root, version=2):
    files = [open(b, "rb").read() for b in blocks]
    target = Target([len(f) for f in files], version)
    channels = [Channel(s, open(s, "rb").read()) for s in streams]
    number, last = 0, False
    while not last:
        target.seen.clear()
        ends = set()
        for c in channels:
            try:
                ends.add(c.round(number, target))
            except (Wrong, IndexError, struct.error) as why:
                raise Wrong("%s, before octet %d, round %d: %s" % (c.name, c.at, number, why))
        if len(ends) != 1:
            raise Wrong("the channels do not agree on whether round %d is the last" % number)
        last = ends.pop()
        number += 1
    if root and target.root() != root:
        raise Wrong("root digest %s, not %s" % (target.root(), root))
    for i, c in enumerate(channels):
        try:
            late = c.postponed(target)
        except (Wrong, IndexError, struct.error) as why:
            raise Wrong("%s, before octet %d, after the last round: %s" % (c.name, c.at, why))
        if late and i:
            raise Wrong("%s: post-copy on another channel than the first" % c.name)
        target.counts["postponed"] += late
    for b, content in enumerate(files):
        for page in range(len(content) // PAGE):
            want = content[page * PAGE:(page + 1) * PAGE]
            if target.pages[b].get(page, bytes(PAGE)) != want:
                raise Wrong("block %d page %d is not what the source has" % (b, page))
    return number, target.counts


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--block", action="append", default=[])
    p.add_argument("--root")
    p.add_argument("--version", type=int, choices=(1, 2), default=2)
    p.add_argument("streams", nargs="+")
    a = p.parse_args()
    try:
        rounds, counts = check(a.block, a.streams, a.root, a.version)
    except Wrong as why:
        print("wirecheck: %s" % why)
        return 1
    print("wirecheck: %d rounds, %s" % (rounds, ", ".join("%s %d" % kv for kv in counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
