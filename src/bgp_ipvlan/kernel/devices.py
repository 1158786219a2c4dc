"""Links and addresses as netlink messages, to be sent and as read. Pure.

Numbers are from linux/if_link.h, if_addr.h and rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import struct

from bgp_ipvlan import model
from bgp_ipvlan.kernel import netlink as nl

IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 3, 4, 5, 10, 18, 20
IFLA_GROUP, IFLA_LINK_NETNSID = 27, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS = 1, 2
IFLA_VRF_PORT_TABLE = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFINFOMSG = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, which of the flags to change."""
IFADDRMSG = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, index."""
IPVLAN, VRF = "ipvlan", "vrf"
MODES = (model.Mode.L2, model.Mode.L3, model.Mode.L3S)
"""By IFLA_IPVLAN_MODE."""
FLAGS = (model.Flag.BRIDGE, model.Flag.PRIVATE, model.Flag.VEPA)
"""By IFLA_IPVLAN_FLAGS."""
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000

ALL_LINKS = IFINFOMSG.pack(0, 0, 0, 0, 0)
ALL_ADDRESSES = IFADDRMSG.pack(0, 0, 0, 0, 0)


def ipvlan(
    name: str,
    data: bytes = b"",
    *,
    parent: int = 0,
    vrf: int = 0,
    group: int = 0,
    mtu: int | None = None,
) -> bytes:
    """Body of an RTM_NEWLINK that makes an ipvlan link.

    Args:
        name: of the link.
        data: its mode and flag, from `ipvlan_data`.
        parent: index; 0 for none, which no kernel accepts.
        vrf: index of the VRF to put it in; 0 for none.
        group: link group.
        mtu: octets; None for the parent's.
    """
    info = nl.attribute(IFLA_INFO_KIND, IPVLAN.encode()) + nl.attribute(IFLA_INFO_DATA, data)
    return (
        _about(0)
        + nl.attribute(IFLA_IFNAME, _text(name))
        + (nl.u32(IFLA_LINK, parent) if parent else b"")
        + (nl.u32(IFLA_MASTER, vrf) if vrf else b"")
        + (b"" if mtu is None else nl.u32(IFLA_MTU, mtu))
        + nl.u32(IFLA_GROUP, group)
        + nl.attribute(IFLA_LINKINFO, info)
    )


def ipvlan_data(mode: model.Mode, flag: model.Flag) -> bytes:
    """IFLA_INFO_DATA of an ipvlan link."""
    values = (IFLA_IPVLAN_MODE, MODES.index(mode)), (IFLA_IPVLAN_FLAGS, FLAGS.index(flag))
    return b"".join(nl.attribute(kind, struct.pack("=H", value)) for kind, value in values)


def by_name(name: str) -> bytes:
    """Body of an RTM_GETLINK."""
    return _about(0) + nl.attribute(IFLA_IFNAME, _text(name))


def by_index(index: int) -> bytes:
    """Body of an RTM_GETLINK or RTM_DELLINK."""
    return _about(index)


def alias(index: int, text: str) -> bytes:
    """Body of an RTM_NEWLINK that names a link."""
    return _about(index) + nl.attribute(IFLA_IFALIAS, text.encode())


def up(index: int) -> bytes:
    """Body of an RTM_NEWLINK that sets a link up."""
    return IFINFOMSG.pack(0, 0, index, _IFF_UP, _IFF_UP)


def address(index: int, interface: model.Interface) -> bytes:
    """Body of an RTM_NEWADDR."""
    family = model.Family.of(interface).af
    packed = interface.ip.packed
    return (
        IFADDRMSG.pack(family, interface.network.prefixlen, 0, 0, index)
        + nl.attribute(IFA_LOCAL, packed)
        + nl.attribute(IFA_ADDRESS, packed)
    )


def read_link(body: bytes, addresses: tuple[model.Interface, ...] = ()) -> model.Link:
    """A link out of an RTM_NEWLINK, with its addresses, which do not stand there."""
    _, _, index, flags, _ = IFINFOMSG.unpack_from(body)
    found = nl.attributes(body, IFINFOMSG.size)
    vrf, table = _vrf(found)
    return model.Link(
        index=index,
        name=nl.text(found[IFLA_IFNAME]),
        kind=info(found)[0],
        alias=nl.text(found.get(IFLA_IFALIAS, b"")),
        mtu=nl.number(found.get(IFLA_MTU, b"")),
        up=bool(flags & _IFF_UP),
        running=bool(flags & _IFF_LOWER_UP),
        parent_index=nl.number(found.get(IFLA_LINK, b"")),
        group=nl.number(found.get(IFLA_GROUP, b"")),
        vrf=vrf,
        table=table,
        addresses=addresses,
    )


def info(attributes: dict[int, bytes]) -> tuple[str, dict[int, bytes]]:
    """Kind of a link and what its driver says, out of its attributes; "" for hardware."""
    found = nl.attributes(attributes.get(IFLA_LINKINFO, b""), 0)
    kind = nl.text(found.get(IFLA_INFO_KIND, b""))
    return kind, nl.attributes(found.get(IFLA_INFO_DATA, b""), 0)


def _vrf(attributes: dict[int, bytes]) -> tuple[int, int]:
    """Index and table of the VRF that a link is in; what it is in may be a bridge as well."""
    found = nl.attributes(attributes.get(IFLA_LINKINFO, b""), 0)
    if nl.text(found.get(IFLA_INFO_SLAVE_KIND, b"")) != VRF:
        return 0, 0
    port = nl.attributes(found.get(IFLA_INFO_SLAVE_DATA, b""), 0)
    table = nl.number(port.get(IFLA_VRF_PORT_TABLE, b""))
    return nl.number(attributes.get(IFLA_MASTER, b"")), table


def read_address(body: bytes) -> tuple[int, model.Interface]:
    """Index of the link, and the address, out of an RTM_NEWADDR."""
    _, length, _, _, index = IFADDRMSG.unpack_from(body)
    found = nl.attributes(body, IFADDRMSG.size)
    # On a point-to-point link IFA_ADDRESS is the other end, IFA_LOCAL always ours.
    packed = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    return index, ipaddress.ip_interface((packed, length))


def _about(index: int) -> bytes:
    return IFINFOMSG.pack(0, 0, index, 0, 0)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
