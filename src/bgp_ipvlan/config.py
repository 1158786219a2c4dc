"""What the administrator asked for, checked once: flags and environment → `Settings`.

Nothing here looks at the machine; what needs a look (does the interface exist, which
address is the router id) is checked where the machine is read, in `app`.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import pathlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from bgp_ipvlan import errors, model

PLUGIN_SOCKET = pathlib.Path("/run/docker/plugins/bgp-ipvlan.sock")
CONTROL_SOCKET = pathlib.Path("/run/bgp-ipvlan/control.sock")
STATE_DIR = pathlib.Path("/var/lib/bgp-ipvlan")

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A checked configuration."""

    local_as: int = 0
    """0 when there is no neighbour to talk to."""
    router_id: ipaddress.IPv4Address | None = None
    neighbors: tuple[model.NeighborConfig, ...] = ()
    host_interface: str | None = None
    mode: model.Mode = model.Mode.L3
    ipvlan_subnet: model.Prefix | None = None
    gateway: model.Address | None = None
    mtu: int | None = None
    plugin_socket: pathlib.Path = PLUGIN_SOCKET
    control_socket: pathlib.Path = CONTROL_SOCKET
    state_dir: pathlib.Path = STATE_DIR
    debug: bool = False
    accept: tuple[model.Prefix, ...] = ()
    """Default or martian prefixes that may be learned all the same (D10)."""


def build(
    *,
    local_as: int | None = None,
    router_id: str | None = None,
    neighbors: Iterable[str] = (),
    mode: str = "l3",
    ipvlan_subnet: str | None = None,
    gateway: str | None = None,
    mtu: int | None = None,
    accept: Iterable[str] = (),
    **rest: object,
) -> Settings:
    """Check the values of the command line.

    Args:
        local_as: `--as`.
        router_id: `--router-id`.
        neighbors: each `--neighbor`, as in `neighbor()`.
        mode: `--mode`.
        ipvlan_subnet: `--ipvlan-subnet`.
        gateway: `--gateway`.
        mtu: `--mtu`, in octets.
        accept: each `--accept`.
        rest: what needs no check: `host_interface`, `debug` and the paths.

    Raises:
        errors.ConfigError: naming the flag and the remedy.
    """
    if local_as is not None and not 0 < local_as < 1 << 32:
        raise _wrong("--as", local_as, "an AS number from 1 to 4294967295")
    texts = tuple(neighbors)
    if texts and local_as is None:
        raise errors.ConfigError(
            "no-as",
            "--neighbor needs --as: this host's own AS number, for example --as 64512",
        )
    if mtu is not None and not 68 <= mtu <= 65535:
        raise _wrong("--mtu", mtu, "68 to 65535 octets")
    if mode not in set(model.Mode):
        raise _wrong("--mode", mode, "l3")
    if mode != model.Mode.L3:
        raise errors.ConfigError(
            "mode-unsupported", f"--mode {mode}: this version makes ipvlan l3 links only; use l3"
        )
    subnet = _parse("--ipvlan-subnet", ipaddress.ip_network, ipvlan_subnet, "10.1.1.0/24")
    gate = _parse("--gateway", ipaddress.ip_address, gateway, "10.1.1.1")
    if gate is not None and subnet is not None and gate not in subnet:
        raise _wrong("--gateway", gateway, f"an address inside --ipvlan-subnet {subnet}")
    found = tuple(neighbor(text, local_as or 0) for text in texts)
    _check_twice(found)
    return Settings(
        local_as=local_as or 0,
        router_id=_parse("--router-id", _router_id, router_id, "192.0.2.1"),
        neighbors=found,
        mode=model.Mode(mode),
        ipvlan_subnet=subnet,
        gateway=gate,
        mtu=mtu,
        accept=tuple(_need("--accept", ipaddress.ip_network, text, "0.0.0.0/0") for text in accept),
        **rest,  # type: ignore[arg-type]  # typed by the command line
    )


def neighbor(text: str, local_as: int) -> model.NeighborConfig:
    """Parse `ADDRESS[,as=N][,port=N][,hold=SECONDS][,passive][,local=ADDRESS][,name=TEXT]`.

    Without `as` the neighbour is in our own AS (iBGP).

    Raises:
        errors.ConfigError: `bad-neighbor`.
    """
    first, *parts = text.split(",")
    known = {"as", "port", "hold", "passive", "local", "name"}
    given: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in known:
            near = difflib.get_close_matches(key.lower(), known, n=1)
            raise errors.ConfigError(
                "bad-neighbor",
                f"--neighbor {text}: unknown key {key!r}"
                + (f", did you mean {near[0]!r}?" if near else "")
                + f" (known: {', '.join(sorted(known))})",
            )
        given[key] = value
    remote_as = _number(text, given, "as", local_as, range(1, 1 << 32))
    hold = _number(text, given, "hold", 9, range(65536))
    if 0 < hold < 3:
        raise errors.ConfigError(
            "bad-neighbor", f"--neighbor {text}: hold is 0 or at least 3 seconds (RFC 4271)"
        )
    return model.NeighborConfig(
        address=_need("--neighbor", ipaddress.ip_address, first, "192.0.2.2,as=64513"),
        remote_as=remote_as,
        hold_time=hold,
        keepalive=hold // 3,
        port=_number(text, given, "port", 179, range(1, 65536)),
        passive="passive" in given,
        local_address=_parse("--neighbor local=", ipaddress.ip_address, given.get("local"), "…"),
        description=given.get("name", ""),
    )


def _check_twice(neighbors: tuple[model.NeighborConfig, ...]) -> None:
    seen: set[model.Address] = set()
    for one in neighbors:
        if one.address in seen:
            raise errors.ConfigError("bad-neighbor", f"--neighbor {one.address} is given twice")
        seen.add(one.address)


def _number(text: str, given: dict[str, str], key: str, default: int, valid: range) -> int:
    value = given.get(key)
    if value is None:
        return default
    if not value.isdecimal() or int(value) not in valid:
        raise errors.ConfigError(
            "bad-neighbor",
            f"--neighbor {text}: {key} must be a number from {valid[0]} to {valid[-1]}",
        )
    return int(value)


def _router_id(text: str) -> ipaddress.IPv4Address:
    address = ipaddress.IPv4Address(text)
    if int(address) == 0:
        raise ValueError
    return address


def _parse(flag: str, parser: Callable[[str], _T], text: str | None, example: str) -> _T | None:
    return None if text is None else _need(flag, parser, text, example)


def _need(flag: str, parser: Callable[[str], _T], text: str, example: str) -> _T:
    try:
        return parser(text)
    except ValueError as error:
        detail = f" ({error})" if "host bits" in str(error) else ""
        raise _wrong(flag, text, f"for example {example}{detail}") from None


def _wrong(flag: str, value: object, expected: str) -> errors.ConfigError:
    return errors.ConfigError("bad-value", f"{flag} {value}: expected {expected}")
