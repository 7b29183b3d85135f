#!/usr/bin/env python3
"""etcd_client.py write URL...: puts the numbers from 1 on, one after the other, each to the member that took the last one, to the next member when it
does not answer, until standard input ends. "acked N" for each that was acknowledged; one that was not is tried at each member, then given up:
"lost N". etcd_client.py read URL: every number that this member has in its own copy, one a line.
A process of its own, so that it can be started in a network namespace. etcd's JSON gateway."""
import base64
import http.client
import json
import select
import sys
import urllib.error
import urllib.request

PREFIX = "ballast/"
PERIOD_S = 0.02


def b64(text):
    return base64.b64encode(text.encode()).decode()


def call(url, what, body):
    rq = urllib.request.Request(url + "/v3/kv/" + what, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(rq, timeout=10) as answer:
        return json.load(answer)


def put(url, n):
    try:
        call(url, "put", {"key": b64(PREFIX + str(n)), "value": b64(str(n))})
        return True
    except (OSError, http.client.HTTPException, ValueError):
        return False


def write(urls):
    n = at = 0
    while not select.select([sys.stdin], [], [], PERIOD_S)[0]:
        n += 1
        for _ in urls:
            if put(urls[at], n):
                print("acked %d" % n, flush=True)
                break
            at = (at + 1) % len(urls)
        else:
            print("lost %d" % n, flush=True)


def read(url):
    end = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
    for kv in call(url, "range", {"key": b64(PREFIX), "range_end": b64(end), "serializable": True}).get("kvs", []):
        key, value = (base64.b64decode(kv[k]).decode() for k in ("key", "value"))
        assert key == PREFIX + value, (key, value)
        print(value)


if sys.argv[1] == "write":
    write(sys.argv[2:])
else:
    read(sys.argv[2])
