"""Socket options that BGP needs: TCP MD5 (RFC 2385), time to live, GTSM (RFC 5082)."""

from __future__ import annotations

import errno
import pathlib
import socket
import struct

from bgp_ipvlan import errors, model

LONGEST_PASSWORD = 80
"""Octets: TCP_MD5SIG_MAXKEYLEN of linux/tcp.h."""
_TCP_MD5SIG_EXT, _FLAG_PREFIX = 32, 1
_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73
_MOST, _DEFAULT = 255, -1
_L3MDEV_ACCEPT = pathlib.Path("/proc/sys/net/ipv4/tcp_l3mdev_accept")


def set_password(sock: socket.socket, who: model.Prefix, password: str) -> None:
    """Demand and send TCP MD5 signatures with some addresses; an empty password ends that.

    Args:
        sock: of the addresses' family, listening or not yet connected.
        who: the other ends.
        password: the key.

    Raises:
        errors.EngineError: `password-unusable`; never is there a session without it instead.
    """
    key = password.encode()
    if len(key) > LONGEST_PASSWORD:
        raise _unusable(who, f"it has {len(key)} octets, TCP MD5 takes {LONGEST_PASSWORD}")
    if who.version == 4:
        address = struct.pack("=HH4s", socket.AF_INET, 0, who.network_address.packed)
    else:
        address = struct.pack("=HHI16s", socket.AF_INET6, 0, 0, who.network_address.packed)
    # struct tcp_md5sig: sockaddr_storage, flags, prefix length, key length, ifindex, key.
    option = struct.pack("=128sBBHi80s", address, _FLAG_PREFIX, who.prefixlen, len(key), 0, key)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG_EXT, option)
    except OSError as error:
        if not key and error.errno == errno.ENOENT:
            return  # there was none
        why = error.strerror or ""
        if error.errno == errno.ENOMEM:
            why = "the socket holds no more keys: raise sysctl net.core.optmem_max"
        raise _unusable(who, why) from None


def _unusable(who: model.Prefix, why: str) -> errors.EngineError:
    return errors.EngineError(
        "password-unusable",
        f"the password of neighbor {who} cannot be used: {why} (TCP MD5 needs a kernel with "
        f"CONFIG_TCP_MD5SIG); without it there is no session",
    )


def check_password(neighbor: model.NeighborConfig, who: model.Prefix) -> None:
    """Try a password on a socket that is used for nothing else.

    Raises:
        errors.EngineError: `password-unusable`.
    """
    if neighbor.password:
        with socket.socket(model.Family.of(who).af, socket.SOCK_STREAM) as sock:
            set_password(sock, who, neighbor.password)


def set_ttl(sock: socket.socket, neighbor: model.NeighborConfig, *, ebgp: bool) -> None:
    """Time to live of what we send, and the least of what we take.

    An external neighbour is on our wire unless `multihop` says how far it is, so that
    nobody farther away can pose as it. With GTSM both send with 255, and what
    comes with less than it can have left is dropped by the kernel.

    Args:
        sock: connected or not.
        neighbor: as configured.
        ebgp: whether it is in another AS.

    Raises:
        OSError: the connection is gone.
    """
    send, least = _DEFAULT, 0
    if neighbor.ttl_security:
        send, least = _MOST, _MOST + 1 - neighbor.multihop
    elif ebgp:
        send = neighbor.multihop
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, send)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, least)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, send)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, least)


def hears_vrfs() -> bool:
    """Whether a listening socket that is bound to no device is connected to within a VRF, too."""
    try:
        return int(_L3MDEV_ACCEPT.read_text()) != 0
    except FileNotFoundError:
        return True  # a kernel without VRFs


def send_far(sock: socket.socket) -> None:
    """A listening socket answers with TTL 255, or a neighbour with GTSM would drop the answer."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _MOST)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _MOST)
