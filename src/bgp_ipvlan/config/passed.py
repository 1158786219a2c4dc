"""Of a file: what is GoBGP's own, to be passed on to a gobgpd that we start."""

from __future__ import annotations

import copy
import ipaddress
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from bgp_ipvlan import model
from bgp_ipvlan.config import neighbors, policies, vocabulary
from bgp_ipvlan.config import source as source_

Table: TypeAlias = dict[str, Any]


def passed(source: source_.Source) -> Table:
    """GoBGP's tables, without ours and our keys in them; passwords are read from their files.

    Each neighbour has what its peer group says for it, and no group any more. Groups are there for
    ranges.

    Raises:
        errors.ConfigError: `password-file`; `bad-value`, as `policies.check`.
    """
    policies.check(source)
    document: Table = copy.deepcopy(dict(source.document))
    for table in vocabulary.OURS:
        document.pop(table, None)
    for path in vocabulary.GONE:
        table, _, key = path.partition(".")
        document.get(table, {}).pop(key, None)
    for name in ("peer-groups", "neighbors", "dynamic-neighbors"):
        for number, one in enumerate(document.get(name, ())):
            _strip(one, name, source.place(f"{name}[{number}].config.auth-password-file"))
    groups = {one["config"]["peer-group-name"]: one for one in document.get("peer-groups", ())}
    document["neighbors"] = [_dissolve(one, groups) for one in document.get("neighbors", ())]
    return document


def without(
    document: Mapping[str, Any],
    addresses: Collection[model.Address],
    prefixes: Collection[model.Prefix],
) -> Table:
    """A document without some neighbours and ranges: those that a flag says all of."""
    return {
        **document,
        "neighbors": [
            one for one in document.get("neighbors", ()) if address_of(one) not in addresses
        ],
        "dynamic-neighbors": [
            one for one in document.get("dynamic-neighbors", ()) if prefix_of(one) not in prefixes
        ],
    }


def address_of(table: Mapping[str, Any]) -> model.Address:
    """Whose table of `[[neighbors]]` it is."""
    return ipaddress.ip_address(table["config"]["neighbor-address"])


def prefix_of(table: Mapping[str, Any]) -> model.Prefix:
    """Likewise of `[[dynamic-neighbors]]`."""
    return ipaddress.ip_network(table["config"]["prefix"])


def _strip(table: Table, name: str, where: str) -> None:
    config = table.get("config", {})
    if file := config.get("auth-password-file"):
        config["auth-password"], _ = neighbors.read_password(where, pathlib.Path(file))
    for key in vocabulary.OURS_INSIDE[f"{name}.config"].split():
        config.pop(key, None)


def _dissolve(neighbor: Table, groups: Mapping[str, Table]) -> Table:
    name = neighbor["config"].pop("peer-group", "")
    if not name:
        return neighbor
    group = copy.deepcopy(groups[name])
    del group["config"]["peer-group-name"]
    return _over(group, neighbor)


def _over(below: Table, above: Mapping[str, Any]) -> Table:
    """Key by key; a list is one value, as GoBGP takes `afi-safis`."""
    for key, value in above.items():
        old = below.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        below[key] = _over(old, value) if both and old is not None else value
    return below
