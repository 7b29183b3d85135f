"""Caps and weights where the host has cgroup v2: resize/cap.c as the init of a machine that has (cap_drive.c), on one CPU that two processes want whole."""
import re

import tiny

LIMIT_S = 300


def test_caps_and_weights(env):
    out = tiny.run(env, "cap_drive", 1)
    assert "CAP end" in out and "CAP kind v2" in out, out[-2000:]
    got = {what: (int(a), int(b)) for what, a, b in re.findall(r"CAP ([a-z0-9 ]+): (\d+) (\d+)", out)}
    assert out.count("CAP groups gone") == 2 and "CAP swept 1" in out, out
    for what in ("free", "lifted", "closed", "swept"):
        assert all(35 < n < 65 for n in got[what]), (what, got)
    capped, other = got["first capped to 30"]
    assert 20 < capped < 36 and other > 55, got
    heavy, light = got["weighed 3 to 1"]
    assert 2.2 < heavy / light < 4, got
