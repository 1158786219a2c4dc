"""Routes into the kernel one by one, and their coming seen: the two ends of BIRD to BIRD.

`add` puts each sample into the kernel of its host, whose BIRD learns it from there; `watch`
listens on another host for the kernel's own word of the route that BIRD installed. By raw
netlink, so that nothing but the way itself is timed. Output as of `bench.speaker`.
"""

from __future__ import annotations

import argparse
import ipaddress
import socket
import struct
import time
from collections.abc import Iterator

from bench import samples
from bench.sender import say

# linux/netlink.h and linux/rtnetlink.h
_ROUTE_GROUP = 0x40  # RTMGRP_IPV4_ROUTE
_NEWROUTE = 24
_REQUEST_CREATE_EXCL = 0x1 | 0x400 | 0x200
_MAIN, _STATIC, _BLACKHOLE = 254, 4, 6
_DST = 1
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")


def request(address: bytes) -> bytes:
    """RTM_NEWROUTE: a blackhole for one host, in the main table."""
    route = _ROUTE.pack(socket.AF_INET, 32, 0, 0, _MAIN, _STATIC, 0, _BLACKHOLE, 0)
    body = route + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _DST) + address
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, _NEWROUTE, _REQUEST_CREATE_EXCL, 0, 0) + body


def destinations(data: bytes) -> Iterator[bytes]:
    """RTA_DST of each RTM_NEWROUTE in a datagram."""
    start = 0
    while start < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, start)
        if kind == _NEWROUTE:
            at, end = start + _HEADER.size + _ROUTE.size, start + length
            while at < end:
                size, attribute = _ATTRIBUTE.unpack_from(data, at)
                if attribute == _DST:
                    yield data[at + _ATTRIBUTE.size : at + size]
                at += (size + 3) & ~3
        start += (length + 3) & ~3


def add(count: int) -> None:
    """Put them in, one after the other."""
    requests = [
        request(ipaddress.IPv4Network(samples.prefix(n)).network_address.packed)
        for n in range(count)
    ]
    times = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        for one in requests:
            times.append(time.monotonic())
            sock.send(one)
            time.sleep(samples.INTERVAL)
    say("announced", samples=times)


def watch(count: int) -> None:
    """See them come."""
    times = samples.Times(count)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, _ROUTE_GROUP))
        say("started")
        while times.missing:
            for address in destinations(sock.recv(1 << 16)):
                times.note(address)
    say("seen", samples=times.values)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("add", "watch"))
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    {"add": add, "watch": watch}[arguments.what](arguments.count)


if __name__ == "__main__":
    main()
