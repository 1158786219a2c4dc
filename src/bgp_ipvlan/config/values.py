"""Small values out of text: a mistake is one line that names where it stands and what is right."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import TypeVar

from bgp_ipvlan import errors, model
from bgp_ipvlan.bgp import policy

_T = TypeVar("_T")

AS_NUMBERS = range(1, 1 << 32)
PORTS = range(1, 1 << 16)


def wrong(where: str, value: object, expected: str) -> errors.ConfigError:
    """The error for a value that cannot be, to be raised.

    Args:
        where: the flag, or file and key.
        value: what stands there.
        expected: what would be right.
    """
    return errors.ConfigError("bad-value", f"{where} {value}: expected {expected}")


def number(where: str, value: int, valid: range, unit: str = "") -> int:
    """Check that a number is in a range.

    Raises:
        errors.ConfigError: `bad-value`, as for all below.
    """
    if value not in valid:
        raise wrong(where, value, f"{unit or 'a number'} from {valid[0]} to {valid[-1]}")
    return value


def table(where: str, value: int) -> int:
    """A routing table of the kernel; not the local one, which is the kernel's own."""
    if value == 255:
        expected = (
            "a routing table from 1 to 4294967295 but for 255, which is the kernel's own (local)"
        )
        raise wrong(where, value, expected)
    return number(where, value, range(1, 1 << 32), "a routing table")


def address(where: str, text: str) -> model.Address:
    """An IPv4 or IPv6 address."""
    return parse(where, ipaddress.ip_address, text, "an address, for example 192.0.2.1")


def prefix(where: str, text: str) -> model.Prefix:
    """A prefix with its length, without host bits."""
    found = parse(where, ipaddress.ip_network, text, "a prefix, for example 10.1.1.0/24")
    if "/" not in text:
        # Taken for a single address, it would be the opposite of what is likely to be meant.
        length = 0 if int(found.network_address) == 0 else found.max_prefixlen
        raise wrong(where, text, f"a prefix with its length, for example {text}/{length}")
    return found


def subnets(where: str, texts: str | Iterable[str]) -> tuple[model.Prefix, ...]:
    """Prefixes, one of each family at most, however they are separated."""
    words = texts if isinstance(texts, str) else " ".join(texts)
    found = tuple(prefix(where, text) for text in words.replace(",", " ").split())
    if len({one.version for one in found}) < len(found):
        raise wrong(where, " ".join(map(str, found)), "one for IPv4, one for IPv6, or both")
    return found


def router_id(where: str, text: str) -> ipaddress.IPv4Address:
    """A BGP identifier: any four octets but zero, written as an address (RFC 6286)."""
    found = parse(where, ipaddress.IPv4Address, text, "an IPv4 address, for example 192.0.2.1")
    if int(found) == 0:
        raise wrong(where, text, "a BGP identifier other than 0.0.0.0")
    return found


def rules(where: str, texts: Iterable[str]) -> tuple[model.PrefixRule, ...]:
    """Import rules, such as "10.0.0.0/8 le 32".

    A rule begins at a word with a slash, so that any separation will do: an environment
    variable comes to us cut at its spaces.
    """
    found: list[str] = []
    for word in " ".join(texts).replace(",", " ").split():
        if "/" in word or not found:
            found.append(word)
        else:
            found[-1] += f" {word}"
    if found and "/" not in found[0]:
        raise wrong(where, found[0], "a prefix with its length first, for example 10.0.0.0/8 le 32")
    try:
        return tuple(map(policy.parse, found))
    except ValueError as error:
        raise errors.ConfigError("bad-value", f"{where}: {error}") from None


def mode(where: str, text: str) -> model.Mode:
    """An ipvlan mode that this version makes.

    Raises:
        errors.ConfigError: `bad-value`, `mode-unsupported`.
    """
    if text not in set(model.Mode):
        raise wrong(where, text, "l3")
    if text != model.Mode.L3:
        raise errors.ConfigError(
            "mode-unsupported", f"{where} {text}: this version makes ipvlan l3 links only; use l3"
        )
    return model.Mode(text)


def engine(where: str, text: str) -> model.EngineKind:
    """Who speaks BGP."""
    if text not in set(model.EngineKind):
        raise wrong(where, text, ", ".join(model.EngineKind))
    return model.EngineKind(text)


def gobgp_api(where: str, text: str) -> str:
    """HOST:PORT, or the path of a unix socket, as gRPC names them.

    Returns:
        A path as `unix:PATH`.
    """
    expected = "HOST:PORT, for example 127.0.0.1:50051, or the path of a unix socket"
    path = text.removeprefix("unix://").removeprefix("unix:")
    if path.startswith("/"):
        return f"unix:{path}"
    host, _, port = text.rpartition(":")
    if path != text or not host or not port.isascii() or not port.isdigit():
        raise wrong(where, text, expected)
    if int(port) not in PORTS:
        raise wrong(where, text, expected)
    return text


def parse(where: str, parser: Callable[[str], _T], text: str, expected: str) -> _T:
    """Whatever `parser` makes of the text; its ValueError becomes ours."""
    try:
        return parser(text)
    except ValueError as error:
        detail = f" ({error})" if "host bits" in str(error) else ""
        raise wrong(where, text, expected + detail) from None
