"""policysim: recorded decisions are re-decided bit-exactly; a changed plan and broken input are told apart by exit status."""
import glob
import json
import os
import shutil
import subprocess

PARALLEL = True
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "unit", "decide", "cases")


def sim(env, *args, stdin=None):
    return subprocess.run([os.path.join(env.build, "policysim"), *args], input=stdin, capture_output=True, text=True, timeout=60)


def recorded(env, paths):
    """Records as the daemon stores them: the tables' snapshots with the whole plan (the tables keep it without predicted figures)."""
    out = []
    for path in paths:
        snapshot = json.load(open(path))["snapshot"]
        r = sim(env, "decide", "--json", "-", stdin=json.dumps(snapshot))
        assert r.returncode == 0, r.stderr
        out.append({"snapshot": snapshot, "plan": json.loads(r.stdout)})
    return out


def cases():
    return sorted(glob.glob(os.path.join(CASES, "*.json")))


def test_replay_is_exact(env):
    records = recorded(env, cases())
    assert len(records) > 50
    path = os.path.join(env.tmp, "records.json")
    with open(path, "w") as f:
        json.dump(records, f)
    r = sim(env, "replay", path)
    assert r.returncode == 0, r.stdout + r.stderr
    assert r.stdout.splitlines()[-1] == "%d decisions as recorded, 0 not" % len(records), r.stdout


def test_replay_of_a_list_and_of_lines(env):
    records = recorded(env, cases()[:5])
    for text in (json.dumps(records), "\n".join(json.dumps(r) for r in records)):
        r = sim(env, "replay", "-", stdin=text)
        assert r.returncode == 0 and r.stdout == "5 decisions as recorded, 0 not\n", r.stdout + r.stderr


def test_replay_shows_what_differs(env):
    (record,) = recorded(env, [os.path.join(CASES, "cpu-donor.json")])
    record["plan"]["actions"][1]["vcpus"] = 7
    r = sim(env, "replay", "-", stdin=json.dumps(record))
    assert r.returncode == 1
    assert "actions[1].vcpus: 7, now 2" in r.stdout, r.stdout
    assert r.stdout.splitlines()[-1] == "0 decisions as recorded, 1 not"


def test_decide_speaks(env):
    r = sim(env, "decide", os.path.join(CASES, "move-cold.json"))
    assert r.returncode == 0 and "db1 moves cold to beta" in r.stdout, r.stdout
    r = sim(env, "decide", "--json", os.path.join(CASES, "move-cold.json"))
    assert json.loads(r.stdout)["actions"][0]["kind"] == "cold-move"


def test_bad_input(env):
    for text, says in (("", "is empty"), ("{", "not JSON"), ("{}", "not a recorded decision"), ('{"snapshot": {"x": 1}, "plan": {}}', "x: unknown key")):
        r = sim(env, "replay", "-", stdin=text)
        assert r.returncode == 1 and says in r.stderr, (text, r.stdout, r.stderr)
    assert sim(env, "replay", "/no/such/file").returncode == 1
    for args in ((), ("dance", "x"), ("replay",), ("decide", "--json")):
        assert sim(env, *args).returncode == 2, args


def test_another_policy(env):
    """The same recorded decisions under another policy file: what would be done otherwise, and mistakes of the file with their lines."""
    records = recorded(env, [p for p in cases() if os.path.basename(p) in ("cpu-free.json", "steady.json")])
    same, later, wrong = (os.path.join(env.tmp, n) for n in ("same.cfg", "later.cfg", "wrong.cfg"))
    with open(same, "w") as f:
        f.write('policies = ( { name = "std"; cpu = { util-upper = 80; util-lower = 30; attack = 2; decay = 1; }; memory = { }; } );\n')
    with open(later, "w") as f:
        f.write('policies = ( { name = "std"; cpu = { util-upper = 98; util-lower = 30; attack = 2; }; memory = { }; } );\n')
    with open(wrong, "w") as f:
        f.write('policies = ( { name = "std";\n  cpu = { util-uper = 98; }; } );\n')
    text = json.dumps(records)
    r = sim(env, "replay", "--policy", same, "-", stdin=text)
    assert r.returncode == 0 and r.stdout == "2 decisions as recorded, 0 otherwise\n", r.stdout + r.stderr
    r = sim(env, "replay", "--policy", later, "-", stdin=text)
    assert r.returncode == 0 and "- web1 -> 3 vcpus" in r.stdout and r.stdout.endswith("1 decision as recorded, 1 otherwise\n"), r.stdout + r.stderr
    r = sim(env, "replay", "--policy", wrong, "-", stdin=text)
    assert r.returncode == 1 and "wrong.cfg:2: policies[0].cpu.util-uper: unknown key" in r.stderr, r.stderr
    assert sim(env, "replay", "--policy", same).returncode == 2


# ---- test-policy ----

def policy_tests(env, name, *replaced):
    """A copy of examples/ with some words of one of its policy tests or of its policies replaced; the test file's path."""
    folder = os.path.join(env.tmp, "examples")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(os.path.join(ROOT, "examples"), folder)
    path = os.path.join(folder, "policy-tests", name)
    for part, was, now in replaced:
        where = path if part == "test" else os.path.join(folder, "policies.cfg")
        with open(where) as f:
            text = f.read()
        assert was in text, was
        with open(where, "w") as f:
            f.write(text.replace(was, now, 1))
    return path


def test_policy_tests_of_examples(env):
    """The shipped policies do what the shipped tests of them say, by both programs, without a daemon."""
    names = sorted(os.listdir(os.path.join(ROOT, "examples/policy-tests")))
    assert len(names) >= 2
    for name in names:
        path = os.path.join(ROOT, "examples/policy-tests", name)
        for argv in (["policyctl", "test-policy", path], ["policysim", "test-policy", path]):
            r = subprocess.run([os.path.join(env.build, argv[0]), *argv[1:]], capture_output=True, text=True, timeout=60)
            assert r.returncode == 0 and r.stdout.splitlines()[-1].endswith(" passed, 0 failed"), (r.stdout, r.stderr)
    got = json.loads(sim(env, "test-policy", "--json", path).stdout)
    assert got["passed"] > 3 and not got["failed"] and not got["failures"]


def test_policy_tests_that_fail(env):
    """Each way to be wrong is said in one sentence with what was done instead; exit 1."""
    for part, was, now, said in [
            ("policies", "util-upper = 80", "util-upper = 99", "grows-by-day: web1: expected set-vcpus 4 vcpus within 60..120 s; at "),
            ("policies", 'days = "Mon-Fri";', 'days = "Mon-Fri"; time-zone = "Asia/Tokyo";', "gives-back: web1: expected set-vcpus 3 vcpus"),
            ("policies", "decay = 1", "decay = 2", "gives-back: web1: expected set-vcpus 3 vcpus"),
            ("policies", "priority = 10;", "priority = 10; dry-run = true;", "grows-by-day: web1: expected set-vcpus 4 vcpus within 60..120 s; at "),
            ("policies", "priority = 10;", "priority = 10; enable = false;", "grows-by-day: web1: expected"),
            ("policies", "free-lower = 15", "free-lower = 5; reserve = 2", "memory: web1: expected set-memory"),
            ("test", 'to = "59s"', 'to = "100s"', "grows-by-day: web1: expected none within 0..100 s; at "),
            ("test", '{ domain = "web1";  action = "has";  vcpus = 3; }', '{ domain = "web1";  action = "has";  vcpus = 2; }',
             "gives-back: web1: expected has 2 vcpus within 0..600 s; it had 3 vcpus and 2.0G"),
            ("test", '{ at = "67s";  cpu = 100; }', '{ at = "167s";  cpu = 100; }', "short-peak: web1: expected none"),
            ("test", 'day = "Sun"', 'day = "Mon"', "sunday: web1: expected has 2 vcpus")]:
        if "Asia" in now and not os.path.exists("/usr/share/zoneinfo/Asia/Tokyo"):
            continue
        r = sim(env, "test-policy", policy_tests(env, "web.cfg", (part, was, now)))
        assert r.returncode == 1 and said in r.stdout, (now, r.stdout, r.stderr)
        lines = r.stdout.splitlines()
        assert lines[-1].split()[1:3] == ["passed,", str(len(lines) - 1)] and all(": expected " in line for line in lines[:-1]), lines
    r = sim(env, "test-policy", policy_tests(env, "neighbours.cfg", ("test", "nodes-elsewhere = 2", "nodes-elsewhere = 1")))
    assert r.returncode == 1 and "cold-move: db1: expected cold-move to beta within 0..240 s; nothing was done" in r.stdout, r.stdout
    dry = [("policies", "priority = 10;", "priority = 10; dry-run = true;"),
           ("test", 'vcpus = 4;  from = "60s";  to = "2m"; }', 'vcpus = 3;  from = "60s";  to = "2m";  dry-run = true; }')]
    assert "grows-by-day" not in sim(env, "test-policy", policy_tests(env, "web.cfg", *dry)).stdout


def test_policy_tests_with_mistakes(env):
    """All mistakes of the file or of its policies with their lines, exit 2; nothing is run."""
    r = sim(env, "test-policy", policy_tests(env, "web.cfg", ("test", 'domain = "web1";  action = "none"', 'domain = "web7";  action = "nope"'),
                                             ("test", 'length = "10m"', 'length = "1m"'), ("test", '{ at = "30s";  cpu = 90; }', '{ at = "0s";  cpu = 90; }')))
    assert r.returncode == 2 and not r.stdout, (r.stdout, r.stderr)
    for part in ('web.cfg:8: tests[0].expect[0].action: "nope" is not a known word', 'tests[0].expect[0].domain: the test has no domain "web7"',
                 "tests[1].expect[0].to: is before from, or after the test's end", "tests[1].domains[0].samples[1].at: is not after the sample before it",
                 "mistakes; nothing was tested"):
        assert part in r.stderr, (part, r.stderr)
    r = sim(env, "test-policy", policy_tests(env, "web.cfg", ("policies", "util-upper = 80", "util-uper = 80")))
    assert r.returncode == 2 and 'did you mean "util-upper"?' in r.stderr and "policies.cfg:7" in r.stderr, r.stderr
    for args in (["/nonexistent.cfg"], [], ["a", "b"], ["--what"]):
        assert sim(env, "test-policy", *args).returncode == 2
