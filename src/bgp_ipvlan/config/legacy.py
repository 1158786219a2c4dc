"""GoBGP's format of 2015, that of the proof of concept, as today's.

What was `[Neighbors] [[Neighbors.NeighborList]] [Neighbors.NeighborList.NeighborConfig] PeerAs = 1`
is `[[neighbors]] [neighbors.config] peer-as = 1` today. The names are nearly the same: capitals for
hyphens, `XConfig` for `config`, `Xs.XList` for a list; the rest is in the tables below. GoBGP took
names in either case then, and so does this; names of today may stand among them.

Pure: from a document to a document, with where each key came from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from bgp_ipvlan.config import vocabulary
from bgp_ipvlan.config.lines import Path

Document: TypeAlias = dict[str, Any]
Origins: TypeAlias = dict[str, Path]
"""Path of a key of today, `neighbors[0].config.peer-as` → that in the file."""
Twice: TypeAlias = dict[str, tuple[Path, Path]]
"""Path of a key of today → both places in the file that say it, differently."""

_RENAMED = {
    "importpolicy": "import-policy-list",
    "exportpolicy": "export-policy-list",
    "inpolicy": "in-policy-list",
    "nexthopin": "next-hop-in-list",
    "communities": "communities-list",
    "memberas": "member-as-list",
}
_MOVED = {
    "global.zebra": "zebra",
    "global.mrt": "mrt-dump",
    "global.listen-config": "global.config",
}
"""Tables that stand elsewhere today."""
_TABLES_THEN: vocabulary.Tree = {
    "mrt": {"config": {"file-name": {}}},
    "zebra": {"config": vocabulary.tree()["zebra"]["config"]},
    "listen-config": {"port": {}, "local-address-list": {}},
}
_MATCH = ("any", "all", "invert")
_NUMBERED: dict[str, tuple[str, ...]] = {
    "peer-type": ("internal", "external"),
    "remove-private-as": ("all", "replace"),
    "send-community": ("standard", "extended", "both", "none"),
    "default-import-policy": ("accept-route", "reject-route"),
    "default-export-policy": ("accept-route", "reject-route"),
    "default-in-policy": ("accept-route", "reject-route"),
    "rpki-validation-result": ("none", "not-found", "valid", "invalid"),
    "origin-eq": ("igp", "egp", "incomplete"),
    "set-route-origin": ("igp", "egp", "incomplete"),
    "route-type": ("none", "internal", "external", "local"),
    "prefix-set.match-set-options": ("any", "invert"),
    "neighbor-set.match-set-options": ("any", "invert"),
    "tag-set.match-set-options": ("any", "invert"),
    "community-set.match-set-options": _MATCH,
    "as-path-set.match-set-options": _MATCH,
}
"""Key, or the end of its path → what its numbers meant."""
_FAMILIES = {"encap": "ipv4-encap"}


def is_legacy(document: Mapping[str, Any]) -> bool:
    """Whether a document is in that format: one of its tables is of those that were renamed."""
    for name, table in document.items():
        inside = {key.lower() for key in table} if isinstance(table, Mapping) else set()
        if f"{name.lower().removesuffix('s')}list" in inside:
            return True
        if name.lower() == "global" and not inside.isdisjoint({"globalconfig", "zebra", "mrt"}):
            return True
    return "definedsets" in {name.lower() for name in document}


def modern(document: Mapping[str, Any]) -> tuple[Document, Origins, Twice]:
    """The same in today's format; a key that is not known keeps its name, in lower case.

    Args:
        document: as TOML has it, names as written.
    """
    converted, origins, twice = _rename(document, _match_2015, _tree_2015(), _value_2015)
    for old, new in _MOVED.items():
        _move(converted, origins, twice, old, new)
    return converted, origins, twice


def lowered(document: Mapping[str, Any]) -> tuple[Document, Origins, Twice]:
    """Keys in lower case, as GoBGP takes them today."""
    return _rename(document, _match_today, {}, lambda _, value: value)


def spelled(path: str) -> str:
    """A path of today as it was in 2015, below the list it is in: for suggestions."""
    names = path.split(".")
    shown = [_camel(name) for name in names]
    for place, name in enumerate(names[1:], 1):
        if name == "config":
            above = names[place - 1]
            lists = above in {
                "neighbors",
                "peer-groups",
                "afi-safis",
                "rpki-servers",
                "bmp-servers",
            }
            shown[place] = _camel(above.removesuffix("s") if lists else above) + "Config"
    return ".".join(shown)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _fold(name: str) -> str:
    return name.lower().replace("-", "")


@functools.cache
def _tree_2015() -> vocabulary.Tree:
    tree = dict(vocabulary.tree())
    tree["global"] = {**tree["global"], **_TABLES_THEN}
    return tree


_Match: TypeAlias = Callable[[str, str, vocabulary.Tree], tuple[str, ...]]
"""A key, the table it is in, what may be there → what it is today: a path; () is the table itself."""


def _match_today(key: str, _table: str, _node: vocabulary.Tree) -> tuple[str, ...]:
    return (key.lower(),)


def _match_2015(key: str, table: str, node: vocabulary.Tree) -> tuple[str, ...]:
    name, above = _fold(key), _fold(table)
    known = {_fold(one): one for one in node}
    if name in known:
        return (known[name],)
    if _RENAMED.get(name) in node:
        return (_RENAMED[name],)
    if name == f"{above.removesuffix('s')}list":
        return ()
    inside = node.get("config", {})
    if inside and name in {f"{above}config", f"{above.removesuffix('s')}config"}:
        return ("config",)
    deep = {_fold(one): one for one in inside}
    return ("config", deep[name]) if name in deep else (key.lower(),)


def _rename(
    document: Mapping[str, Any],
    match: _Match,
    tree: vocabulary.Tree,
    convert: Callable[[str, Any], Any],
) -> tuple[Document, Origins, Twice]:
    renamer = _Renamer(match, convert)
    converted: Document = renamer.value(document, tree, "", ())
    return converted | renamer.strays, renamer.origins, renamer.twice


class _Renamer:
    """Goes through a document once.

    Args:
        match: what a key is today.
        convert: what a value is today; given its path.
    """

    def __init__(self, match: _Match, convert: Callable[[str, Any], Any]) -> None:
        self._match = match
        self._convert = convert
        self.origins: Origins = {}
        self.twice: Twice = {}
        self._latest: Origins = {}
        """Where a path was met last."""
        self.strays: Document = {}
        """What has no place in the document: path → value."""

    def value(self, value: Any, node: vocabulary.Tree, path: str, origin: Path) -> Any:
        """A value, of which `node` says what may be in it, under its path of today."""
        if path:
            self.origins.setdefault(path, origin)
            self._latest[path] = origin
        if not node:
            value = self._convert(path, value)
        if isinstance(value, list):
            return [
                self.value(one, node, f"{path}[{number}]", (*origin, number))
                for number, one in enumerate(value)
            ]
        return self._table(value, node, path, origin) if isinstance(value, Mapping) else value

    def _table(
        self, table: Mapping[str, Any], node: vocabulary.Tree, path: str, origin: Path
    ) -> Any:
        made: Document = {}
        wrapped = None
        for key, inside in table.items():
            names = self._match(key, path.rpartition(".")[2].partition("[")[0], node)
            below, place = node, path
            for name in names:
                below, place = below.get(name, {}), f"{place}.{name}" if place else name
            found = self.value(inside, below, place, (*origin, key))
            if names:
                self._note(place, _put(made, names, found))
            else:
                if wrapped is not None:
                    self._note(path, [""])
                wrapped = found
        if wrapped is None:
            return made
        # Xs.XList: the list is Xs. What else is in Xs must not get lost unseen.
        self.strays.update({f"{path}.{name}": one for name, one in made.items()})
        return wrapped

    def _note(self, path: str, below: Iterable[str]) -> None:
        """Remember what was said twice."""
        for one in below:
            full = path + one
            self.twice[full] = self.origins[full], self._latest[full]


def _put(table: Document, names: tuple[str, ...], value: Any) -> list[str]:
    """A table adds to one that is there: AfiSafiName beside AfiSafiConfig.

    Returns:
        Below the path of `names`, what is there already and says something else.
    """
    *above, last = names
    for name in above:
        table = table.setdefault(name, {})
    if last not in table:
        table[last] = value
        return []
    return list(_merge(table[last], value, ""))


def _merge(there: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(value, dict):
        for key, one in value.items():
            if key in there:
                yield from _merge(there[key], one, f"{path}.{key}")
            else:
                there[key] = one
    elif there != value:
        yield path


def _value_2015(path: str, value: Any) -> Any:
    """A value as it is written today."""
    name = path.rpartition(".")[2]
    if isinstance(value, list) and value and all(_is_single(one) for one in value):
        # [[…AsPathList]] AsPath = "^65100": a list of texts today.
        return [next(iter(one.values())) for one in value]
    if name == "route-disposition" and isinstance(value, Mapping):
        chosen = {_fold(key) for key, one in value.items() if one is True}
        return "accept-route" if "acceptroute" in chosen else "reject-route"
    if name == "afi-safi-name":
        return _FAMILIES.get(value, value)
    if name == "options" and isinstance(value, str):
        return value.lower()
    for end, meanings in _NUMBERED.items():
        if path.endswith(end) and type(value) is int and value in range(len(meanings)):
            return meanings[value]
    return value


def _is_single(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1


def _move(document: Document, origins: Origins, twice: Twice, old: str, new: str) -> None:
    table, _, name = old.partition(".")
    found = document.get(table, {}).pop(name, None)
    if found is None:
        return
    place = new
    if new == "mrt-dump":
        found.setdefault("config", {}).setdefault("dump-type", "updates")
        found, place = [found], f"{new}[0]"
    above, _, last = new.rpartition(".")
    for below in _put(document, (*filter(None, above.split(".")), last), found):
        twice[new + below] = origins[new + below], origins[old + below.removeprefix("[0]")]
    for path in [path for path in origins if path == old or path.startswith(f"{old}.")]:
        origins[place + path.removeprefix(old)] = origins.pop(path)
