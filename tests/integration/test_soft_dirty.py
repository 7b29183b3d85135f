"""The soft-dirty tracker where it is needed: on a kernel before 6.7. The guest's kernel is one (Debian 12's), so it is booted with the tracker and a
process to track as its only program (soft_drive.c). On a host whose own kernel has soft-dirty marks nothing more is needed than this."""
import re

import tiny

PARALLEL = True
LIMIT_S = 300


def test_tracks_every_write(env):
    out = tiny.run(env, "soft_drive", 2)
    assert "SOFT end" in out, out[-2000:]
    name, compared, copied, stale = re.search(r"SOFT tracker (\S+): (\d+) comparisons, (\d+) pages copied, (\d+) stale", out).groups()
    careless = int(re.search(r"SOFT without holding it still: (\d+) stale", out).group(1))
    assert name == "soft-dirty" and int(compared) and int(copied) > 8192, out
    assert int(stale) == 0, "%s pages were written and not seen" % stale
    assert careless > 0, "the same without holding the process still must lose writes; else nothing was proved"
