"""The tables: against a naive model over any history, and some histories told one by one."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

import hypothesis
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.bgp import adj_rib_in, decision, rib
from tests.unit.bgp.test_decision import NEIGHBORS, a_path, competitors, paths

V4, V6 = model.Family.IPV4, model.Family.IPV6
FIRST, SECOND, THIRD = NEIGHBORS
PREFIXES = tuple(bytes((24, 10, 0, n)) for n in range(5))

Key = tuple[model.Address, model.Nlri, int]
Paths = tuple[model.Path, ...]


def hosts(count: int, start: int = 0) -> list[model.Nlri]:
    """Host routes."""
    return [bytes((32,)) + (0x0A000000 + n).to_bytes(4) for n in range(start, start + count)]


# --- any history --------------------------------------------------------------------


@dataclasses.dataclass
class Step:
    """Something that happens to the tables; not every kind uses all of it."""

    what: str
    neighbor: model.Address
    prefixes: list[model.Nlri]
    path: model.Path
    path_id: int | None


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ["learn"] * 4
            + ["withdraw", "withdraw", "refuse", "stale", "flush", "forget", "redecide", "usable"]
        ),
        st.sampled_from(NEIGHBORS),
        st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=4),
        paths,
        st.none() | st.integers(0, 2),
    ).map(
        lambda step: dataclasses.replace(
            step,
            path=dataclasses.replace(step.path, neighbor=step.neighbor, path_id=step.path_id or 0),
        )
    ),
    max_size=25,
)


class Naive:
    """The tables as one would first think of them."""

    def __init__(self) -> None:
        self.known: dict[Key, tuple[model.Path, str]] = {}
        """Paths, and why they are refused, or ""."""
        self.stale: set[tuple[model.Address, model.Nlri]] = set()
        self.unusable: set[model.Address] = set()

    def step(self, step: Step) -> None:
        """Let something happen."""
        match step.what:
            case "learn" | "refuse":
                self._announce(step)
            case "withdraw":
                for prefix in step.prefixes:
                    self._drop(step.neighbor, prefix, step.path_id)
            case "stale":
                self.stale |= {key[:2] for key in self.known if key[0] == step.neighbor}
            case "flush" | "forget":
                held = self.stale if step.what == "flush" else {key[:2] for key in self.known}
                for neighbor, prefix in held:
                    if neighbor == step.neighbor:
                        self._drop(neighbor, prefix, None)
            case "usable":
                self.unusable ^= {step.path.next_hop}
        self.stale &= {key[:2] for key in self.known}

    def _announce(self, step: Step) -> None:
        reason = "import-policy" if step.what == "refuse" else ""
        for prefix in step.prefixes:
            renewed = (step.neighbor, prefix) in self.stale
            self._drop(step.neighbor, prefix, None if renewed else step.path_id)
            self.stale.discard((step.neighbor, prefix))
            self.known[step.neighbor, prefix, step.path.path_id] = step.path, reason

    def _drop(self, neighbor: model.Address, prefix: model.Nlri, path_id: int | None) -> None:
        for key in list(self.known):
            if key[:2] == (neighbor, prefix) and path_id in {None, key[2]}:
                del self.known[key]

    def usable(self, path: model.Path) -> bool:
        """Whether a path's next hop can be used."""
        return path.next_hop not in self.unusable

    def candidates(self) -> dict[model.Nlri, list[model.Path]]:
        """All paths that are not refused."""
        found: dict[model.Nlri, list[model.Path]] = collections.defaultdict(list)
        for (_, prefix, _), (path, reason) in self.known.items():
            if not reason:
                found[prefix].append(path)
        return found

    def best(self) -> dict[model.Nlri, Paths]:
        """The choice over all tables."""
        return {
            prefix: decision.select(given, usable=self.usable, maximum=2)
            for prefix, given in self.candidates().items()
        }

    def counts(self, neighbor: model.Address) -> tuple[int, int, int]:
        """Paths received, refused, and prefixes stale."""
        reasons = [
            reason for (holder, _, _), (_, reason) in self.known.items() if holder == neighbor
        ]
        return (
            len(reasons),
            sum(map(bool, reasons)),
            sum(holder == neighbor for holder, _ in self.stale),
        )

    def refusals(self) -> list[model.Refusal]:
        """All refused paths."""
        return [
            model.Refusal(V4, prefix, path, reason)
            for (_, prefix, _), (path, reason) in self.known.items()
            if reason
        ]


class Told:
    """The tables, their changes added up, and the prefixes still to be decided."""

    def __init__(self) -> None:
        self.tables = rib.Rib(maximum_paths=2)
        self.best: dict[model.Nlri, Paths] = {}
        self.waiting: list[model.Nlri] = []

    def step(self, step: Step) -> None:
        """Let something happen."""
        tables, who = self.tables, step.neighbor
        match step.what:
            case "learn":
                self._add(tables.learn(who, V4, step.path, step.prefixes, path_id=step.path_id))
            case "withdraw":
                self._add(tables.learn(who, V4, None, step.prefixes, path_id=step.path_id))
            case "refuse":
                args = (step.path, step.prefixes, "import-policy")
                self._add(tables.refuse(who, V4, *args, path_id=step.path_id))
            case "stale":
                tables.mark_stale(who, (V4,))
            case "flush":
                self.waiting += tables.flush_stale(who, V4)
            case "forget":
                self.waiting += tables.forget(who).get(V4, [])
            case "redecide":
                self.decide(len(step.prefixes))
            case "usable":
                self._add(tables.redecide(V4, tables.contested(V4)))

    def decide(self, count: int) -> None:
        """Decide a slice of what waits."""
        these, self.waiting = self.waiting[:count], self.waiting[count:]
        self._add(self.tables.redecide(V4, these))

    def _add(self, changes: Iterable[model.BestPaths]) -> None:
        seen: set[model.Nlri] = set()
        for change in changes:
            assert change.prefixes
            for prefix in change.prefixes:
                assert prefix not in seen
                seen.add(prefix)
                assert self.best.get(prefix, ()) != change.paths
                self.best[prefix] = change.paths


def _refusals(given: Iterable[model.Refusal]) -> list[str]:
    return sorted(map(repr, given))


@hypothesis.given(steps)
def test_tables_equal_a_naive_model(given: list[Step]) -> None:
    """After each step Loc-RIB is the choice over all tables, but for what waits to be decided.

    The changes told add up to it, and the counts are those of the naive tables.
    """
    told, naive = Told(), Naive()
    told.tables.usable = naive.usable
    for step in given:
        naive.step(step)
        told.step(step)

        wanted, best = naive.best(), told.tables.best[V4]
        for prefix in set(PREFIXES).difference(told.waiting):
            assert best.get(prefix) == wanted.get(prefix)
        assert {prefix: found for prefix, found in told.best.items() if found} == best
        _same_books(told.tables, naive)
    while told.waiting:
        told.decide(2)

    assert told.tables.best[V4] == naive.best()
    assert sorted(told.tables.contested(V4)) == sorted(
        prefix for prefix, candidates in naive.candidates().items() if len(candidates) > 1
    )
    assert not told.tables.best[V6]


def _same_books(tables: rib.Rib, naive: Naive) -> None:
    assert _refusals(tables.refusals(V4)) == _refusals(naive.refusals())
    for neighbor in NEIGHBORS:
        counts = tables.received(neighbor), tables.refused(neighbor), tables.stale(neighbor)
        assert counts == naive.counts(neighbor)
        assert tables.count(neighbor, V4) == counts[0]
        assert tables.count(neighbor, V6) == 0


@hypothesis.given(competitors, st.data())
def test_arrival_order_does_not_matter(given: list[model.Path], data: st.DataObject) -> None:
    """Paths of several neighbours and identifiers end in one Loc-RIB, however they came."""
    found = []
    for order in (given, data.draw(st.permutations(given))):
        tables = rib.Rib()
        for path in order:
            tables.learn(path.neighbor, V4, path, list(PREFIXES), path_id=path.path_id)
        found.append(tables.best[V4])

    assert found[0] == found[1] == dict.fromkeys(PREFIXES, decision.select(given, maximum=16))


# --- one story each -----------------------------------------------------------------


def test_a_whole_table_is_one_change() -> None:
    """A neighbour's loss is as few changes as there are winners, not one per prefix."""
    tables = rib.Rib()
    prefixes = hosts(10_000)
    first, second = a_path(1, med=1), a_path(2, med=2)
    for at in range(0, 10_000, 1000):
        changes = tables.learn(FIRST, V4, first, prefixes[at : at + 1000])
        assert [len(change.prefixes) for change in changes] == [1000]
    assert tables.learn(SECOND, V4, second, prefixes) == []

    lost = tables.forget(FIRST)
    assert tables.best[V4][prefixes[0]] == (first,)
    assert {family: sorted(keys) for family, keys in lost.items()} == {V4: prefixes}
    changes = tables.redecide(V4, lost[V4])
    assert [(change.paths, len(change.prefixes)) for change in changes] == [((second,), 10_000)]

    changes = tables.redecide(V4, tables.forget(SECOND)[V4])
    assert [(change.paths, len(change.prefixes)) for change in changes] == [((), 10_000)]


def test_forget_leaves_no_entry() -> None:
    """Neighbours that came and went cost nothing, however they went."""
    tables = rib.Rib()
    for family in model.Family:
        tables.learn(FIRST, family, a_path(1), [b"\0"])
        tables.refuse(FIRST, family, a_path(1), [b"\1\0"], "as-loop")
    tables.learn(SECOND, V4, None, [b"\0"])
    tables.mark_stale(THIRD, model.Family)

    assert tables.forget(FIRST, keep=(V6,)) == {V4: [b"\0"]}
    assert tables.received(FIRST) == tables.count(FIRST, V6) == 2

    tables.mark_stale(FIRST, model.Family)
    assert tables.stale(FIRST) == 2
    assert tables.flush_stale(FIRST, V6) == [b"\0"]
    assert V6 not in {family for family, known in tables._neighbors.items() if known}
    assert tables.forget(FIRST) == {}
    for family in model.Family:
        tables.redecide(family, [b"\0"])
    assert list(tables.refusals(V6)) == []
    assert not any(tables.best.values())
    assert not any(tables._neighbors.values())
    assert not any(tables._contested.values())


def test_new_identifiers_after_a_restart() -> None:
    """RFC 7911: what a path identifier meant ends with the session; all old paths are replaced."""
    tables = rib.Rib()
    old = [a_path(1, path_id=n, next_hop=NEIGHBORS[n]) for n in (1, 2)]
    for path in old:
        tables.learn(FIRST, V4, path, list(PREFIXES), path_id=path.path_id)
    tables.mark_stale(FIRST, (V4,))
    new = a_path(1, path_id=7)

    (change,) = tables.learn(FIRST, V4, new, [PREFIXES[0]], path_id=7)

    assert change == model.BestPaths(V4, (new,), [PREFIXES[0]])
    assert tables.best[V4][PREFIXES[1]] == tuple(old)
    assert tables.stale(FIRST) == len(PREFIXES) - 1
    assert tables.received(FIRST) == 1 + 2 * (len(PREFIXES) - 1)


def test_refused_paths_are_stale_too() -> None:
    """Accepted or refused, what was known before a restart goes with the first new word of it."""
    tables = rib.Rib()
    first, second, third, fourth = PREFIXES[:4]
    tables.learn(FIRST, V4, a_path(1, path_id=1), list(PREFIXES), path_id=1)
    tables.refuse(FIRST, V4, a_path(1, path_id=2), list(PREFIXES), "as-loop", path_id=2)
    tables.mark_stale(FIRST, (V4,))

    new = a_path(1, path_id=3)
    assert tables.refuse(FIRST, V4, new, [first], "cluster-loop", path_id=3) == [
        model.BestPaths(V4, (), [first])
    ]
    tables.learn(FIRST, V4, new, [second], path_id=3)
    assert [one.reason for one in tables.refusals(V4) if one.prefix == first] == ["cluster-loop"]
    assert [one.reason for one in tables.refusals(V4) if one.prefix == second] == []

    # Withdrawn is only what the identifier says; the mark stays as long as something else does.
    tables.learn(FIRST, V4, None, [third], path_id=1)
    tables.learn(FIRST, V4, None, [fourth], path_id=2)
    assert tables.stale(FIRST) == len(PREFIXES) - 2
    tables.learn(FIRST, V4, None, [third], path_id=2)
    assert tables.stale(FIRST) == len(PREFIXES) - 3

    assert sorted(tables.flush_stale(FIRST, V4)) == sorted(PREFIXES[3:])
    assert (tables.received(FIRST), tables.refused(FIRST), tables.stale(FIRST)) == (2, 1, 0)


def test_multipath_across_path_identifiers() -> None:
    """Equal paths of one neighbour are used at once, and each goes by its own identifier."""
    tables = rib.Rib(maximum_paths=2)
    given = [a_path(1, path_id=n, next_hop=NEIGHBORS[n]) for n in (0, 1, 2)]
    for path in given:
        tables.learn(FIRST, V4, path, [b"\0"], path_id=path.path_id)
    assert tables.best[V4][b"\0"] == (given[0], given[1])

    (change,) = tables.learn(FIRST, V4, None, [b"\0"], path_id=0)

    assert change.paths == (given[1], given[2])


def test_too_many_paths_of_one_prefix() -> None:
    """A neighbour with path identifiers without end is bounded in time and memory, and told of."""
    tables = rib.Rib()
    most = adj_rib_in.MAX_PATHS
    for path_id in range(3 * most):
        path = a_path(1, path_id=path_id, med=9)
        tables.learn(FIRST, V4, path, [b"\0"], path_id=path_id)

    assert (tables.received(FIRST), tables.refused(FIRST)) == (2 * most, most)
    assert {one.reason for one in tables.refusals(V4)} == {"too-many-paths"}
    assert tables.learn(FIRST, V4, a_path(1, path_id=most, med=1), [b"\0"], path_id=most) == []
    # One that is known already can still change, and one that goes makes room.
    (change,) = tables.learn(FIRST, V4, a_path(1, path_id=5, med=2), [b"\0"], path_id=5)
    assert change.paths == (a_path(1, path_id=5, med=2),)
    tables.learn(FIRST, V4, None, [b"\0"], path_id=6)
    (change,) = tables.learn(FIRST, V4, a_path(1, path_id=most, med=1), [b"\0"], path_id=most)
    assert change.paths[0].path_id == most
    assert tables.refused(FIRST) == most - 1
