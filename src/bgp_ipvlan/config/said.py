"""What one source says (flags and environment, or the file), each value checked by itself."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from bgp_ipvlan import errors, model
from bgp_ipvlan.config import neighbors as neighbors_
from bgp_ipvlan.config import passed, values

_Key = TypeVar("_Key")
_One = TypeVar("_One")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """See the module. None where nothing is said."""

    local_as: int | None = None
    router_id: ipaddress.IPv4Address | None = None
    neighbors: tuple[neighbors_.Draft, ...] = ()
    ranges: tuple[neighbors_.RangeDraft, ...] = ()
    listen_addresses: tuple[model.Address, ...] | None = None
    listen_port: int | None = None
    maximum_paths: int | None = None
    restart_time: int | None = None
    import_rules: tuple[model.PrefixRule, ...] | None = None
    accept: tuple[model.Prefix, ...] | None = None
    host_interface: str | None = None
    mode: model.Mode | None = None
    ipvlan_subnets: tuple[model.Prefix, ...] | None = None
    gateway: model.Address | None = None
    mtu: int | None = None
    table: int | None = None
    max_routes: int | None = None
    plugin_socket: pathlib.Path | None = None
    debug: bool | None = None
    engine: model.EngineKind | None = None
    gobgp_api: str | None = None
    gobgp_spawn: bool | None = None
    gobgp_command: str | None = None
    gobgp: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    """As in `Settings`."""
    warnings: tuple[str, ...] = ()


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "local_as": lambda where, value: values.number(where, value, values.AS_NUMBERS, "an AS number"),
    "router_id": values.router_id,
    "listen_addresses": lambda where, texts: tuple(values.address(where, text) for text in texts),
    "listen_port": lambda where, value: values.number(where, value, range(1 << 16)),
    "maximum_paths": lambda where, value: values.number(where, value, range(1, 257)),
    # Twelve bits in the capability (RFC 4724 section 3).
    "restart_time": lambda where, value: values.number(where, value, range(4096), "seconds"),
    "import_rules": values.rules,
    "accept": lambda where, texts: tuple(values.prefix(where, text) for text in texts),
    "mode": values.mode,
    "ipvlan_subnets": values.subnets,
    "gateway": values.address,
    # The least that IPv4 allows (RFC 791) to the most that a length field holds.
    "mtu": lambda where, value: values.number(where, value, range(68, 1 << 16), "octets"),
    "table": values.table,
    "max_routes": lambda where, value: values.number(where, value, range(1 << 32)),
    "plugin_socket": lambda _, text: pathlib.Path(text),
    "engine": values.engine,
    "gobgp_api": values.gobgp_api,
}


def plain(given: Mapping[str, Any], spelling: Mapping[str, str]) -> dict[str, Any]:
    """Check the settings that are one value, or a list of them.

    Args:
        given: field of `Said` → what was written.
        spelling: field → how the user knows it.

    Raises:
        errors.ConfigError: naming it.
    """
    return {
        field: _CHECKS[field](spelling[field], value) if field in _CHECKS else value
        for field, value in given.items()
    }


def merge(first: Said, second: Said) -> Said:
    """What both say; where they differ the first is right.

    Neighbours and ranges of both count; of one address or prefix, the first's.
    """
    fields = (field.name for field in dataclasses.fields(Said))
    both: dict[str, Any] = {
        name: getattr(second, name) if getattr(first, name) is None else getattr(first, name)
        for name in fields
    }
    known = {draft.address for draft in first.neighbors}
    both["neighbors"] += tuple(d for d in second.neighbors if d.address not in known)
    ranges = {draft.prefix for draft in first.ranges}
    both["ranges"] += tuple(d for d in second.ranges if d.prefix not in ranges)
    both["warnings"] += second.warnings
    if first.gobgp is None and second.gobgp is not None:
        both["gobgp"] = passed.without(second.gobgp, known, ranges)
    return Said(**both)


def each_once(
    where: str, found: Iterable[tuple[_Key, _One]], reason: str = "bad-neighbor"
) -> tuple[_One, ...]:
    """Refuse what one source says twice.

    Raises:
        errors.ConfigError: with that reason.
    """
    known: dict[_Key, _One] = {}
    for key, one in found:
        if key in known:
            raise errors.ConfigError(reason, f"{where} {key} is given twice")
        known[key] = one
    return tuple(known.values())
