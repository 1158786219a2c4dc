"""Links as the kernel writes them: what they say of a VRF."""

from __future__ import annotations

from bgp_ipvlan.kernel import devices
from bgp_ipvlan.kernel import netlink as nl


def link(slave_kind: str, *data: bytes) -> bytes:
    """One that is in something: a VRF, a bridge, a bond."""
    info = nl.attribute(devices.IFLA_INFO_KIND, b"veth\0")
    info += nl.attribute(devices.IFLA_INFO_SLAVE_KIND, slave_kind.encode() + b"\0")
    info += nl.attribute(devices.IFLA_INFO_SLAVE_DATA, b"".join(data))
    return (
        devices.IFINFOMSG.pack(0, 0, 3, 1, 0)
        + nl.attribute(devices.IFLA_IFNAME, b"eth1\0")
        + nl.u32(devices.IFLA_MASTER, 7)
        + nl.attribute(devices.IFLA_LINKINFO, info)
    )


def test_in_a_vrf() -> None:
    """Its index and its table, which may be above 255."""
    found = devices.read_link(link("vrf", nl.u32(devices.IFLA_VRF_PORT_TABLE, 1000)))

    assert (found.kind, found.vrf, found.table) == ("veth", 7, 1000)


def test_in_something_else() -> None:
    """A bridge's port has attributes of its own, with the same numbers."""
    found = devices.read_link(link("bridge", nl.u32(1, 3)))

    assert (found.vrf, found.table) == (0, 0)


def test_a_link_to_be_made_in_a_vrf() -> None:
    """Its master goes with the request that makes it; none is not 0."""
    inside = nl.attributes(devices.ipvlan("bi1", vrf=7), devices.IFINFOMSG.size)
    outside = nl.attributes(devices.ipvlan("bi1"), devices.IFINFOMSG.size)

    assert nl.number(inside[devices.IFLA_MASTER]) == 7
    assert devices.IFLA_MASTER not in outside
