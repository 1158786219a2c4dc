"""How the state's records are written: JSON, which a neighbouring version can read.

Missing keys take the defaults and unknown ones are ignored. What cannot be read at all raises
one of `UNREADABLE`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import msgspec

from bgp_ipvlan import errors, model

UNREADABLE = (msgspec.MsgspecError, errors.BadRequest, ValueError, TypeError, LookupError)
"""What damaged records raise."""


def encode(record: model.Network | model.Endpoint | model.Pool | model.Lease) -> bytes:
    """Write a record."""
    return msgspec.json.encode(record, enc_hook=str)


def network(record: bytes) -> model.Network:
    """Read a network."""
    fields = _known(msgspec.json.decode(record, type=dict[str, Any]), model.Network)
    fields["subnets"] = tuple(
        model.Subnet(
            ipaddress.ip_network(one["prefix"]),
            None if one["gateway"] is None else ipaddress.ip_address(one["gateway"]),
        )
        for one in fields["subnets"]
    )
    for name, kind in (
        ("mode", model.Mode),
        ("flag", model.Flag),
        ("advertise", model.Advertise),
    ):
        if name in fields:
            fields[name] = kind(fields[name])
    if "bgp" in fields:
        fields["bgp"] = _bgp_options(msgspec.convert(fields["bgp"], dict[str, Any]))
    return model.Network(**fields)


def _bgp_options(found: dict[str, Any]) -> model.BgpOptions:
    fields = _known(found, model.BgpOptions)
    for name, read in (
        ("communities", int),
        ("large_communities", _large_community),
        ("next_hops", ipaddress.ip_address),
    ):
        if name in fields:
            fields[name] = tuple(map(read, fields[name]))
    if "start_gate" in fields:
        fields["start_gate"] = model.StartGate(fields["start_gate"])
    return model.BgpOptions(**fields)


def _large_community(found: list[int]) -> tuple[int, int, int]:
    first, second, third = map(int, found)
    return first, second, third


def endpoint(record: bytes) -> model.Endpoint:
    """Read an endpoint."""
    fields = _known(msgspec.json.decode(record, type=dict[str, Any]), model.Endpoint)
    fields["addresses"] = tuple(map(ipaddress.ip_interface, fields["addresses"]))
    fields["ports"] = tuple(model.Port(**one) for one in fields.get("ports", ()))
    fields["driver_options"] = tuple((k, v) for k, v in fields.get("driver_options", ()))
    return model.Endpoint(**fields)


def pool(record: bytes) -> model.Pool:
    """Read a pool."""
    fields = _known(msgspec.json.decode(record, type=dict[str, Any]), model.Pool)
    for name in ("prefix", "range"):
        fields[name] = ipaddress.ip_network(fields[name])
    if fields.get("last") is not None:
        fields["last"] = ipaddress.ip_address(fields["last"])
    return model.Pool(**fields)


def lease(record: bytes) -> model.Lease:
    """Read a lease."""
    fields = _known(msgspec.json.decode(record, type=dict[str, Any]), model.Lease)
    fields["address"] = ipaddress.ip_address(fields["address"])
    fields["holding"] = model.Holding(fields["holding"])
    return model.Lease(**fields)


def _known(found: dict[str, Any], kind: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {key: value for key, value in found.items() if key in names}
