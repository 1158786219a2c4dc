"""The books of one family's routes: what is wanted, what is there, and what to do about it.

Pure. The invariants:
- `actual` is what the kernel has or is about to have: what `want`, `lost`, `retry`,
  `observe` and `sweep` return must be written, in order, or reported with `failed`.
- Only differences are ever returned: the cost of a change is the size of the change.
- A route that was there before us and is not wanted stays until `sweep` (D4).
Values are interned, so that a hundred thousand routes of one next hop are compared by
identity. Keys are NLRI; table and metric are constant here (D11).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model

Batches = list[model.RouteBatch]

_SOME = model.Device(0)
"""A value that is never wanted: the kernel has a route of ours there, and we do not know which."""


class RouteBook:
    """See the module.

    Args:
        family: whose routes these are.
    """

    def __init__(self, family: model.Family) -> None:
        self.family = family
        self.wanted: dict[model.Nlri, model.RouteValue] = {}
        self.actual: dict[model.Nlri, model.RouteValue] = {}
        self.failing: set[model.Nlri] = set()
        """Routes the kernel refused to set or delete, until the next try."""
        self._told: set[model.Nlri] = set()
        self._values: dict[model.RouteValue, model.RouteValue] = {}
        self._touched: set[model.Nlri] | None = None
        self._swept = False

    def want(self, value: model.RouteValue | None, prefixes: list[model.Nlri]) -> Batches:
        """Want one route for some prefixes, or (None) none any more.

        Returns:
            What to write.
        """
        if not prefixes:
            return []
        if self._touched is not None:
            self._touched.update(prefixes)
        if self._told:
            for prefix in prefixes:
                self.failing.discard(prefix)
                self._told.discard(prefix)
        if value is None:
            return self._drop(prefixes)
        value = self._values.setdefault(value, value)
        self.wanted.update(dict.fromkeys(prefixes, value))
        return self._set(value, prefixes)

    def _drop(self, prefixes: list[model.Nlri]) -> Batches:
        wanted, actual = self.wanted, self.actual
        for prefix in prefixes:
            wanted.pop(prefix, None)
        there = [prefix for prefix in prefixes if actual.pop(prefix, None) is not None]
        return [model.RouteBatch(self.family, None, there)] if there else []

    def _set(self, value: model.RouteValue, prefixes: list[model.Nlri]) -> Batches:
        actual = self.actual
        new = [prefix for prefix in prefixes if prefix not in actual]
        batches = []
        if len(new) < len(prefixes):
            old = [
                prefix
                for prefix in prefixes
                if (there := actual.get(prefix)) is not None and there is not value
            ]
            if old:
                batches.append(model.RouteBatch(self.family, value, old, replace=True))
                actual.update(dict.fromkeys(old, value))
        if new:
            batches.append(model.RouteBatch(self.family, value, new))
            actual.update(dict.fromkeys(new, value))
        return batches

    def failed(self, failure: model.RouteFailure) -> bool:
        """The kernel refused one route; it is tried again by `retry`.

        Returns:
            Whether that was known already, or no longer matters.
        """
        prefix = failure.prefix
        if self.actual.get(prefix) != failure.value:
            # It comes late: another write for this prefix is on its way, and answered after it.
            return True
        if failure.replace or failure.value is None:
            # What was to be replaced or deleted is still there.
            self.actual[prefix] = _SOME
        else:
            del self.actual[prefix]
        self.failing.add(prefix)
        known = prefix in self._told
        self._told.add(prefix)
        return known

    def retry(self) -> Batches:
        """What was refused, once more."""
        groups: dict[model.RouteValue | None, list[model.Nlri]] = defaultdict(list)
        for prefix in self.failing:
            groups[self.wanted.get(prefix)].append(prefix)
        self.failing.clear()
        batches: Batches = []
        for value, prefixes in groups.items():
            batches += self._drop(prefixes) if value is None else self._set(value, prefixes)
        return batches

    def lost(self, prefixes: Iterable[model.Nlri], *, present: bool) -> Batches:
        """Somebody deleted some routes of ours, or (`present`) changed them.

        Returns:
            What to write to have them back; nothing for those that are not wanted.
        """
        groups: dict[model.RouteValue, list[model.Nlri]] = defaultdict(list)
        for prefix in prefixes:
            value = self.wanted.get(prefix)
            if value is not None and self.actual.get(prefix) is value:
                groups[value].append(prefix)
            elif not present:
                self.actual.pop(prefix, None)
        return [
            model.RouteBatch(self.family, value, keys, replace=present)
            for value, keys in groups.items()
        ]

    def watch(self) -> None:
        """The kernel is about to be read: note what changes meanwhile."""
        self._touched = set()

    def observe(self, there: Mapping[model.Nlri, model.RouteValue]) -> Batches:
        """The kernel was read: take what it has for true.

        What was changed since `watch` is left as the books have it, because the reading may
        be older.

        Returns:
            What to write to repair the difference.
        """
        touched, self._touched = self._touched or set(), None
        intern = self._values.setdefault
        actual = {prefix: intern(value, value) for prefix, value in there.items()}
        for prefix in touched:
            actual.pop(prefix, None)
            if prefix in self.actual:
                actual[prefix] = self.actual[prefix]
        self.actual = actual
        # Refused because a route of ours that we did not know of was there: no longer.
        self.failing = {p for p in self.failing if p not in actual}
        self._told -= {p for p in self._told if p in actual and actual[p] is self.wanted.get(p)}
        groups: dict[model.RouteValue, list[model.Nlri]] = defaultdict(list)
        for prefix, value in self.wanted.items():
            if actual.get(prefix) is not value and prefix not in self.failing:
                groups[value].append(prefix)
        repairs = [batch for value, keys in groups.items() for batch in self._set(value, keys)]
        return repairs + (self._surplus() if self._swept else [])

    def sweep(self) -> Batches:
        """All is known: delete what is there and not wanted, now and after each reading."""
        self._swept = True
        return self._surplus()

    def _surplus(self) -> Batches:
        extra = [prefix for prefix in self.actual if prefix not in self.wanted]
        return self._drop(extra)
