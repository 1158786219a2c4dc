"""GoBGP's configuration format of today: its tables, and what they mean to this speaker.

The paths are those of GoBGP's own `bgp_configs.go` (OpenConfig with its additions). What is said
of a peer group holds for its neighbours where they say nothing, as in GoBGP.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from bgp_ipvlan import errors, model
from bgp_ipvlan.config import neighbors, values
from bgp_ipvlan.config.schema import Engine, Reader, Schema, Values

GLOBAL = Schema(
    known={
        "config.as": int,
        "config.router-id": str,
        "config.port": int,
        "config.local-address-list": list[str],
        "use-multiple-paths.config.enabled": bool,
        "use-multiple-paths.ebgp.config.maximum-paths": int,
        "use-multiple-paths.ebgp.config.allow-multiple-as": bool,
        "use-multiple-paths.ibgp.config.maximum-paths": int,
        "graceful-restart.config.enabled": bool,
        "graceful-restart.config.restart-time": int,
    },
    impossible={
        "apply-policy": "say what may come in with [policy] import; what goes out are own prefixes "
        "alone, or --engine gobgp",
        "confederation": "leave it out, or use another daemon as engine",
        "config.bind-to-device": "give the device's addresses as local-address-list; for a VRF "
        "set sysctl net.ipv4.tcp_l3mdev_accept=1",
        "route-selection-options": "the decision is that of RFC 4271; leave it out",
    },
)
_GROUP = Schema(
    known={
        "config.peer-as": int,
        "config.local-as": int,
        "config.peer-group-name": str,
        "config.auth-password": str,
        "config.auth-password-file": str,
        "config.recursive": bool,
        "config.description": str,
        "timers.config.hold-time": float,
        "timers.config.keepalive-interval": float,
        "transport.config.local-address": str,
        "transport.config.bind-interface": str,
        "transport.config.passive-mode": bool,
        "transport.config.remote-port": int,
        "transport.config.ttl": int,
        "ebgp-multihop.config.enabled": bool,
        "ebgp-multihop.config.multihop-ttl": int,
        "ttl-security.config.enabled": bool,
        "ttl-security.config.ttl-min": int,
        "graceful-restart.config.enabled": bool,
        "graceful-restart.config.restart-time": int,
        "graceful-restart.config.notification-enabled": bool,
        "as-path-options.config.allow-own-as": int,
        "add-paths.config.receive": bool,
        "afi-safis": list[dict[str, Any]],
    },
    impossible={
        "apply-policy": "say what may come in with [policy] import; what goes out are own prefixes "
        "alone, or --engine gobgp",
        "route-reflector": "it never passes a learned route on; reflect on a router",
        "route-server": "it never passes a learned route on; serve on a router",
        "config.vrf": "for a VRF of the kernel give transport.config.bind-interface",
        "as-path-options.config.allow-as-path-loop-local": "use allow-own-as",
    },
)
_PEER = dataclasses.replace(
    _GROUP,
    known={
        **{path: kind for path, kind in _GROUP.known.items() if path != "config.peer-group-name"},
        "config.neighbor-address": str,
        "config.peer-group": str,
        "config.admin-down": bool,
    },
    never={"config.neighbor-interface": "give neighbor-address"},
)
_DYNAMIC = Schema(
    known={"config.prefix": str, "config.peer-group": str, "config.limit": int},
)
_LIMIT = {
    "prefix-limit.config.max-prefixes": "max_prefixes",
    "prefix-limit.config.shutdown-threshold-pct": "max_prefixes_warn",
    "prefix-limit.config.restart-timer": "max_prefixes_restart",
}
_FAMILIES = {"ipv4-unicast": model.Family.IPV4, "ipv6-unicast": model.Family.IPV6}
_AFI_SAFI = Schema(
    known={
        "config.afi-safi-name": str,
        "config.enabled": bool,
        "mp-graceful-restart.config.enabled": bool,
        "add-paths.config.receive": bool,
        **dict.fromkeys(_LIMIT, float),
        **{f"{family}.{path}": float for family in _FAMILIES for path in _LIMIT},
    },
    impossible={
        "apply-policy": "say what may come in with [policy] import; what goes out are own prefixes "
        "alone, or --engine gobgp",
        "route-selection-options": "the decision is that of RFC 4271; leave it out",
        "ipv4-unicast.config.send-default-route": "it announces this host's networks only",
        "ipv6-unicast.config.send-default-route": "it announces this host's networks only",
    },
)
_FIELDS = {
    "config.peer-as": "remote_as",
    "config.local-as": "local_as",
    "config.auth-password": "password",
    "config.description": "description",
    "config.recursive": "recursive",
    "timers.config.hold-time": "hold_time",
    "timers.config.keepalive-interval": "keepalive",
    "transport.config.local-address": "local_address",
    "transport.config.bind-interface": "bind_interface",
    "transport.config.passive-mode": "passive",
    "transport.config.remote-port": "port",
    "ttl-security.config.enabled": "ttl_security",
    "graceful-restart.config.enabled": "graceful_restart",
    "as-path-options.config.allow-own-as": "allow_own_as",
    "add-paths.config.receive": "add_path",
}
"""Those that say the same as a field of `model.NeighborConfig`."""
_PASSWORDS = {"config.auth-password", "config.auth-password-file"}
"""Two ways to say one thing: a neighbour with either does not have its group's other one."""
_SPELLING = {field: path for path, field in _FIELDS.items()} | {
    **{field: f"afi-safis[0].{path}" for path, field in _LIMIT.items()},
    "families": "afi-safis",
    "multihop": "ebgp-multihop.config.multihop-ttl",
}
_UNSAID = {
    "remote_as": 0,
    "local_as": 0,
    "password": "",
    "port": 0,
}
"""What GoBGP takes for nothing said."""


def speaker(reader: Reader, table: Mapping[str, Any]) -> dict[str, Any]:
    """`[global]` as fields of `settings.Said`, not yet checked, and `graceful_restart`.

    Raises:
        errors.ConfigError: as `Reader.read`.
    """
    found = reader.read(table, GLOBAL, "global")
    names = {
        "config.as": "local_as",
        "config.router-id": "router_id",
        "config.local-address-list": "listen_addresses",
        "config.port": "listen_port",
        "graceful-restart.config.restart-time": "restart_time",
    }
    said = {name: found[path] for path, name in names.items() if found.get(path)}
    said["graceful_restart"] = found.get("graceful-restart.config.enabled", True)
    if said.get("listen_port") == -1:
        said["listen_port"] = 0  # do not listen
    paths = {
        found[f"use-multiple-paths.{kind}.config.maximum-paths"]
        for kind in ("ebgp", "ibgp")
        if found.get(f"use-multiple-paths.{kind}.config.maximum-paths")
    }
    if found.get("use-multiple-paths.config.enabled") is False:
        said["maximum_paths"] = 1
    elif len(paths) > 1 and reader.engine is Engine.EMBEDDED:
        text = "differs for ebgp and ibgp: it is one number for both here"
        raise reader.wrong("unsupported-key", "global.use-multiple-paths", text)
    elif paths:
        said["maximum_paths"] = max(paths)
    return said


class Peers:
    """`[[peer-groups]]`, `[[neighbors]]` and `[[dynamic-neighbors]]`.

    Args:
        reader: of the file.
        document: the whole of it, keys in lower case.
        graceful_restart: what holds for neighbours that do not say.
    """

    def __init__(
        self, reader: Reader, document: Mapping[str, Any], *, graceful_restart: bool
    ) -> None:
        self._reader = reader
        self._place = reader.source.place
        self._document = document
        self._graceful_restart = graceful_restart
        self._groups: dict[str, tuple[str, Values]] = {}
        """Name → where it stands, and what it says."""
        self.restart_times: set[int] = set()
        """Those asked for, of which a speaker has one."""
        self.has_password = False
        for number, table in enumerate(document.get("peer-groups", ())):
            where = f"peer-groups[{number}]"
            group = reader.read(table, _GROUP, where)
            name = group.pop("config.peer-group-name", "")
            if not name or name in self._groups:
                text = f"{name} is given twice" if name else "is missing"
                raise reader.wrong("bad-value", f"{where}.config.peer-group-name", text)
            self._one_password(group, where)
            self._given(group, where)
            self._groups[name] = where, group

    def drafts(self) -> Iterator[neighbors.Draft]:
        """Those that are not `admin-down`.

        Raises:
            errors.ConfigError: naming the key.
        """
        known: set[model.Address] = set()
        for number, table in enumerate(self._document.get("neighbors", ())):
            where = f"neighbors[{number}]"
            key = f"{where}.config.neighbor-address"
            found = self._reader.read(table, _PEER, where)
            text = found.pop("config.neighbor-address", "")
            if not text:
                raise self._reader.wrong("bad-value", key, "is missing")
            address = neighbors.check_address(
                self._place(key), values.address(self._place(key), text)
            )
            if address in known:
                raise self._reader.wrong("bad-neighbor", key, f"{address} is given twice")
            known.add(address)
            self._one_password(found, where)
            found, group = self._with_group(found, where)
            if not found.get("config.admin-down"):
                yield self._draft(found, (where, group), address)

    def ranges(self) -> Iterator[neighbors.RangeDraft]:
        """Ranges, each with its group as template. Raises as `drafts`."""
        known: set[model.Prefix] = set()
        for number, table in enumerate(self._document.get("dynamic-neighbors", ())):
            where = f"dynamic-neighbors[{number}]"
            found = self._reader.read(table, _DYNAMIC, where)
            for key in ("config.prefix", "config.peer-group"):
                if not found.get(key):
                    raise self._reader.wrong("bad-value", f"{where}.{key}", "is missing")
            key = f"{where}.config.prefix"
            prefix = values.prefix(self._place(key), found["config.prefix"])
            if prefix in known:
                raise self._reader.wrong("bad-neighbor", key, f"{prefix} is given twice")
            known.add(prefix)
            limit = found.get("config.limit")
            if limit is not None:
                values.number(self._place(f"{where}.config.limit"), limit, neighbors.LIMITS)
            name = found["config.peer-group"]
            template, group = self._with_group({"config.peer-group": name}, where)
            draft = self._draft(template, (group,), prefix.network_address)
            draft = dataclasses.replace(draft, where=self._place(where))
            yield neighbors.RangeDraft(prefix=prefix, draft=draft, limit=limit)

    def _with_group(self, found: Values, where: str) -> tuple[Values, str]:
        """What a neighbour says, and after it what its group does; and where that stands."""
        name = found.pop("config.peer-group", "")
        if not name:
            return found, ""
        if name not in self._groups:
            known = ", ".join(sorted(self._groups)) or "none"
            text = f"{name}: there is no such [[peer-groups]] (there are: {known})"
            raise self._reader.wrong("bad-value", f"{where}.config.peer-group", text)
        place, group = self._groups[name]
        own, other = found.get("config.peer-as"), group.get("config.peer-as")
        if own and other and own != other:
            text = f"{own}: its peer group {name} says {other}; say it once"
            raise self._reader.wrong("bad-value", f"{where}.config.peer-as", text)
        if not _PASSWORDS.isdisjoint(found):
            group = {path: one for path, one in group.items() if path not in _PASSWORDS}
        return group | found, place

    def _one_password(self, found: Values, where: str) -> None:
        if found.keys() >= _PASSWORDS:
            text = "and auth-password are both given: leave one out"
            raise self._reader.wrong("bad-value", f"{where}.config.auth-password-file", text)

    def _draft(
        self, found: Values, places: tuple[str, ...], address: model.Address
    ) -> neighbors.Draft:
        """A neighbour, from what stands in the tables `places`, the first of which goes first."""
        where = places[0]
        given = {"graceful_restart": self._graceful_restart} | self._given(found, where)

        def place(field: str) -> str:
            keys = [f"{one}.{_SPELLING.get(field, field)}" for one in places]
            return self._place(next(filter(self._reader.source.has, keys), keys[0]))

        warnings: tuple[str, ...] = ()
        if file := found.get("config.auth-password-file"):
            key = f"{where}.config.auth-password-file"
            given["password"], warnings = neighbors.read_password(
                self._place(key), pathlib.Path(file)
            )
        return neighbors.Draft(
            where=self._place(where),
            address=address,
            given=given,
            spelling=_SPELLING,
            place=place,
            no_family=self._reader.engine is not Engine.EMBEDDED,
            warnings=warnings,
        )

    def _given(self, found: Values, where: str) -> dict[str, Any]:
        """Fields of `model.NeighborConfig` that were said."""
        given = {
            field: self._whole(value, f"{where}.{path}")
            for path, field in _FIELDS.items()
            if (value := found.get(path)) is not None and value != _UNSAID.get(field)
        }
        if (text := given.pop("local_address", "")) not in {"", "0.0.0.0", "::"}:  # noqa: S104
            name = self._place(f"{where}.transport.config.local-address")
            given["local_address"] = values.address(name, text)
        self.has_password |= "password" in given
        if time := found.get("graceful-restart.config.restart-time"):
            self.restart_times.add(time)
        given |= self._hops(found, where) | self._families(found, where)
        return given

    def _hops(self, found: Values, where: str) -> dict[str, int]:
        """GTSM's ttl-min 255 is one hop, 254 two (RFC 5082 section 3)."""
        hops = set()
        if found.get("ttl-security.config.enabled") and found.get("ttl-security.config.ttl-min"):
            name = self._place(f"{where}.ttl-security.config.ttl-min")
            least = found["ttl-security.config.ttl-min"]
            hops.add(256 - values.number(name, least, range(1, 256)))
        if found.get("ebgp-multihop.config.enabled"):
            # GoBGP's own default is as far as it goes.
            hops.add(found.get("ebgp-multihop.config.multihop-ttl") or 255)
        if ttl := found.get("transport.config.ttl"):
            hops.add(ttl)
        if len(hops) > 1:
            text = f"and ttl-security, transport.ttl differ: they ask for {sorted(hops)} hops"
            raise self._reader.wrong("bad-value", f"{where}.ebgp-multihop", text)
        return {"multihop": hops.pop()} if hops else {}

    def _families(self, found: Values, where: str) -> dict[str, Any]:
        if not found.get("afi-safis"):
            return {}
        families: set[model.Family] = set()
        limits: set[tuple[tuple[str, int], ...]] = set()
        given: dict[str, Any] = {}
        for number, table in enumerate(found["afi-safis"]):
            place = f"{where}.afi-safis[{number}]"
            one = self._reader.read(table, _AFI_SAFI, place)
            name = one.get("config.afi-safi-name", "")
            if name not in _FAMILIES:
                self._foreign_family(name, f"{place}.config.afi-safi-name")
                continue
            if one.get("config.enabled", True):
                families.add(_FAMILIES[name])
                limits.add(tuple(self._limit(one, name, place).items()))
            if "add-paths.config.receive" in one:
                given["add_path"] = one["add-paths.config.receive"]
        if len(limits) > 1 and self._reader.engine is Engine.EMBEDDED:
            text = "differ in prefix-limit: it is one for all families here"
            raise self._reader.wrong("unsupported-key", f"{where}.afi-safis", text)
        limit = max(map(dict, limits), key=lambda one: one.get("max_prefixes", 0), default={})
        return given | limit | {"families": frozenset(families)}

    def _foreign_family(self, name: str, key: str) -> None:
        """One that no route of ours is in: another daemon may have it for itself."""
        if self._reader.engine is Engine.EMBEDDED:
            text = f"{name!r}: this speaker knows {' and '.join(_FAMILIES)}; leave it out"
            raise self._reader.wrong("unsupported-key", key, text)

    def _limit(self, one: Values, family: str, place: str) -> dict[str, int]:
        return {
            field: self._whole(value, f"{place}.{path}")
            for path, field in _LIMIT.items()
            if (value := one.get(path, one.get(f"{family}.{path}")))
        }

    def _whole(self, value: Any, key: str) -> Any:
        """TOML has 9 and 9.0 for seconds; we have no fractions of them."""
        if not isinstance(value, float):
            return value
        if not value.is_integer():
            text = f"{self._place(key)} {value}: expected a whole number"
            raise errors.ConfigError("bad-value", text)
        return int(value)
