"""Addresses, prefixes, and the NLRI key of every large table."""

from __future__ import annotations

import enum
import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Nlri = bytes
"""A prefix as BGP writes it (RFC 4271 section 4.3): one octet of length in
bits, then as few octets as hold that many bits, host bits zero. It is the key
of every large table here, because it needs no object of its own (D2)."""


class Family(enum.IntEnum):
    """Address families, by their BGP AFI number (RFC 4760; SAFI is always unicast)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.IPV4 else 128

    @property
    def af(self) -> int:
        """The kernel's number for it, AF_INET or AF_INET6."""
        return socket.AF_INET if self is Family.IPV4 else socket.AF_INET6

    @staticmethod
    def of(value: Address | Interface | Prefix) -> Family:
        """Family of any `ipaddress` value."""
        return Family.IPV4 if value.version == 4 else Family.IPV6


def nlri(prefix: Prefix) -> Nlri:
    """Encode a prefix as its table key."""
    length = prefix.prefixlen
    return bytes((length,)) + prefix.network_address.packed[: (length + 7) // 8]


def prefix(family: Family, key: Nlri) -> Prefix:
    """Decode a table key.

    Raises:
        ValueError: the key is no canonical prefix of that family.
    """
    packed = key[1:].ljust(family.bits // 8, b"\0")
    if family is Family.IPV4:
        return ipaddress.IPv4Network((packed, key[0]))
    return ipaddress.IPv6Network((packed, key[0]))
