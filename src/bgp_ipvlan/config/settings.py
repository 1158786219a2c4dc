"""The checked configuration, and how it comes from what several sources say."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from bgp_ipvlan import errors, model
from bgp_ipvlan.config import neighbors as neighbors_
from bgp_ipvlan.config import values

PLUGIN_SOCKET = pathlib.Path("/run/docker/plugins/bgp-ipvlan.sock")
CONTROL_SOCKET = pathlib.Path("/run/bgp-ipvlan/control.sock")
STATE_DIR = pathlib.Path("/var/lib/bgp-ipvlan")

_Key = TypeVar("_Key")
_One = TypeVar("_One")
_SPEAKER = model.SpeakerConfig(local_as=0, router_id=ipaddress.IPv4Address(0))
"""The defaults of a speaker."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A checked configuration."""

    local_as: int = 0
    """0 when there is no neighbour to talk to."""
    router_id: ipaddress.IPv4Address | None = None
    neighbors: tuple[model.NeighborConfig, ...] = ()
    dynamic: tuple[model.DynamicNeighbors, ...] = ()
    import_rules: tuple[model.PrefixRule, ...] | None = None
    """Each neighbour has them already; here for those that come later."""
    listen_addresses: tuple[model.Address, ...] = _SPEAKER.listen_addresses
    listen_port: int = _SPEAKER.listen_port
    maximum_paths: int = _SPEAKER.maximum_paths
    restart_time: int = _SPEAKER.restart_time
    host_interface: str | None = None
    mode: model.Mode = model.Mode.L3
    ipvlan_subnet: model.Prefix | None = None
    gateway: model.Address | None = None
    mtu: int | None = None
    table: int = model.MAIN
    """The kernel's routing table for our routes, outside any VRF."""
    max_routes: int = 1_000_000
    """Routes we put into the kernel, per family, those of our networks included; 0 is no limit."""
    plugin_socket: pathlib.Path = PLUGIN_SOCKET
    control_socket: pathlib.Path = CONTROL_SOCKET
    state_dir: pathlib.Path = STATE_DIR
    debug: bool = False
    engine: model.EngineKind = model.EngineKind.EMBEDDED
    gobgp_api: str = "127.0.0.1:50051"
    """Where a running gobgpd is asked: HOST:PORT or unix:PATH."""
    gobgp_spawn: bool = False
    """Start a gobgpd and look after it, instead of asking one that runs."""
    gobgp_command: str = "gobgpd"
    """Which program that is."""
    accept: tuple[model.Prefix, ...] = ()
    """Default or martian prefixes that may be learned all the same (D10)."""
    config_file: pathlib.Path | None = None
    """The file that was read, if any."""
    warnings: tuple[str, ...] = ()
    """What the configuration asks and does not get, each with its reason code."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one source says, each value checked by itself; None where it says nothing."""

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
    ipvlan_subnet: model.Prefix | None = None
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
    "ipvlan_subnet": values.prefix,
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
    return Said(**both)


def complete(said: Said) -> Settings:
    """Defaults for what nobody said, and what must fit together.

    Raises:
        errors.ConfigError: naming flag or key, and the remedy.
    """
    if said.local_as is None and (said.neighbors or said.ranges):
        raise errors.ConfigError(
            "no-as",
            "a neighbor needs this host's own AS number: --as, for example --as 64512, or as in "
            "the file's [global.config]",
        )
    local_as, rules = said.local_as or 0, said.import_rules
    given: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(Said)
        if field.name != "ranges" and (value := getattr(said, field.name)) is not None
    }
    settings = Settings(
        **given
        | {
            "neighbors": tuple(draft.complete(local_as, rules) for draft in said.neighbors),
            "dynamic": tuple(draft.complete(local_as, rules) for draft in said.ranges),
            "warnings": (
                *said.warnings,
                *(text for draft in said.neighbors for text in draft.warnings),
                *(text for one in said.ranges for text in one.draft.warnings),
            ),
        }
    )
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    gateway, subnet = settings.gateway, settings.ipvlan_subnet
    if gateway is not None and subnet is not None and gateway not in subnet:
        raise errors.ConfigError(
            "bad-value", f"gateway {gateway}: expected an address inside ipvlan-subnet {subnet}"
        )
    check_reachable(settings, settings.neighbors)


def check_reachable(settings: Settings, neighbors: Iterable[model.NeighborConfig]) -> None:
    """Who is to connect to us must find us listening.

    Raises:
        errors.ConfigError: `not-listening`.
    """
    listening = {address.version for address in settings.listen_addresses}
    if settings.listen_port == 0:
        listening = set()
    waiting = [(f"neighbor {n.address}", n.address.version) for n in neighbors if n.passive]
    waiting += [(f"neighbor-range {d.prefix}", d.prefix.version) for d in settings.dynamic]
    for name, version in waiting:
        if version not in listening:
            raise errors.ConfigError(
                "not-listening",
                f"{name} is to connect to us, but we do not listen on IPv{version}: correct "
                f"listen and listen-port, or let us connect",
            )


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
