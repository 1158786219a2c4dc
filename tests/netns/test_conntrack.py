"""Entries of an address go from the kernel's connection tracking; /proc/net/nf_conntrack is the witness."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Iterator

import pytest

from bgp_ipvlan.kernel import conntrack
from bgp_ipvlan.kernel import netlink as nl
from lab import namespace
from tests.netns import conftest as c

GONE = "10.1.1.2", "2001:db8:1::2"
STAYS = "10.1.1.3", "2001:db8:1::3"
THERE = "192.0.2.2", "2001:db8::2"
Flow = tuple[str, ...]
"""Source and destination of the first packet, and of what answers it."""
# 10.1.1.2 is seen on one side only: of what comes to 192.0.2.1, whose target it is; of what
# 10.1.1.9 says in its name; and of what it says itself to 192.0.2.3, in the host's name.
_RULES = """
table inet filter {
    chain input { type filter hook input priority 0; ct state new accept; }
}
table ip nat {
    chain pre { type nat hook prerouting priority -100; ip daddr 192.0.2.1 dnat to 10.1.1.2; }
    chain post {
        type nat hook postrouting priority 100;
        ip saddr 10.1.1.9 snat to 10.1.1.2;
        ip saddr 10.1.1.2 ip daddr 192.0.2.3 snat to 192.0.2.1;
    }
}
"""


@pytest.fixture
def pair() -> Iterator[tuple[namespace.Host, namespace.Host]]:
    """A host that tracks connections and has the containers' addresses itself, and another one."""
    with namespace.Lab() as lab:
        here, there = lab.host("here"), lab.host("there")
        lab.wire(
            namespace.Port(here, "eth1", ("192.0.2.1/24", "2001:db8::1/64")),
            namespace.Port(there, "eth1", ("192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64")),
        )
        for address in (*GONE, *STAYS, "10.1.1.9"):
            c.ip(here, f"address add {address} dev eth1" + " nodad" * (":" in address))
        c.ip(there, "route add 10.1.1.0/24 via 192.0.2.1")
        c.ip(there, "route add 2001:db8:1::/64 via 2001:db8::1")
        here.run("nft", _RULES)
        yield here, there


def flows(host: namespace.Host) -> set[Flow]:
    """All entries, but for what the hosts themselves have to say to each other."""
    table = host.run("cat", "/proc/net/nf_conntrack").stdout
    found = {
        tuple(str(ipaddress.ip_address(one)) for one in re.findall(r"(?:src|dst)=(\S+)", line))
        for line in table.splitlines()
    }
    return {flow for flow in found if any("1.1." in one or ":1::" in one for one in flow)}


def ping(host: namespace.Host, *argv: str) -> None:
    """One packet and its answer."""
    host.run("ping", "-n", "-q", "-c", "1", "-W", "5", *argv)


def forget(host: namespace.Host, *addresses: str) -> None:
    """Ask for it in the host's namespace."""

    async def main() -> None:
        await conntrack.KernelConntrack().forget([ipaddress.ip_address(a) for a in addresses])

    c.inside(host, main)


def test_entries_of_an_address_go(pair: tuple[namespace.Host, namespace.Host]) -> None:
    """Wherever it stands in them, NAT included, of both families at once; all others stay."""
    here, there = pair
    for gone, stays, other in zip(GONE, STAYS, THERE, strict=True):
        for address in (gone, stays):
            ping(here, "-I", address, other)
            ping(there, address)
    ping(there, "192.0.2.1")
    ping(here, "-I", "10.1.1.9", "192.0.2.2")
    ping(here, "-I", "10.1.1.2", "192.0.2.3")
    kept = {
        (a, b, b, a) for a, b in (*zip(STAYS, THERE, strict=True), *zip(THERE, STAYS, strict=True))
    }
    lost = {
        (a, b, b, a) for a, b in (*zip(GONE, THERE, strict=True), *zip(THERE, GONE, strict=True))
    }
    lost |= {
        ("192.0.2.2", "192.0.2.1", "10.1.1.2", "192.0.2.2"),
        ("10.1.1.9", "192.0.2.2", "192.0.2.2", "10.1.1.2"),
        ("10.1.1.2", "192.0.2.3", "192.0.2.3", "192.0.2.1"),
    }
    assert flows(here) == kept | lost

    forget(here, *GONE)

    assert flows(here) == kept


def test_many_entries_among_many(pair: tuple[namespace.Host, namespace.Host]) -> None:
    """A table that the kernel hands out in many parts, and more to delete than fits one request."""
    here, _ = pair
    others = [(f"10.9.{n // 200}.{n % 200 + 1}", "10.1.1.3") for n in range(10_000)]
    entries = others + [(f"10.8.{n // 200}.{n % 200 + 1}", "10.1.1.2") for n in range(1_000)]

    async def main() -> None:
        _fill(entries)

    c.inside(here, main)
    assert len(flows(here)) == 11_000

    forget(here, "10.1.1.2")

    assert flows(here) == {(a, b, b, a) for a, b in others}


def _fill(entries: list[tuple[str, str]]) -> None:
    """Make an entry for each pair of addresses, as conntrackd does (IPCTNL_MSG_CT_NEW)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as sock:
        for source, destination in entries:
            body = struct.pack("=BBH", socket.AF_INET, 0, 0)
            for kind, pair in ((1, (source, destination)), (2, (destination, source))):
                ends = (socket.inet_aton(end) for end in pair)
                ip = b"".join(nl.attribute(n, end) for n, end in enumerate(ends, start=1))
                udp = nl.attribute(1, b"\x11") + nl.attribute(2, b"\0\1") + nl.attribute(3, b"\0\1")
                both = nl.attribute(0x8001, ip) + nl.attribute(0x8002, udp)
                body += nl.attribute(0x8000 | kind, both)
            body += nl.attribute(7, struct.pack("!I", 600)) + nl.attribute(3, struct.pack("!I", 8))
            sock.send(nl.message(0x100, nl.NLM_F_CREATE | nl.NLM_F_EXCL, body))
        with pytest.raises(BlockingIOError):
            sock.recv(1 << 16, socket.MSG_DONTWAIT)  # nothing was refused
