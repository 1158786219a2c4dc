"""The checked configuration: what all sources say together, with defaults."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from bgp_ipvlan import errors, model
from bgp_ipvlan.config import engines
from bgp_ipvlan.config import said as said_

PLUGIN_SOCKET = pathlib.Path("/run/docker/plugins/bgp-ipvlan.sock")
CONTROL_SOCKET = pathlib.Path("/run/bgp-ipvlan/control.sock")
STATE_DIR = pathlib.Path("/var/lib/bgp-ipvlan")

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
    ipvlan_subnets: tuple[model.Prefix, ...] = ()
    """Where networks have to be, at most one per family."""
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
    gobgp: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    """GoBGP's own tables of the file, for a gobgpd that we start; passwords are among it."""
    accept: tuple[model.Prefix, ...] = ()
    """Default or martian prefixes that may be learned all the same (D10)."""
    config_file: pathlib.Path | None = None
    """The file that was read, if any."""
    warnings: tuple[str, ...] = ()
    """What the configuration asks and does not get, each with its reason code."""


def complete(said: said_.Said) -> Settings:
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
    warnings = engines.check(said)
    local_as, rules = said.local_as or 0, said.import_rules
    given: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(said_.Said)
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
                *warnings,
            ),
        }
    )
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    gateway = settings.gateway
    for subnet in settings.ipvlan_subnets:
        if gateway is not None and gateway.version == subnet.version and gateway not in subnet:
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
