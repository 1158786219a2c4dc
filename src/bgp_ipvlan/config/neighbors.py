"""One neighbour, or a range of them: from text, completed, and whether it can be.

What was said is a `Draft` first: which AS is ours, and which import rules hold for all, may
stand elsewhere (a flag, the file), and `neighbor set` adds to what is there.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import pathlib
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bgp_ipvlan import errors, model
from bgp_ipvlan.config import values

DEFAULT_OWN_AS = 3
"""`allow-own-as` without a number, as on Cisco and FRR: a neighbour may prepend twice."""
PASSWORD_OCTETS = 80
"""The kernel's limit for a TCP MD5 key (TCP_MD5SIG_MAXKEYLEN)."""

_RANGES: dict[str, range] = {
    "remote_as": values.AS_NUMBERS,
    "local_as": values.AS_NUMBERS,
    "port": values.PORTS,
    "hold_time": range(1 << 16),
    "keepalive": range(1 << 16),
    "multihop": range(1, 256),
    "allow_own_as": range(256),
    "max_prefixes": range(1 << 32),
    "max_prefixes_warn": range(1, 101),
    "max_prefixes_restart": range(1 << 31),
}
_NUMBERS = {
    "as": "remote_as",
    "local-as": "local_as",
    "port": "port",
    "hold": "hold_time",
    "keepalive": "keepalive",
    "multihop": "multihop",
    "allow-own-as": "allow_own_as",
    "max-prefixes": "max_prefixes",
    "max-prefixes-warn": "max_prefixes_warn",
    "max-prefixes-restart": "max_prefixes_restart",
}
_SWITCHES = {
    "passive": "passive",
    "ttl-security": "ttl_security",
    "add-path": "add_path",
    "graceful-restart": "graceful_restart",
    "recursive": "recursive",
}
_TEXTS = {
    "local": "local_address",
    "bind-interface": "bind_interface",
    "name": "description",
    "families": "families",
    "password": "password",
    "password-file": "password",
}
KEYS = (*_NUMBERS, *_TEXTS, *_SWITCHES, *(f"no-{key}" for key in _SWITCHES))
"""What may follow the address, separated by commas."""
LIMITS = range(1, 10_001)
"""How many neighbours of a range there may be at a time."""
_SPELLING = {field: key for key, field in {**_TEXTS, **_NUMBERS, **_SWITCHES}.items()} | {
    "password": "password"
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A neighbour as somebody said it: not complete and not checked."""

    where: str
    """The flag, or file and table: begins every complaint."""
    address: model.Address
    given: Mapping[str, Any] = dataclasses.field(repr=False)
    """Fields of `model.NeighborConfig`, those said only."""
    spelling: Mapping[str, str] = dataclasses.field(default_factory=_SPELLING.copy, repr=False)
    """Field → the key it was said with."""
    place: Callable[[str], str] | None = dataclasses.field(default=None, repr=False, compare=False)
    """Field → file, line and key, where there is more to name than `where` and `spelling`."""
    any_as: bool = False
    """AS number 0 stands for any AS but our own: of a range only."""
    no_family: bool = False
    """It may have families that are none of ours alone: with another daemon as engine."""
    warnings: tuple[str, ...] = ()

    def complete(
        self, local_as: int, rules: tuple[model.PrefixRule, ...] | None
    ) -> model.NeighborConfig:
        """With defaults for what was not said.

        Args:
            local_as: of this speaker; a neighbour without an AS is in it (iBGP).
            rules: import rules of this speaker.

        Raises:
            errors.ConfigError: `bad-neighbor`, naming key and remedy.
        """
        start = model.NeighborConfig(address=self.address, remote_as=local_as, import_rules=rules)
        return self.change(start, local_as)

    def change(self, old: model.NeighborConfig, local_as: int) -> model.NeighborConfig:
        """What `neighbor set` makes of a neighbour that is there. Raises as `complete`."""
        given = dict(self.given)
        if "hold_time" in given:
            given.setdefault("keepalive", given["hold_time"] // 3)
        if given.get("local_as") == local_as:
            given["local_as"] = 0  # what it is anyway
        for key, text in self._problems(dataclasses.replace(old, **given)):
            raise self.wrong(key, text)
        return dataclasses.replace(old, **given)

    def wrong(self, field: str, text: str) -> errors.ConfigError:
        """A complaint about one field, with the key as it was written."""
        return errors.ConfigError("bad-neighbor", f"{self.at(field)} {text}")

    def at(self, field: str) -> str:
        """Where a field was said."""
        if self.place is not None:
            return self.place(field)
        return f"{self.where}: {self.spelling.get(field, field)}"

    def _problems(self, one: model.NeighborConfig) -> Iterator[tuple[str, str]]:
        for field, valid in _RANGES.items():
            value = self.given.get(field, valid[0])
            if value not in valid and not (field == "remote_as" and self.any_as):
                yield field, f"{value}: must be a number from {valid[0]} to {valid[-1]}"
        yield from _timers(one, self.spelling)
        yield from _addresses(one)
        if not _is_name(one.bind_interface):
            yield "bind_interface", f"{one.bind_interface!r} is no name of an interface"
        octets = len(one.password.encode())
        if octets > PASSWORD_OCTETS:
            most = f"TCP MD5 takes at most {PASSWORD_OCTETS} (RFC 2385)"
            yield "password", f"has {octets} octets: {most}, choose a shorter one"
        if one.local_as and one.local_as == one.remote_as:
            text = f"{one.local_as} is the neighbour's own AS: leave it out, or correct the other"
            yield "local_as", text
        if not one.families and not self.no_family:
            yield "families", "must name ipv4, ipv6 or both"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RangeDraft:
    """A range of addresses that may connect, as somebody said it."""

    prefix: model.Prefix
    draft: Draft
    """Of the template."""
    limit: int | None = None

    def complete(
        self, local_as: int, rules: tuple[model.PrefixRule, ...] | None
    ) -> model.DynamicNeighbors:
        """As `Draft.complete`."""
        if self.draft.given.get("passive") is False:
            raise self.draft.wrong("passive", "cannot be off: nobody can connect to a range")
        template = dataclasses.replace(self.draft.complete(local_as, rules), passive=True)
        made = model.DynamicNeighbors(prefix=self.prefix, template=template)
        return made if self.limit is None else dataclasses.replace(made, limit=self.limit)


def parse(text: str, where: str = "--neighbor") -> Draft:
    """Read `ADDRESS[,key=value|,key|,no-key]…`, for example `192.0.2.2,as=64513,ttl-security`.

    Raises:
        errors.ConfigError: `bad-neighbor`, `bad-value`, `password-file`.
    """
    first, *parts = text.split(",")
    address = check_address(where, values.address(where, first))
    return _draft(f"{where} {address}", address, parts)


def parse_range(text: str, where: str = "--neighbor-range") -> RangeDraft:
    """Read `PREFIX[,key…]`, with the keys of a neighbour, `limit=N` and `as=any`.

    Raises:
        errors.ConfigError: as `parse`.
    """
    first, *parts = text.split(",")
    prefix = values.prefix(where, first)
    where = f"{where} {prefix}"
    limits = [part.partition("=")[2] for part in parts if part.partition("=")[0] == "limit"]
    any_as = "as=any" in parts
    rest = [part for part in parts if part.partition("=")[0] != "limit" and part != "as=any"]
    draft = _draft(where, prefix.network_address, rest, more=("limit",))
    if any_as:
        draft = dataclasses.replace(draft, any_as=True, given={**draft.given, "remote_as": 0})
    limit = None
    if limits:
        limit = values.number(
            f"{where}: limit", _number(f"{where}: limit", limits[-1], LIMITS), LIMITS
        )
    return RangeDraft(prefix=prefix, draft=draft, limit=limit)


def check_address(where: str, address: model.Address) -> model.Address:
    """Refuse what no neighbour can have.

    Raises:
        errors.ConfigError: `bad-neighbor`.
    """
    if address.is_unspecified or address.is_multicast or int(address) == 0xFFFFFFFF:
        text = "is no host's address"
    elif address.is_link_local:
        text = "is link-local: sessions run between global addresses in this version"
    elif isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        text = f"is IPv4 in disguise: write {address.ipv4_mapped}"
    else:
        return address
    raise errors.ConfigError("bad-neighbor", f"{where} {address} {text}")


def readable_by_all(path: pathlib.Path, what: str) -> tuple[str, ...]:
    """A warning if everybody can read a file with a password in it.

    Raises:
        OSError: there is no such file.
    """
    if path.stat().st_mode & stat.S_IROTH:
        text = f"{path} holds {what} and everybody can read it: chmod 600 {path}"
        return (f"{text} [readable-password]",)
    return ()


def read_password(where: str, path: pathlib.Path) -> tuple[str, tuple[str, ...]]:
    """The first line of a file, and what there is to say about the file.

    Raises:
        errors.ConfigError: `password-file`.
    """
    if not path.is_absolute():
        # The daemon reads it, again at each reload, and its folder is not the caller's.
        raise errors.ConfigError("password-file", f"{where} {path}: must be an absolute path")
    try:
        password = path.read_text().partition("\n")[0].rstrip("\r")
        warnings = readable_by_all(path, "a password")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise errors.ConfigError("password-file", f"{where} {path}: {why}") from None
    if not password:
        raise errors.ConfigError("password-file", f"{where} {path}: its first line is empty")
    return password, warnings


def _draft(where: str, address: model.Address, parts: list[str], more: Iterable[str] = ()) -> Draft:
    given: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    for part in parts:
        key, equals, text = part.partition("=")
        field, value = _read(where, key, text if equals else None, given, more)
        if field in given:
            raise errors.ConfigError("bad-neighbor", f"{where}: {key} is said twice")
        if key == "password-file":
            value, warnings = read_password(f"{where}: password-file", pathlib.Path(value))
        given[field] = value
    return Draft(where=where, address=address, given=given, warnings=warnings)


def _read(
    where: str, key: str, text: str | None, given: Mapping[str, Any], more: Iterable[str]
) -> tuple[str, Any]:
    """One key: the field it is for, and its value."""
    switch = key.removeprefix("no-")
    if switch in _SWITCHES:
        if text is not None:
            raise errors.ConfigError(
                "bad-neighbor", f"{where}: write {switch} or no-{switch}, without a value"
            )
        return _SWITCHES[switch], switch == key
    if key in _NUMBERS:
        if key == "allow-own-as" and text is None:
            return _NUMBERS[key], DEFAULT_OWN_AS
        return _NUMBERS[key], _number(f"{where}: {key}", text or "", _RANGES[_NUMBERS[key]])
    if key not in _TEXTS:
        raise _unknown(where, key, (*KEYS, *more), secret="password" in given)
    if text is None:
        raise errors.ConfigError("bad-neighbor", f"{where}: {key} needs a value, {key}=…")
    if key == "local":
        return _TEXTS[key], values.address(f"{where}: local", text)
    if key == "families":
        return _TEXTS[key], families(f"{where}: families", text.split("+"))
    return _TEXTS[key], text


def families(where: str, names: Iterable[str]) -> frozenset[model.Family]:
    """Address families by name.

    Raises:
        errors.ConfigError: `bad-value`.
    """
    known = {family.name.lower(): family for family in model.Family}
    found = set()
    for name in names:
        if name not in known:
            raise values.wrong(where, name, "ipv4, ipv6, or ipv4+ipv6")
        found.add(known[name])
    return frozenset(found)


def _unknown(where: str, key: str, known: Sequence[str], *, secret: bool) -> errors.ConfigError:
    if secret:
        # What follows a comma may be the rest of a password: keep it out of the log.
        text = "unknown key after password: one that has a comma goes into password-file=PATH"
    else:
        near = difflib.get_close_matches(key.lower(), known, n=1)
        text = f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else "")
        text += f" (known: {', '.join(known)})"
    return errors.ConfigError("bad-neighbor", f"{where}: {text}")


def _number(where: str, text: str, valid: range) -> int:
    if not text.isdecimal():
        raise errors.ConfigError(
            "bad-neighbor", f"{where} {text!r}: must be a number from {valid[0]} to {valid[-1]}"
        )
    return int(text)


def _timers(one: model.NeighborConfig, spelling: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    hold = f"{spelling.get('hold_time', 'hold')} {one.hold_time}"
    if 0 < one.hold_time < 3:
        yield "hold_time", f"{one.hold_time}: 0 (never) or at least 3 seconds (RFC 4271)"
    elif one.hold_time == 0 and one.keepalive:
        yield "keepalive", f"{one.keepalive} with {hold}: without a hold time there are none"
    elif one.hold_time and not 0 < one.keepalive < one.hold_time:
        yield "keepalive", f"{one.keepalive} with {hold}: must be shorter, a third of it is usual"


def _is_name(text: str) -> bool:
    """Whether an interface can have this name (dev_valid_name() in the kernel), or it is none."""
    odd = any(letter.isspace() or letter in "/:" for letter in text)
    return text not in {".", ".."} and len(text.encode()) < 16 and not odd


def _addresses(one: model.NeighborConfig) -> Iterator[tuple[str, str]]:
    local = one.local_address
    if local is None:
        return
    if local.version != one.address.version:
        text = f"{local} is not IPv{one.address.version} as the neighbour is: give one that is"
        yield "local_address", text
    if local == one.address:
        yield "local_address", f"{local} is the neighbour's own address: give one of this host's"
    if local.is_unspecified or local.is_multicast:
        yield "local_address", f"{local} is no host's address: leave it out, or give this host's"
