"""Which routing tables the rules (`ip rule`) lead to. Numbers are from linux/fib_rules.h."""

from __future__ import annotations

import errno
import socket

from bgp_ipvlan import model
from bgp_ipvlan.kernel import netlink as nl

_FRA_TABLE, _FRA_L3MDEV = 15, 19
_FR_ACT_TO_TBL = 1
_TABLE, _ACTION = 4, 7
"""Offsets in fib_rule_hdr."""
_WITHOUT = {errno.EOPNOTSUPP, errno.EAFNOSUPPORT}
"""Answers of a kernel without rules, or without the family."""


def read(sock: socket.socket, family: model.Family) -> model.Rules:
    """The rules of a family, whatever packets they are for.

    Raises:
        OSError: the kernel's answer.
    """
    try:
        found = nl.table(sock, nl.RTM_GETRULE, nl.RTMSG.pack(family.af, 0, 0, 0, 0, 0, 0, 0, 0))
    except OSError as error:
        if error.errno in _WITHOUT:
            return model.Rules(frozenset({model.MAIN}))
        raise
    tables, l3mdev = set(), False
    for body in found:
        attributes = nl.attributes(body, nl.RTMSG.size)
        if nl.number(attributes.get(_FRA_L3MDEV, b"")):
            l3mdev = True
        elif body[_ACTION] == _FR_ACT_TO_TBL:
            number = attributes.get(_FRA_TABLE)
            tables.add(body[_TABLE] if number is None else nl.number(number))
    return model.Rules(frozenset(tables), l3mdev=l3mdev)
