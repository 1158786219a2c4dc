"""The fastest way there is from Python: packed routes through one nexthop object, and no BGP.

What every speaker's figures are held against. Output and signals as of `bench.sender --held`:
SIGUSR1 lets the routes go, SIGUSR2 deletes the nexthop object, and the routes with it.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket

from bench import netlink, wire
from bench.sender import say

CHUNK = 256
"""Routes per send. From 64 to 2,048 it made less than 3 % of difference, and so did messages
that were built before: building them costs little beside what the kernel does."""
_NEXTHOP, _PROTOCOL, _METRIC = 4711, 179, 17900


def fill(
    sock: socket.socket, routes: int, gateway: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    """Write them all.

    Raises:
        OSError: the kernel refused one.
    """
    addresses = [wire.address(number, version=gateway.version) for number in range(routes)]
    head, tail = netlink.through(len(gateway.packed), _PROTOCOL, _NEXTHOP, metric=_METRIC)
    between = tail + head
    say("first")
    for at in range(0, routes, CHUNK):
        sock.send(head + between.join(addresses[at : at + CHUNK]) + tail)
    if code := netlink.refused(sock):
        raise OSError(code, os.strerror(code))


def main() -> None:
    """Read the command line and do as the signals say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("routes", type=int)
    parser.add_argument("gateway", type=ipaddress.ip_address)
    parser.add_argument("interface")
    arguments = parser.parse_args()
    signals = {signal.SIGUSR1, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with netlink.open_socket() as sock:
        index = socket.if_nametoindex(arguments.interface)
        sock.send(netlink.new_nexthop(_NEXTHOP, arguments.gateway.packed, index))
        netlink.check(sock.recv(1 << 16))
        say("ready")
        while signal.sigwait(signals) is signal.SIGUSR1:
            fill(sock, arguments.routes, arguments.gateway)
        say("closed")
        sock.send(netlink.delete_nexthop(_NEXTHOP))
        netlink.check(sock.recv(1 << 16))


if __name__ == "__main__":
    main()
