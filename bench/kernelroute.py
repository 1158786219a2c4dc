"""Routes into the kernel one by one, and their coming seen: the two ends of one route's way.

`add` puts each sample into the kernel of its host, whose BIRD learns it from there; `watch`
listens on another host for the kernel's own word of each sample's route; `listen` hears of
all routes, and tells on SIGUSR1 how often one changed. By raw netlink, so that nothing
but the way itself is timed. Output as of `bench.speaker`.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import signal
import socket
import struct
import threading
import time

from bench import netlink, samples
from bench.sender import say

_IPV4_GROUP, _IPV6_GROUP = 0x40, 0x400  # RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_RECEIVE_BUFFER_FORCE = 33  # SO_RCVBUFFORCE
_AT = netlink.HEADER.size + netlink.ROUTE.size + 8 + 4
"""Where an IPv4 notification has the address: RTA_TABLE stands before RTA_DST."""


def add(count: int) -> None:
    """Put them in, one after the other."""
    requests = [netlink.blackhole(samples.address(n)) for n in range(count)]
    times = []
    with netlink.open_socket() as sock:
        for one in requests:
            times.append(time.monotonic())
            sock.send(one)
            time.sleep(samples.INTERVAL)
    say("announced", samples=times)


def watch(count: int) -> None:
    """See them come."""
    times = samples.Times(count)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        _let_samples_pass(sock)
        sock.bind((0, _IPV4_GROUP))
        say("started")
        while times.missing:
            for kind, body in netlink.messages(sock.recv(1 << 16)):
                if kind == netlink.NEWROUTE:
                    times.note(netlink.destination(body))
    say("seen", samples=times.values)


def _let_samples_pass(sock: socket.socket) -> None:
    """Have the kernel keep all other routes to itself: in a flood of them nothing could be timed."""
    prefix = int.from_bytes(ipaddress.ip_network(samples.RANGE).network_address.packed[:2])
    instructions = (
        struct.pack("=HBBI", 0x28, 0, 0, _AT),  # load the address's first two octets
        struct.pack("=HBBI", 0x15, 0, 1, prefix),  # equal, or skip one
        struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF),  # all of it
        struct.pack("=HBBI", 0x06, 0, 0, 0),  # nothing
    )
    code = ctypes.create_string_buffer(b"".join(instructions))
    # struct sock_fprog; the kernel has its own copy of the code when this returns.
    program = struct.pack("HL", len(instructions), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


def listen() -> None:
    """Count changes of routes until SIGUSR1."""
    changes, told = 0, threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: told.set())
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, 64 << 20)
        sock.bind((0, _IPV4_GROUP | _IPV6_GROUP))
        sock.settimeout(0.1)
        say("started")
        while True:
            try:
                changes += sum(1 for _ in netlink.messages(sock.recv(1 << 16)))
            except TimeoutError:
                # What was there to hear has been heard.
                if told.is_set():
                    break
    say("counted", changes=changes)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("add", "watch", "listen"))
    parser.add_argument("count", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    if arguments.what == "listen":
        listen()
    else:
        {"add": add, "watch": watch}[arguments.what](arguments.count)


if __name__ == "__main__":
    main()
