#!/usr/bin/env python3
"""pinger.py ADDRESS: echo requests every 10 ms until standard input ends; then one line: sent, answered, longest time without an answer.
A process of its own, so that it can be started in a network namespace (ballast's Pinger does that)."""
import select
import socket
import struct
import sys
import time

PERIOD_S = 0.01


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def request(seq):
    head = struct.pack("!BBHHH", 8, 0, 0, 77, seq & 0xffff)
    return struct.pack("!BBHHH", 8, 0, checksum(head), 77, seq & 0xffff)


def main():
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sent = answered = 0
    last = worst = None
    due = time.monotonic()
    while True:
        ready, _, _ = select.select([s, sys.stdin], [], [], max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if sys.stdin in ready and not sys.stdin.read(1):
            break
        if s in ready:
            data, who = s.recvfrom(2048)
            if who[0] == sys.argv[1] and data[20] == 0:
                answered += 1
                if last is None:
                    print("first", flush=True)
                    worst = 0.0
                else:
                    worst = max(worst, now - last)
                last = now
        if now >= due:
            due = max(due + PERIOD_S, now)
            sent += 1
            try:
                s.sendto(request(sent), (sys.argv[1], 0))
            except OSError:
                pass  # no neighbour yet
    print("%d %d %.1f" % (sent, answered, 1000 * max(worst or 0.0, time.monotonic() - last) if last else -1.0), flush=True)


main()
