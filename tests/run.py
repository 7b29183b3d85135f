#!/usr/bin/env python3
"""Runs the tests: cmocka programs of BUILD/tests/unit, each fuzzer of BUILD/tests/fuzz with FUZZ_MUTANTS mutants (the same ones each
time; make fuzz goes on for longer), then the python files of tests/integration and tests/faults.

Each program and each python file is a process of its own with its own log in BUILD/tests/log; its time limit is only a guard
against hangs. A python file has functions test_*(env) and may say PARALLEL = True (it may run beside one other file) and
LIMIT_S = seconds. Prints a line per file, the reason of each failure and skip, and last 'N passed, N failed, N skipped'.
Exit 1 when anything failed or nothing ran."""
import argparse
import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

TESTS = os.path.dirname(os.path.abspath(__file__))
UNIT_LIMIT_S = 600
FILE_LIMIT_S = 1200
FUZZ_MUTANTS = 2000
KINDS = ("unit", "integration", "faults")
PRINT_LOCK = threading.Lock()


class Item:
    """One file to run, and what came of it: cases are (name, 'passed' | 'failed' | 'skipped', reason, seconds)."""

    def __init__(self, kind, name, path):
        self.kind, self.name, self.path = kind, name, path
        self.parallel, self.limit_s = kind == "unit", UNIT_LIMIT_S
        self.cases, self.seconds, self.log = [], 0.0, ""

    def count(self, what):
        return sum(1 for c in self.cases if c[1] == what)

    def fail(self, name, reason):
        self.cases.append((name, "failed", reason, 0.0))


def module_settings(item):
    """Read PARALLEL and LIMIT_S without running the module."""
    item.limit_s = FILE_LIMIT_S
    try:
        tree = ast.parse(open(item.path, encoding="utf-8").read())
    except SyntaxError:
        return
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == "PARALLEL":
                    item.parallel = bool(node.value.value)
                if isinstance(target, ast.Name) and target.id == "LIMIT_S":
                    item.limit_s = float(node.value.value)


def collect(build, only, match):
    items = []
    root = os.path.join(build, "tests", "unit")
    if only in (None, "unit"):
        for folder, _, names in sorted(os.walk(root)):
            for n in sorted(names):
                path = os.path.join(folder, n)
                source = os.path.join(TESTS, "unit", os.path.relpath(path, root) + ".c")
                if n.startswith("test_") and os.access(path, os.X_OK) and os.path.exists(source):
                    items.append(Item("unit", "unit/" + os.path.relpath(path, root), path))
        for n in sorted(os.listdir(os.path.join(TESTS, "fuzz"))):
            path = os.path.join(build, "tests", "fuzz", n[:-2])
            if n.startswith("fuzz_") and n.endswith(".c") and os.access(path, os.X_OK):
                items.append(Item("unit", "fuzz/" + n[:-2], path))
    for kind in ("integration", "faults"):
        folder = os.path.join(TESTS, kind)
        if only not in (None, kind) or not os.path.isdir(folder):
            continue
        for n in sorted(os.listdir(folder)):
            if n.startswith("test_") and n.endswith(".py"):
                items.append(Item(kind, kind + "/" + n[:-3], os.path.join(folder, n)))
                module_settings(items[-1])
    if match:
        name = match.split("::")[0]
        items = [i for i in items if name in i.name]
    return items


def end_group(proc):
    """Ask, wait (a python test cleans up what it started), then end the whole session."""
    for sig, wait_s in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
        try:
            os.killpg(proc.pid, sig)
        except ProcessLookupError:
            pass
        try:
            proc.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
    proc.wait()


def run_process(item, argv, env):
    """Run to the end with the log as output. Returns (exit status, text of the log, timed out)."""
    os.makedirs(os.path.dirname(item.log), exist_ok=True)
    timed_out = False
    with open(item.log, "wb") as log:
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env,
                                start_new_session=True)
        try:
            proc.wait(item.limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            end_group(proc)
        except BaseException:
            end_group(proc)
            raise
    with open(item.log, encoding="utf-8", errors="replace") as log:
        return proc.returncode, log.read(), timed_out


def ended(status):
    if status is not None and status < 0:
        try:
            return "ended by " + signal.Signals(-status).name
        except ValueError:
            return "ended by signal %d" % -status
    return "ended with status %s" % status


def reason_of(text):
    """The lines of a log that say most about a failure."""
    lines = [l for l in text.splitlines() if l.strip()]
    for i, l in enumerate(lines):
        if "ERROR: AddressSanitizer" in l or "ERROR: LeakSanitizer" in l or "runtime error:" in l or "WARNING: Thread" in l:
            return "\n".join(lines[i:i + 6])
    return "\n".join(lines[-4:])


TAP = re.compile(r"^(ok|not ok)\b\s*(?:\d+)?\s*(?:-\s*)?(.*)$")


def run_unit(item, args):
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", BUILD=args.build)
    status, text, timed_out = run_process(item, [item.path], env)
    why = "skip() in the test, which printed no 'SKIP: reason'"
    for line in text.splitlines():
        m = TAP.match(line)
        if line.startswith("SKIP: "):
            why = line[len("SKIP: "):]
        elif m:
            skip = "# SKIP" in m.group(2)
            name = m.group(2).replace("# SKIP", "").strip() or "case"
            outcome = "skipped" if skip else "passed" if m.group(1) == "ok" else "failed"
            item.cases.append([name, outcome, why if skip else "", 0.0])
        elif line.startswith("#") and item.cases and item.cases[-1][1] == "failed" and "not ok -" not in line:
            item.cases[-1][2] += ("\n" if item.cases[-1][2] else "") + line[1:].strip()
    if timed_out:
        item.fail("(program)", "no end within %d s" % item.limit_s)
    elif status != 0 and not item.count("failed"):
        item.fail("(program)", "%s\n%s" % (ended(status), reason_of(text)))
    elif not item.cases:
        item.fail("(program)", "it ran no test")


def fuzz_corpus(item):
    """What the fuzzer's source names after "corpus:", as make fuzz reads it."""
    with open(os.path.join(TESTS, "fuzz", os.path.basename(item.path) + ".c"), encoding="utf-8") as f:
        words = re.search(r"corpus: *([^*\n]*)", f.read()).group(1).split()
    return [os.path.join(os.path.dirname(TESTS), w) for w in words]


def run_fuzz(item, args):
    crash = item.log[:-4] + ".crash"
    argv = [item.path, "-n", str(FUZZ_MUTANTS)] + fuzz_corpus(item)
    status, text, timed_out = run_process(item, argv, dict(os.environ, FUZZ_CRASH=crash))
    if timed_out or status != 0:
        said = "no end within %d s" % item.limit_s if timed_out else ended(status)
        item.fail("inputs and mutants", "%s; the input is %s\n%s" % (said, crash, reason_of(text)))
    else:
        item.cases.append(("inputs and mutants", "passed", "", 0.0))


def run_python(item, args):
    result = item.log[:-4] + ".json"
    if os.path.exists(result):
        os.unlink(result)
    argv = [sys.executable, "-B", "-u", os.path.join(TESTS, "lib", "runfile.py"), item.path, "--build", args.build, "--result", result]
    if args.keep:
        argv.append("--keep")
    if args.match and "::" in args.match:
        argv += ["--function", args.match.split("::")[1]]
    status, text, timed_out = run_process(item, argv, dict(os.environ))
    try:
        with open(result, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
    except FileNotFoundError:
        rows = []
    for row in rows:
        if "begin" not in row:
            reason = "no end within %d s (LIMIT_S)" % item.limit_s if row["reason"].startswith("Ended:") else row["reason"]
            item.cases.append((row["name"], row["outcome"], reason, row["seconds"]))
    done = {c[0] for c in item.cases}
    for row in rows:
        if "begin" in row and row["begin"] not in done:
            item.fail(row["begin"], "no end within %d s (LIMIT_S)" % item.limit_s if timed_out else ended(status) + " in it")
    if timed_out and not item.count("failed"):
        item.fail("(file)", "no end within %d s (LIMIT_S)" % item.limit_s)
    elif status != 0 and not item.count("failed"):
        item.fail("(file)", "%s\n%s" % (ended(status), reason_of(text)))
    elif not item.cases:
        item.fail("(file)", "it has no test_*(env)" + (" that matches" if args.match and "::" in args.match else ""))


def show(item):
    n_failed, n_skipped = item.count("failed"), item.count("skipped")
    word = "FAIL" if n_failed else "skip" if n_skipped == len(item.cases) else "ok"
    detail = "%d passed" % item.count("passed")
    detail += ", %d failed" % n_failed if n_failed else ""
    detail += ", %d skipped" % n_skipped if n_skipped else ""
    with PRINT_LOCK:
        print("%-4s  %-44s %7.1f s  %s" % (word, item.name, item.seconds, detail))
        for name, outcome, reason, _ in item.cases:
            if outcome == "failed":
                print("      FAILED %s: %s" % (name, reason.replace("\n", "\n             ")))
            elif outcome == "skipped":
                print("      skipped %s: %s" % (name, reason))
        if n_failed:
            print("      log: %s" % item.log)
        sys.stdout.flush()


def run_item(item, args):
    item.log = os.path.join(args.build, "tests", "log", item.name.replace("/", "-") + ".log")
    begin = time.monotonic()
    (run_fuzz if item.name.startswith("fuzz/") else run_unit if item.kind == "unit" else run_python)(item, args)
    item.seconds = time.monotonic() - begin
    show(item)


def on_term(_sig, _frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--match", metavar="PATTERN", help="part of a file's name, or FILE::FUNCTION")
    parser.add_argument("--keep", action="store_true", help="leave each test's folder for a look")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    signal.signal(signal.SIGTERM, on_term)

    begin = time.monotonic()
    items = collect(args.build, args.only, args.match)
    for kind in KINDS:
        side = [i for i in items if i.kind == kind and i.parallel]
        if side:
            with ThreadPoolExecutor(max_workers=2) as pool:
                list(pool.map(lambda i: run_item(i, args), side))
        for item in (i for i in items if i.kind == kind and not i.parallel):
            run_item(item, args)
    passed, failed, skipped = (sum(i.count(w) for i in items) for w in ("passed", "failed", "skipped"))
    if not items:
        print("nothing to run below %s%s" % (args.build, " that matches" if args.match else ""))
    slow = sorted(items, key=lambda i: -i.seconds)[:3]
    if len(items) > 3:
        print("%.0f s; slowest: %s" % (time.monotonic() - begin, ", ".join("%s %.0f s" % (i.name, i.seconds) for i in slow)))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
