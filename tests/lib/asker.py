#!/usr/bin/env python3
"""asker.py ADDRESS PATH [COUNT]: GETs one after the other, each on a connection of its own, until standard input ends (or COUNT are done); a line
each: "ok BODY" or "failed WHY". A process of its own, so that it can be started in a network namespace."""
import http.client
import select
import sys

PERIOD_S = 0.05


def ask(address, path):
    c = http.client.HTTPConnection(address, 80, timeout=60)
    try:
        c.request("GET", path)
        answer = c.getresponse()
        body = answer.read().decode(errors="replace").strip()
        return "ok " + body if answer.status == 200 else "failed %d %s" % (answer.status, answer.reason)
    except (OSError, http.client.HTTPException) as e:
        return "failed %s: %s" % (type(e).__name__, e)
    finally:
        c.close()


def main():
    address, path, left = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None
    while left != 0:
        print(ask(address, path), flush=True)
        if left:
            left -= 1
        elif select.select([sys.stdin], [], [], PERIOD_S)[0]:
            break


main()
