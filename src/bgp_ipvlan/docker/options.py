"""The options of `docker network create -o KEY=VALUE`: one table, from which they are checked.

README shows the same table; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from bgp_ipvlan import errors, model


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One key."""

    key: str
    values: tuple[str, ...]
    """What it may be; empty for free text."""
    help: str


_ON = ("on", "true", "1", "yes")
_OFF = ("off", "false", "0", "no")

OPTIONS = (
    Option("parent", (), "the network card whose slaves the containers are"),
    Option("ipvlan_mode", tuple(model.Mode), "`l2` and `l3s` come later"),
    Option("ipvlan_flag", tuple(model.Flag), "`private` and `vepa` come later"),
    Option("mtu", (), "MTU of the containers' interfaces, in octets"),
    Option("host_access", ("on", "off"), "whether host and containers reach each other"),
    Option("bgp.advertise", tuple(model.Advertise), "whether the subnet is announced"),
    Option("accept_default_pool", ("true", "false"), "allow a subnet that Docker picked by itself"),
)
_BY_KEY = {option.key: option for option in OPTIONS}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the daemon's flags say where a create does not."""

    parent: str | None = None
    mode: model.Mode = model.Mode.L3
    mtu: int | None = None
    gateway: model.Address | None = None
    ipvlan_subnet: model.Prefix | None = None


def parse(given: Mapping[str, str], defaults: Defaults) -> tuple[dict[str, Any], bool]:
    """Check the options of a create.

    Returns:
        Fields of `model.Network`, and whether a default pool is accepted.

    Raises:
        errors.BadRequest: `unknown-option`, `bad-option`, `no-parent`, `mode-unsupported`.
    """
    for key in given:
        if key not in _BY_KEY:
            _unknown(key)
    fields: dict[str, Any] = {
        "parent": given.get("parent") or defaults.parent,
        "mode": model.Mode(_one_of(given, "ipvlan_mode", defaults.mode)),
        "flag": model.Flag(_one_of(given, "ipvlan_flag", model.Flag.BRIDGE)),
        "mtu": _mtu(given, defaults.mtu),
        "host_access": _switch(given, "host_access", default=True),
        "advertise": model.Advertise(_one_of(given, "bgp.advertise", model.Advertise.SUBNET)),
    }
    if not fields["parent"]:
        raise errors.BadRequest(
            "no-parent",
            "no parent interface: give -o parent=NAME, or start the daemon with "
            "--host-interface NAME",
        )
    for key, have, usable in (
        ("ipvlan_mode", fields["mode"], model.Mode.L3),
        ("ipvlan_flag", fields["flag"], model.Flag.BRIDGE),
    ):
        if have != usable:
            raise errors.BadRequest(
                "mode-unsupported",
                f"{key}={have} is not supported by this version: use {key}={usable}",
            )
    return fields, _switch(given, "accept_default_pool", default=False)


def _unknown(key: str) -> None:
    near = difflib.get_close_matches(key.lower(), _BY_KEY, n=1)
    raise errors.BadRequest(
        "unknown-option",
        f"unknown option -o {key}"
        + (f", did you mean {near[0]}?" if near else "")
        + f" (known: {', '.join(_BY_KEY)})",
    )


def _one_of(given: Mapping[str, str], key: str, default: str) -> str:
    value = given.get(key, default)
    if value not in _BY_KEY[key].values:
        _bad(key, value, ", ".join(_BY_KEY[key].values))
    return value


def _switch(given: Mapping[str, str], key: str, *, default: bool) -> bool:
    value = given.get(key)
    if value is None:
        return default
    if value.lower() not in _ON + _OFF:
        _bad(key, value, ", ".join(_BY_KEY[key].values))
    return value.lower() in _ON


def _mtu(given: Mapping[str, str], default: int | None) -> int | None:
    value = given.get("mtu")
    if value is None:
        return default
    # 68: RFC 791; IPv6 needs 1280, which the kernel enforces where IPv6 is used.
    if not value.isdecimal() or not 68 <= int(value) <= 65535:
        _bad("mtu", value, "68 to 65535")
    return int(value)


def _bad(key: str, value: str, allowed: str) -> None:
    raise errors.BadRequest("bad-option", f"-o {key}={value} is not possible: use {allowed}")
