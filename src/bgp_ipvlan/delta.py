"""The books of one table's routes: what is wanted, what is there, and what to do about it.

Pure. The invariants:
- What the kernel has, or is about to have, is what is wanted, but for `_other`. What `want`,
  `lost`, `retry`, `observe` and `sweep` return must be written, in order, or reported with
  `failed`.
- Only differences are ever returned: the cost of a change is the size of the change.
- A route that was there before us and is not wanted stays until `sweep` (D4).
Values are interned, so that a hundred thousand routes of one next hop are compared by
identity. Keys are NLRI: family and table are the book's, the metric is constant, and so
the key is the kernel's own (D11).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from bgp_ipvlan import model

Batches = list[model.RouteBatch]
_There = list[model.RouteValue | None]
"""What the kernel has, of each of some prefixes."""

_SOME = model.Device(-1)
"""A value that is never wanted: the kernel has a route of ours there, and we do not know which.
No reading gives it, so that the next one is news."""


class RouteBook:
    """See the module.

    Args:
        table: whose routes these are.
    """

    def __init__(self, table: model.Table) -> None:
        self.table = table
        self.wanted: dict[model.Nlri, model.RouteValue] = {}
        self.failing: set[model.Nlri] = set()
        """Routes the kernel refused to set or delete, until the next try."""
        self._other: dict[model.Nlri, model.RouteValue | None] = {}
        """What the kernel has where that is not what is wanted; None is nothing."""
        self._users: Counter[model.RouteValue] = Counter()
        """How many routes there are with a value."""
        self._gone: set[model.RouteValue] = set()
        """Values whose routes the kernel has deleted, with the object they pointed at."""
        self._bereft: set[model.RouteValue] = set()
        """Those of them that were in use when they went."""
        self._kept: set[model.RouteValue] = set()
        """Those of them whose routes are still there, because others use the object."""
        self._just_gone: set[model.RouteValue] = set()
        """Those of them that a reading need not know yet."""
        self._told: set[model.Nlri] = set()
        self._values: dict[model.RouteValue, model.RouteValue] = {}
        self._touched: set[model.Nlri] | None = None
        self._swept = False

    def actual(self, prefix: model.Nlri) -> model.RouteValue | None:
        """What the kernel has, or is about to have."""
        value = self._other[prefix] if prefix in self._other else self.wanted.get(prefix)
        if value is not None and value in self._gone:
            return _SOME if value in self._kept else None
        return value

    def has(self, value: model.RouteValue) -> bool:
        """Whether the kernel has routes with this value, or is about to."""
        return self._users[value] > 0

    def uses(self, value: model.RouteValue) -> bool:
        """Whether the kernel has routes with this value, or is about to, or should have."""
        there = self._users[value] > 0 and value not in self._gone
        return there or any(self.wanted.get(p) == value for p in self.failing)

    def stranded(self) -> list[model.Nlri]:
        """What is wanted with values that have gone."""
        gone = self._identities(self._gone & self._bereft)
        return [p for p, value in self.wanted.items() if id(value) in gone] if gone else []

    def _identities(self, values: Iterable[model.RouteValue]) -> set[int]:
        """To look for values by: hashing a hundred thousand would take the loop's time."""
        return {id(self._values.get(value)) for value in values}

    # --- what is wanted ------------------------------------------------------------------

    def want(self, value: model.RouteValue | None, prefixes: list[model.Nlri]) -> Batches:
        """Want one route for some prefixes, or (None) none any more.

        Returns:
            What to write.
        """
        if not prefixes:
            return []
        if self._touched is not None:
            self._touched.update(prefixes)
        if self._told or self.failing:
            self.failing.difference_update(prefixes)
            self._told.difference_update(prefixes)
        plain = not self._gone and (not self._other or self._other.keys().isdisjoint(prefixes))
        if value is None:
            pop = self.wanted.pop
            if plain:
                return self._delete(prefixes, [pop(prefix, None) for prefix in prefixes])
            if not self._swept:
                # What an earlier run left stays until all is known, refused or not (D4).
                prefixes = [prefix for prefix in prefixes if prefix in self.wanted]
            there = self._take(prefixes)
            for prefix in prefixes:
                pop(prefix, None)
            return self._delete(prefixes, there)
        value = self._values.setdefault(value, value)
        if plain and self.wanted.keys().isdisjoint(prefixes):
            batches = self._create(value, prefixes)
        else:
            batches = self._set(value, prefixes, self._take(prefixes))
        self.wanted.update(dict.fromkeys(prefixes, value))
        return batches

    def _take(self, prefixes: Iterable[model.Nlri]) -> _There:
        """What the kernel has of some prefixes, which `_other` does not tell any more."""
        other, wanted, gone = self._other, self.wanted, self._gone
        there: _There = []
        for prefix in prefixes:
            value = other.pop(prefix) if prefix in other else wanted.get(prefix)
            if gone and value in gone and value is not None:
                self._users[value] -= 1
                value = _SOME if value in self._kept else None
                self._users[_SOME] += value is not None
            there.append(value)
        return there

    def _delete(self, prefixes: list[model.Nlri], there: _There) -> Batches:
        batches = []
        for value, keys in _alike(prefixes, there):
            if value is not None:
                self._users[value] -= len(keys)
                was = value if isinstance(value, model.Via) else None
                batches.append(model.RouteBatch(self.table, None, keys, was=was))
        return batches

    def _create(self, value: model.RouteValue, prefixes: list[model.Nlri]) -> Batches:
        self._users[value] += len(prefixes)
        return [model.RouteBatch(self.table, value, prefixes)]

    def _set(self, value: model.RouteValue, prefixes: list[model.Nlri], there: _There) -> Batches:
        """Make or replace what is not as it should be."""
        old: list[model.Nlri] = []
        new: list[model.Nlri] = []
        for before, keys in _alike(prefixes, there):
            if before is None:
                new = keys
            elif before is not value:
                self._users[before] -= len(keys)
                old += keys
        batches = []
        if old:
            self._users[value] += len(old)
            batches.append(model.RouteBatch(self.table, value, old, replace=True))
        return batches + self._create(value, new) if new else batches

    # --- what the kernel says ----------------------------------------------------------------

    def gone(self, value: model.RouteValue, *, kept: bool = False) -> None:
        """The kernel deletes, or has deleted, all routes with this value: at no cost per route.

        They are absent from now on, or (`kept`) lead we know not where. Who wants something else
        for them says so (`want`).
        """
        if self.uses(value):
            self._bereft.add(value)
        self._gone.add(value)
        if kept:
            self._kept.add(value)
        self._just_gone.add(value)

    def _not_gone(self, values: set[model.RouteValue]) -> None:
        """The kernel still has routes with these: those it has none of are absent one by one."""
        for prefix in self.wanted.keys() | self._other.keys():
            value = self._other[prefix] if prefix in self._other else self.wanted.get(prefix)
            if value in values:
                self._have(prefix, None)
        self._gone -= values

    def failed(self, failure: model.RouteFailure) -> bool:
        """The kernel refused one route; it is tried again by `retry`.

        Returns:
            Whether that was known already, or no longer matters.
        """
        prefix = failure.prefix
        if self.actual(prefix) != failure.value:
            # It comes late: another write for this prefix is on its way, and answered after it.
            return True
        # What was to be replaced or deleted is still there.
        self._have(prefix, _SOME if failure.replace or failure.value is None else None)
        self.failing.add(prefix)
        known = prefix in self._told
        self._told.add(prefix)
        return known

    def retry(self, only: Collection[model.Nlri] | None = None) -> Batches:
        """What was refused, once more: all of it, or `only` some."""
        failing = self.failing if only is None else self.failing.intersection(only)
        self.failing = self.failing - failing
        return self._repair(failing, delete=True)

    def lost(self, prefixes: Iterable[model.Nlri], *, present: bool) -> Batches:
        """Somebody deleted some routes of ours, or (`present`) changed them.

        Returns:
            What to write to put them back, or away.
        """
        changed = list(prefixes)
        self._changed(changed, present=present)
        self.failing.difference_update(changed)
        return self._repair(changed, delete=self._swept)

    def hold(self, prefixes: Iterable[model.Nlri], *, present: bool) -> list[model.Nlri]:
        """As `lost`, but they are repaired with `retry`.

        Returns:
            Those that have to be.
        """
        changed = list(prefixes)
        self._changed(changed, present=present)
        held = [p for p in changed if p in self._other and (p in self.wanted or self._swept)]
        self.failing.update(held)
        return held

    def _changed(self, prefixes: list[model.Nlri], *, present: bool) -> None:
        if self._touched is not None:
            self._touched.update(prefixes)
        for prefix in prefixes:
            self._have(prefix, _SOME if present else None)

    def _have(self, prefix: model.Nlri, value: model.RouteValue | None) -> None:
        """The kernel has this, whatever we thought."""
        [old] = self._take([prefix])
        if old is not None:
            self._users[old] -= 1
        if value is not None:
            value = self._values.setdefault(value, value)
            self._users[value] += 1
        if value is not self.wanted.get(prefix):
            self._other[prefix] = value

    def _repair(self, prefixes: Iterable[model.Nlri], *, delete: bool) -> Batches:
        """Bring routes to what is wanted of them, if that can be; `delete` what nobody wants."""
        groups: dict[model.RouteValue | None, list[model.Nlri]] = defaultdict(list)
        for prefix in prefixes:
            groups[self.wanted.get(prefix)].append(prefix)
        batches: Batches = []
        for value, keys in groups.items():
            if value is not None and value not in self._gone:
                batches += self._set(value, keys, self._take(keys))
            elif value is None and delete:
                batches += self._delete(keys, self._take(keys))
        return batches

    # --- reading back --------------------------------------------------------------------------

    def watch(self) -> dict[model.Nlri, model.RouteValue]:
        """The kernel is about to be read: note what changes meanwhile.

        Returns:
            What it should have.
        """
        self._touched = set()
        self._just_gone.clear()
        believed = self.wanted.copy()
        for prefix, value in self._other.items():
            if value is None:
                del believed[prefix]
            else:
                believed[prefix] = value
        gone = self._identities(v for v in self._gone - self._kept if self._users[v] > 0)
        if gone:
            believed = {p: value for p, value in believed.items() if id(value) not in gone}
        return believed

    def observe(self, drift: Mapping[model.Nlri, model.RouteValue | None]) -> Batches:
        """The kernel was read: take what it has for true.

        What was changed since `watch` is left as the books have it, because the reading may
        be older.

        Args:
            drift: what is not as `watch` said; None is a route that is not there.

        Returns:
            What to write to repair it.
        """
        touched, self._touched = self._touched or set(), None
        found = [prefix for prefix in drift if prefix not in touched]
        if self._gone:
            back = (
                self._gone.intersection(filter(None, drift.values())) - self._just_gone - self._kept
            )
            if back:
                self._not_gone(back)
        for prefix in found:
            self._have(prefix, drift[prefix])
        # Refused because a route of ours that we did not know of was there: no longer.
        self.failing.difference_update(p for p in found if drift[p] is not None)
        self._told = {p for p in self._told if self.actual(p) is not self.wanted.get(p, self)}
        if self._gone:
            # Not while it is wanted: who wants something else for those has not said so yet.
            wanted = set(map(id, self.wanted.values()))
            self._gone = {
                value
                for value in self._gone
                if self._users[value] > 0 or id(self._values.get(value)) in wanted
            }
        self._kept &= self._gone
        self._bereft &= self._gone
        self._users = +self._users
        return self._repair((p for p in found if p not in self.failing), delete=self._swept)

    def sweep(self) -> Batches:
        """All is known: delete what is there and not wanted, now and after each reading."""
        self._swept = True
        surplus = [prefix for prefix in self._other if prefix not in self.wanted]
        return self._delete(surplus, self._take(surplus))


def _alike(
    prefixes: list[model.Nlri], there: _There
) -> Iterable[tuple[model.RouteValue | None, list[model.Nlri]]]:
    """Group prefixes by the value there is of them; in most batches that is one."""
    if there and there.count(there[0]) == len(there):
        return [(there[0], prefixes)]
    groups: dict[int, tuple[model.RouteValue | None, list[model.Nlri]]] = {}
    for prefix, value in zip(prefixes, there, strict=True):
        # By identity: hashing a value costs more than all the rest here.
        group = groups.get(id(value))
        if group is None:
            group = groups[id(value)] = value, []
        group[1].append(prefix)
    return groups.values()
