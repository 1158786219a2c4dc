"""The options of `docker network create -o KEY=VALUE`: one table, from which they are checked.

README shows the same table; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from bgp_ipvlan import errors, model
from bgp_ipvlan.docker import attributes

_T = TypeVar("_T")


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
    Option("bgp.advertise", tuple(model.Advertise), "the subnet, each container, both, or nothing"),
    Option("bgp.start_gate", tuple(model.StartGate), "whether a start waits for the neighbours"),
    Option("bgp.communities", (), "communities of what is announced"),
    Option("bgp.large_communities", (), "large communities"),
    Option("bgp.med", (), "MULTI_EXIT_DISC"),
    Option("bgp.local_pref", (), "LOCAL_PREF, told to iBGP neighbours"),
    Option("bgp.prepend", (), "how often more our AS stands in AS_PATH, for eBGP neighbours"),
    Option("bgp.next_hop", (), "NEXT_HOP instead of the parent's address"),
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
    ipvlan_subnets: tuple[model.Prefix, ...] = ()
    """At most one per family."""

    def ipvlan_subnet(self, version: int) -> model.Prefix | None:
        """Where networks of that IP version have to be, and where their subnets come from."""
        return next((one for one in self.ipvlan_subnets if one.version == version), None)


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
        # 68: RFC 791; IPv6 needs 1280, which the kernel enforces where IPv6 is used.
        "mtu": _number(given, "mtu", defaults.mtu, range(68, 65536)),
        "host_access": _switch(given, "host_access", default=True),
        "advertise": model.Advertise(_one_of(given, "bgp.advertise", model.Advertise.SUBNET)),
        "bgp": _bgp(given),
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


def _bgp(given: Mapping[str, str]) -> model.BgpOptions:
    return model.BgpOptions(
        communities=_parsed(
            given,
            "bgp.communities",
            attributes.communities,
            (),
            f"at most {attributes.MOST} of 65000:1, a number of 32 bits, or "
            f"{', '.join(attributes.WELL_KNOWN)}, separated by commas or spaces",
        ),
        large_communities=_parsed(
            given,
            "bgp.large_communities",
            attributes.large_communities,
            (),
            f"at most {attributes.MOST} of 64512:1:2, separated by commas or spaces "
            f"(those with 17900 are bgp-ipvlan's own marks)",
        ),
        med=_number(given, "bgp.med", None, range(1 << 32)),
        local_pref=_number(given, "bgp.local_pref", None, range(1 << 32)),
        prepend=_number(given, "bgp.prepend", None, range(17)) or 0,
        next_hops=_parsed(
            given,
            "bgp.next_hop",
            attributes.next_hops,
            (),
            "an address that others can send to, or one of each family, separated by a comma",
        ),
        start_gate=model.StartGate(_one_of(given, "bgp.start_gate", model.StartGate.WARN)),
    )


def _number(given: Mapping[str, str], key: str, default: int | None, allowed: range) -> int | None:
    def parse_number(text: str) -> int | None:
        value = attributes.number(text, allowed[-1])
        if value not in allowed:
            raise ValueError(text)
        return value

    return _parsed(given, key, parse_number, default, f"{allowed[0]} to {allowed[-1]}")


def _parsed(
    given: Mapping[str, str], key: str, parser: Callable[[str], _T], default: _T, allowed: str
) -> _T:
    value = given.get(key)
    if value is None:
        return default
    try:
        return parser(value)
    except ValueError:
        _bad(key, value, allowed)


def _bad(key: str, value: str, allowed: str) -> NoReturn:
    raise errors.BadRequest("bad-option", f"-o {key}={value} is not possible: use {allowed}")
