"""Runs the test functions of one python file, one after the other, each with a fresh Env, and writes one JSON line per begin and
end to --result. Called by tests/run.py; by hand: python3 tests/lib/runfile.py tests/integration/test_x.py --build build."""
import argparse
import importlib.util
import json
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ballast  # noqa: E402


class Ended(BaseException):
    """The runner asked us to end; clean-up still happens."""


def on_term(_sig, _frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Ended("asked to end")


def run_one(fn, args, out):
    name, begin = fn.__name__, time.monotonic()
    print("=== %s" % name, flush=True)
    out({"begin": name})
    outcome, reason = "passed", ""
    env = ballast.Env(args.build, name, keep=args.keep)
    try:
        fn(env)
    except ballast.Skip as skip:
        outcome, reason = "skipped", str(skip)
    except BaseException as e:
        traceback.print_exc()
        outcome, reason = "failed", "%s: %s" % (type(e).__name__, e)
        env.failed()
        if not isinstance(e, Exception):
            raise
    finally:
        for problem in env.close():
            print("clean-up: %s" % problem, flush=True)
            if outcome == "passed":
                outcome, reason = "failed", "clean-up: " + problem
        seconds = time.monotonic() - begin
        print("=== %s %s in %.1f s %s" % (name, outcome, seconds, reason), flush=True)
        out({"name": name, "outcome": outcome, "reason": reason, "seconds": seconds})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--build", default="build")
    parser.add_argument("--result")
    parser.add_argument("--function")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    signal.signal(signal.SIGTERM, on_term)

    result = open(args.result, "a", encoding="utf-8") if args.result else None
    failures = []

    def out(row):
        if row.get("outcome") == "failed":
            failures.append(row)
        if result:
            result.write(json.dumps(row) + "\n")
            result.flush()

    spec = importlib.util.spec_from_file_location(os.path.basename(args.file)[:-3], args.file)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(os.path.abspath(args.file)))
    spec.loader.exec_module(module)
    for name, fn in list(vars(module).items()):  # in the file's order
        if name.startswith("test_") and callable(fn) and (not args.function or args.function in name):
            try:
                run_one(fn, args, out)
            except (Ended, KeyboardInterrupt):
                return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
