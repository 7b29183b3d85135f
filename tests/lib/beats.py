"""Heartbeats of a guest as they arrive on its host's console.log, followed across hosts.

The guest prints 'BG hb COUNTER NS' at a steady rate with real-time priority; hbwatch (C) notes when each line arrived. A gap in
arrival is time for which the guest did not run, as somebody outside sees it. A line that was cut in two by a move (half on the source's log,
half on the target's) counts as arriving with its second half."""
import collections
import re
import statistics
import subprocess
import threading
import time

from env import Timeout

HB = re.compile(r"BG hb (\d+) (\d+)$")
Beat = collections.namedtuple("Beat", "t_ns counter guest_ns stream life")
Gap = collections.namedtuple("Gap", "ms before after moved")  # moved: the two beats are on two streams (hosts)
# One move as the guest had it. stood_ms: its clock stood still, it did not run. gap_ms: between its last heartbeat there and its first one here,
# the usual interval included. late_ms: what that first heartbeat took beyond both: it runs again, but all is cold (TCG translates anew).
Move = collections.namedtuple("Move", "stood_ms gap_ms late_ms")
NEAR_BEATS, NEAR_NS = 10, 2_000_000_000
ARRIVAL_MS = 15  # by which stood_ms may be off: the earliest of ten may still be read late on a busy machine


def lead_ns(beats):
    """How far the host's clock is ahead of the guest's: the least of several, for arrival is often late and never early."""
    return min(b.t_ns - b.guest_ns for b in beats)


class Report:
    """Of a stretch of time: count, lost, repeated, failures (texts), interval_ms, worst_move_gap_ms, worst_quiet_gap_ms, gaps (all),
    moves (each one)."""

    def __init__(self, beats, failures):
        self.count, self.failures = len(beats), failures
        self.lost = self.repeated = 0
        self.gaps = []
        for a, b in zip(beats, beats[1:]):
            if a.life != b.life:
                continue
            self.lost += max(0, b.counter - a.counter - 1)
            self.repeated += b.counter <= a.counter
            self.gaps.append(Gap((b.t_ns - a.t_ns) / 1e6, a, b, a.stream != b.stream))
        self.moves = [self._move(beats, i) for i in range(1, len(beats))
                      if beats[i].life == beats[i - 1].life and beats[i].stream != beats[i - 1].stream]
        by_guest = [(g.after.guest_ns - g.before.guest_ns) / 1e6 for g in self.gaps]
        self.interval_ms = statistics.median(by_guest) if by_guest else 0.0
        self.worst_move_gap_ms = max((g.ms for g in self.gaps if g.moved), default=0.0)
        self.worst_quiet_gap_ms = max((g.ms for g in self.gaps if not g.moved), default=0.0)

    @staticmethod
    def _move(beats, i):
        """The guest's clock stands while it is suspended and goes on where it stood: the lead of the host's clock grows by just that. Of heartbeats
        near the move only, as the two clocks do not go at quite the same rate."""
        a, b = beats[i - 1], beats[i]
        before = [x for x in beats[max(0, i - NEAR_BEATS):i] if x.stream == a.stream and x.life == a.life and a.t_ns - x.t_ns < NEAR_NS]
        after = [x for x in beats[i:i + NEAR_BEATS] if x.stream == b.stream and x.life == b.life and x.t_ns - b.t_ns < NEAR_NS]
        stood_ms, gap_ms = (lead_ns(after) - lead_ns(before)) / 1e6, (b.t_ns - a.t_ns) / 1e6
        usual_ms = statistics.median([(y.t_ns - x.t_ns) / 1e6 for x, y in zip(before, before[1:])] or [0.0])
        return Move(stood_ms, gap_ms, max(0.0, gap_ms - stood_ms - usual_ms))

    @property
    def blackout_ms(self):
        """The longest gap in a move, without the interval that is always there."""
        return max(0.0, self.worst_move_gap_ms - self.interval_ms)

    def __str__(self):
        return "%d heartbeats, %d lost, %d repeated, gap in a move %.0f ms, else %.0f ms%s" % (
            self.count, self.lost, self.repeated, self.worst_move_gap_ms, self.worst_quiet_gap_ms,
            "".join("; FAILED: " + f for f in self.failures))


class Heartbeats:
    """Follows one guest on all the console.log files that it may have; they need not be there yet."""

    def __init__(self, env, paths):
        self.paths = list(paths)
        self.beats, self.lines, self.failures = [], [], []
        self._cond = threading.Condition()
        self._life, self._may_restart = 0, False
        self._ready_at = None
        self._tails, self._joined = {}, set()
        self._process = env.popen([env.program("guest/hbwatch"), *self.paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  errors="replace")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    # ---- the reading thread ----
    def _read(self):
        for record in self._process.stdout:
            kind, stream, *rest = record.rstrip("\n").split(" ", 2)
            if kind == "open":
                continue
            t_ns, _, text = rest[0].partition(" ")
            with self._cond:
                self._record(kind, int(stream), int(t_ns), text)
                self._cond.notify_all()

    def _record(self, kind, stream, t_ns, text):
        if kind == "tail":
            self._tails[stream] = text
            return
        self._tails.pop(stream, None)
        if stream not in self._joined and not text.startswith("BG "):
            cut = [s for s in self._tails if s != stream]  # the other host's unfinished line, if there is one
            text = self._tails.pop(cut[-1]) + text if cut else text
        self._joined.add(stream)
        self.lines.append((t_ns, stream, text))
        if text.startswith("BG fail"):
            self.failures.append(text)
        elif text.startswith("BG ready"):
            self._ready_at = t_ns
        m = HB.search(text)
        if m:
            self._beat(t_ns, int(m.group(1)), int(m.group(2)), stream)

    def _beat(self, t_ns, counter, guest_ns, stream):
        if self._may_restart and self.beats and counter < self.beats[-1].counter:
            self._life, self._may_restart = self._life + 1, False
        self.beats.append(Beat(t_ns, counter, guest_ns, stream, self._life))

    # ---- waiting ----
    def _wait(self, what, fn, timeout):
        end = time.monotonic() + timeout
        with self._cond:
            while True:
                value = fn()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0 or not self._cond.wait(min(left, 1.0)) and self._process.poll() is not None:
                    raise Timeout("%s: not within %g s; last console line: %s" % (
                        what, timeout, self.lines[-1][2] if self.lines else "none in %s" % ", ".join(self.paths)))

    def wait_ready(self, timeout=180):
        """Until 'BG ready' (since the start, or since expect_restart)."""
        self._wait("the guest's boot", lambda: self._ready_at, timeout)

    def wait_line(self, text, timeout=60, since=0):
        """Until a console line contains @text; that line."""
        return self._wait("console line '%s'" % text, lambda: next((l for t, _, l in self.lines if t >= since and text in l), None), timeout)

    def wait_beats(self, n=3, timeout=60, stream=None):
        """Until @n more heartbeats have come (on the newest stream only: stream="new")."""
        begin = len(self.beats)

        def there():
            fresh = self.beats[begin:]
            if stream == "new" and fresh:
                fresh = [b for b in fresh if b.stream == max(x.stream for x in fresh)]
            return len(fresh) >= n
        self._wait("%d more heartbeats" % n, there, timeout)

    def expect_restart(self):
        """The guest will be booted anew (a cold move): its counter starts again, and 'BG ready' comes again."""
        with self._cond:
            self._may_restart, self._ready_at = True, None

    # ---- results ----
    @staticmethod
    def mark():
        """Now, for report(since=...)."""
        return time.monotonic_ns()

    def report(self, since=0):
        with self._cond:
            return Report([b for b in self.beats if b.t_ns >= since], list(self.failures))

    def last_gap_ms(self, across=False):
        """The newest gap between two consecutive heartbeats; across: the newest one in a move. 0 when there is none."""
        gaps = [g for g in self.report().gaps if g.moved or not across]
        return gaps[-1].ms if gaps else 0.0

    def restart_gap_s(self):
        """Seconds between the last heartbeat before and the first after the last restart (a cold move), the boot included."""
        with self._cond:
            pairs = [(a, b) for a, b in zip(self.beats, self.beats[1:]) if a.life != b.life]
        return (pairs[-1][1].t_ns - pairs[-1][0].t_ns) / 1e9 if pairs else 0.0

    def check(self, max_lost=0):
        """Nothing lost, nothing twice, no wrong byte; the report."""
        r = self.report()
        assert r.count and r.lost <= max_lost and not r.repeated and not r.failures, str(r)
        return r

    def stop(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._thread.join(30)
