"""The books of one table's routes: what is wanted, what is there, and what to do about it.

Pure. The invariants:
- `actual` is what the kernel has or is about to have: what `want`, `lost`, `retry`,
  `observe` and `sweep` return must be written, in order, or reported with `failed`.
- Only differences are ever returned: the cost of a change is the size of the change.
- A route that was there before us and is not wanted stays until `sweep` (D4).
Values are interned, so that a hundred thousand routes of one next hop are compared by
identity. Keys are NLRI: family and table are the book's, the metric is constant, and so
the key is the kernel's own (D11).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model

Batches = list[model.RouteBatch]

_SOME = model.Device(0)
"""A value that is never wanted: the kernel has a route of ours there, and we do not know which."""


class RouteBook:
    """See the module.

    Args:
        table: whose routes these are.
    """

    def __init__(self, table: model.Table) -> None:
        self.table = table
        self.wanted: dict[model.Nlri, model.RouteValue] = {}
        self.actual: dict[model.Nlri, model.RouteValue] = {}
        self.failing: set[model.Nlri] = set()
        """Routes the kernel refused to set or delete, until the next try."""
        self._users: Counter[model.RouteValue] = Counter()
        """How many routes in `actual` have a value."""
        self._gone: set[model.RouteValue] = set()
        """Values whose routes the kernel has deleted, with the object they pointed at."""
        self._told: set[model.Nlri] = set()
        self._values: dict[model.RouteValue, model.RouteValue] = {}
        self._touched: set[model.Nlri] | None = None
        self._swept = False

    def uses(self, value: model.RouteValue) -> bool:
        """Whether the kernel has routes with this value, or is about to, or should have."""
        return self._users[value] > 0 or any(self.wanted.get(p) == value for p in self.failing)

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
        if self._told:
            for prefix in prefixes:
                self.failing.discard(prefix)
                self._told.discard(prefix)
        if value is None:
            wanted = self.wanted
            for prefix in prefixes:
                wanted.pop(prefix, None)
            return self._drop(prefixes)
        value = self._values.setdefault(value, value)
        self.wanted.update(dict.fromkeys(prefixes, value))
        return self._set(value, prefixes)

    def _drop(self, prefixes: Iterable[model.Nlri]) -> Batches:
        """Delete what is there."""
        pop = self.actual.pop
        groups: dict[int, tuple[model.RouteValue, list[model.Nlri]]] = {}
        for prefix in prefixes:
            value = pop(prefix, None)
            if value is not None:
                # By identity: hashing a value costs more than all the rest here.
                group = groups.get(id(value))
                if group is None:
                    group = groups[id(value)] = value, []
                group[1].append(prefix)
        batches = []
        for value, keys in groups.values():
            self._users[value] -= len(keys)
            if value not in self._gone:
                was = value if isinstance(value, model.Via) else None
                batches.append(model.RouteBatch(self.table, None, keys, was=was))
        return batches

    def _set(self, value: model.RouteValue, prefixes: list[model.Nlri]) -> Batches:
        """Make or replace what is not as it should be."""
        actual = self.actual
        if self._gone:
            self._bury(prefixes)
        new = [prefix for prefix in prefixes if prefix not in actual]
        batches = []
        if len(new) < len(prefixes):
            old = [prefix for prefix in prefixes if actual.get(prefix, value) is not value]
            if old:
                batches.append(model.RouteBatch(self.table, value, old, replace=True))
                self._less([actual[prefix] for prefix in old])
                self._users[value] += len(old)
                actual.update(dict.fromkeys(old, value))
        if new:
            batches.append(model.RouteBatch(self.table, value, new))
            self._users[value] += len(new)
            actual.update(dict.fromkeys(new, value))
        return batches

    def _less(self, values: list[model.RouteValue]) -> None:
        """These routes have other values from now on, or none."""
        found = dict(zip(map(id, values), values, strict=True))
        for key, number in Counter(map(id, values)).items():
            self._users[found[key]] -= number

    # --- values that have gone -------------------------------------------------------------

    def gone(self, value: model.RouteValue) -> None:
        """The kernel deletes, or has deleted, all routes with this value: at no cost per route.

        They are absent from now on. Who wants something else for them says so (`want`).
        """
        self._gone.add(value)

    def _bury(self, prefixes: Iterable[model.Nlri]) -> None:
        """Take routes whose value has gone out of `actual`."""
        dead = [prefix for prefix in prefixes if self.actual.get(prefix) in self._gone]
        self._less([self.actual.pop(prefix) for prefix in dead])

    # --- what the kernel says ----------------------------------------------------------------

    def failed(self, failure: model.RouteFailure) -> bool:
        """The kernel refused one route; it is tried again by `retry`.

        Returns:
            Whether that was known already, or no longer matters.
        """
        prefix = failure.prefix
        if self.actual.get(prefix) != failure.value:
            # It comes late: another write for this prefix is on its way, and answered after it.
            return True
        self._forget(prefix)
        if failure.replace or failure.value is None:
            # What was to be replaced or deleted is still there.
            self._have(prefix, _SOME)
        self.failing.add(prefix)
        known = prefix in self._told
        self._told.add(prefix)
        return known

    def retry(self) -> Batches:
        """What was refused, once more."""
        failing, self.failing = self.failing, set()
        return self._repair(failing, delete=True)

    def lost(self, prefixes: Iterable[model.Nlri], *, present: bool) -> Batches:
        """Somebody deleted some routes of ours, or (`present`) changed them.

        Returns:
            What to write to put them back, or away.
        """
        changed = [p for p in prefixes if p in self.wanted or p in self.actual or present]
        if self._touched is not None:
            self._touched.update(changed)
        for prefix in changed:
            self._forget(prefix)
            if present:
                self._have(prefix, _SOME)
        return self._repair((p for p in changed if p not in self.failing), delete=self._swept)

    def _forget(self, prefix: model.Nlri) -> None:
        value = self.actual.pop(prefix, None)
        if value is not None:
            self._users[value] -= 1

    def _have(self, prefix: model.Nlri, value: model.RouteValue) -> None:
        value = self._values.setdefault(value, value)
        self.actual[prefix] = value
        self._users[value] += 1

    def _repair(self, prefixes: Iterable[model.Nlri], *, delete: bool) -> Batches:
        """Bring routes to what is wanted of them, if that can be now; `delete` what nobody wants."""
        groups: dict[model.RouteValue | None, list[model.Nlri]] = defaultdict(list)
        for prefix in prefixes:
            groups[self.wanted.get(prefix)].append(prefix)
        batches: Batches = []
        for value, keys in groups.items():
            if value is not None and value not in self._gone:
                batches += self._set(value, keys)
            elif value is None and delete:
                batches += self._drop(keys)
        return batches

    # --- reading back --------------------------------------------------------------------------

    def watch(self) -> dict[model.Nlri, model.RouteValue]:
        """The kernel is about to be read: note what changes meanwhile.

        Returns:
            What it should have.
        """
        self._touched = set()
        if any(self._users[value] for value in self._gone):
            self._bury(list(self.actual))
        return self.actual.copy()

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
        for prefix in found:
            self._forget(prefix)
            value = drift[prefix]
            if value is not None:
                self._have(prefix, value)
        # Refused because a route of ours that we did not know of was there: no longer.
        self.failing.difference_update(p for p in found if p in self.actual)
        self._told = {p for p in self._told if self.actual.get(p) is not self.wanted.get(p, self)}
        self._gone = {value for value in self._gone if self._users[value]}
        self._users = +self._users
        return self._repair((p for p in found if p not in self.failing), delete=self._swept)

    def sweep(self) -> Batches:
        """All is known: delete what is there and not wanted, now and after each reading."""
        self._swept = True
        return self._drop([prefix for prefix in self.actual if prefix not in self.wanted])
