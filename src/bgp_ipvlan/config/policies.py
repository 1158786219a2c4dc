"""Do the policies of a file for gobgpd stand on anything?

A name that is not there, or a word that it does not know, makes gobgpd drop the policy with its
default, say so in its log, and go on: what was to be kept in goes out. So it is an error here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bgp_ipvlan import errors
from bgp_ipvlan.config import source as source_

_DEFAULTS = ("accept-route", "reject-route")
_DISPOSITIONS = ("none", *_DEFAULTS)
_PLAIN = {"prefix": "prefix-sets", "neighbor": "neighbor-sets", "tag": "tag-sets"}
_BGP = ("community", "ext-community", "large-community", "as-path")


def check(source: source_.Source) -> None:
    """See the module.

    Raises:
        errors.ConfigError: `bad-value`.
    """
    document = source.document
    policies = {_get(one, "name") for one in document.get("policy-definitions", ())}
    for place, table in _tables(document):
        for direction in ("import", "export"):
            path = f"{place}apply-policy.config.{direction}-policy-list"
            for name in _get(table, f"apply-policy.config.{direction}-policy-list") or ():
                _known(source, path, name, policies, "[[policy-definitions]]")
            default = f"apply-policy.config.default-{direction}-policy"
            _known(source, place + default, _get(table, default), _DEFAULTS)
    for number, policy in enumerate(document.get("policy-definitions", ())):
        for index, statement in enumerate(policy.get("statements", ())):
            place = f"policy-definitions[{number}].statements[{index}]."
            _check_statement(source, place, statement, document.get("defined-sets", {}))


def _tables(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "global.", document.get("global", {})
    for name in ("neighbors", "peer-groups"):
        for number, table in enumerate(document.get(name, ())):
            yield f"{name}[{number}].", table


def _check_statement(
    source: source_.Source, place: str, statement: Mapping[str, Any], sets: Mapping[str, Any]
) -> None:
    path = "actions.route-disposition"
    _known(source, place + path, _get(statement, path), _DISPOSITIONS)
    for kind, group in _PLAIN.items():
        path = f"conditions.match-{kind}-set.{kind}-set"
        names = {_get(one, f"{kind}-set-name") for one in sets.get(group, ())}
        _known(source, place + path, _get(statement, path), names, f"[[defined-sets.{group}]]")
    for kind in _BGP:
        path = f"conditions.bgp-conditions.match-{kind}-set.{kind}-set"
        group = f"bgp-defined-sets.{kind}-sets"
        names = {_get(one, f"{kind}-set-name") for one in _get(sets, group) or ()}
        _known(source, place + path, _get(statement, path), names, f"[[defined-sets.{group}]]")


def _known(source: source_.Source, path: str, value: Any, valid: Any, table: str = "") -> None:
    if not value or value in valid:
        return
    there = ", ".join(sorted(map(str, valid))) or "none"
    expected = f"there is no such {table} (there are: {there})" if table else f"expected {there}"
    raise errors.ConfigError("bad-value", f"{source.place(path)} {value}: {expected}")


def _get(table: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(table, Mapping):
            return None
        table = table.get(key)
    return table
