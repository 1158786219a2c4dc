"""The decision process, step by step of RFC 4271 section 9.1.2.2, and against its plainest form."""

from __future__ import annotations

import collections
import dataclasses
import ipaddress

import hypothesis
import pytest
from hypothesis import strategies as st

from bgp_ipvlan import model
from bgp_ipvlan.bgp import decision

NEIGHBORS = tuple(ipaddress.ip_address(f"192.0.2.{n}") for n in (1, 2, 3))
paths = st.builds(
    model.Path,
    neighbor=st.sampled_from(NEIGHBORS),
    next_hop=st.sampled_from(NEIGHBORS),
    path_id=st.integers(0, 1),
    origin=st.integers(0, 1),
    as_path=st.lists(st.integers(1, 2), max_size=2).map(tuple),
    as_path_length=st.integers(1, 2),
    med=st.none() | st.integers(0, 2),
    local_pref=st.sampled_from([0, 100]),
    communities=st.sampled_from([(), (), (), (model.GRACEFUL_SHUTDOWN,)]),
    originator_id=st.none() | st.integers(1, 2),
    cluster_list=st.sampled_from([(), (1,)]),
    ebgp=st.booleans(),
    router_id=st.integers(1, 2),
)
competitors = st.lists(
    paths, min_size=1, max_size=6, unique_by=lambda path: (path.neighbor, path.path_id)
)


def a_path(number: int, **changes: object) -> model.Path:
    """A path of neighbour 192.0.2.`number`."""
    base = model.Path(
        neighbor=ipaddress.ip_address(f"192.0.2.{number}"),
        next_hop=ipaddress.ip_address(f"192.0.2.{number}"),
        as_path=(64513,),
        as_path_length=1,
        router_id=number,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def best(*given: model.Path) -> model.Path:
    """The best alone."""
    (found,) = decision.select(given)
    return found


def equal(*given: model.Path) -> tuple[model.Path, ...]:
    """All that are used at once."""
    return decision.select(given, maximum=16)


@hypothesis.given(competitors, st.integers(1, 4), st.data())
def test_order_does_not_matter(given: list[model.Path], maximum: int, data: st.DataObject) -> None:
    """The same paths are chosen, in the same order, in whatever order they came."""
    other = data.draw(st.permutations(given))

    assert decision.select(given, maximum=maximum) == decision.select(other, maximum=maximum)


def _pref(path: model.Path) -> int:
    return 0 if model.GRACEFUL_SHUTDOWN in path.communities else path.local_pref


def _by(path: model.Path) -> int | None:
    return path.as_path[0] if path.as_path else None


@hypothesis.given(competitors, st.frozensets(st.sampled_from(NEIGHBORS)))
def test_against_deterministic_med(
    given: list[model.Path], unusable: frozenset[model.Address]
) -> None:
    """Elimination finds what other makers find: each AS sends its winner, and these compete."""

    def rank(path: model.Path) -> tuple[object, ...]:
        return (
            path.next_hop in unusable,
            -_pref(path),
            path.as_path_length,
            path.origin,
        )

    def ties(path: model.Path) -> tuple[object, ...]:
        identifier = path.originator_id or path.router_id
        return (
            not path.ebgp,
            identifier,
            len(path.cluster_list),
            path.neighbor.packed,
            path.path_id,
        )

    by_as = collections.defaultdict(list)
    for path in given:
        by_as[_by(path)].append(path)
    winners = [
        min(group, key=lambda path: (rank(path), path.med or 0, ties(path)))
        for group in by_as.values()
    ]
    winner = min(winners, key=lambda path: (rank(path), ties(path)))
    # Equal is what has the winner's rank and type, and whose MED its own AS does not beat.
    rivals = [path for path in given if rank(path) == rank(winner)]
    as_good = {
        path.next_hop
        for path in rivals
        if path.ebgp == winner.ebgp
        and not any(
            _by(path) == _by(other) and (other.med or 0) < (path.med or 0) for other in rivals
        )
    }

    found = decision.select(given, usable=lambda path: path.next_hop not in unusable, maximum=16)

    assert found[0] is winner
    assert sorted(path.next_hop for path in found) == sorted(as_good)


def test_decision_steps() -> None:
    """Each step of RFC 4271 section 9.1.2.2 decides when all before it are equal."""
    ladder: list[dict[str, object]] = [
        {"local_pref": 200},
        {"as_path_length": 0},
        {"origin": 0},
        {"med": 0},
        {"ebgp": True},
        {"originator_id": 1},
        {"cluster_list": ()},
    ]
    worst: dict[str, object] = {
        "local_pref": 100,
        "as_path_length": 1,
        "origin": 2,
        "med": 5,
        "ebgp": False,
        "originator_id": 2,
        "cluster_list": (1,),
    }
    for step, better in enumerate(ladder):
        winner = a_path(9, **{**worst, **better})
        # The other is best in all that is compared later.
        later = {key: value for one in ladder[step + 1 :] for key, value in one.items()}
        other = a_path(1, **{**worst, **later})

        assert best(other, winner) is winner, better

    assert best(a_path(2, router_id=7), a_path(1, router_id=7)).neighbor == NEIGHBORS[0]
    assert best(a_path(1, path_id=9), a_path(1, path_id=8)).path_id == 8


@pytest.mark.parametrize("scopes", [("eth0", "eth1"), ("eth1", "eth0")])
def test_same_link_local_address_on_two_links(scopes: tuple[str, str]) -> None:
    """Neighbours that differ by their interface only are told apart, whatever the order."""
    given = [a_path(1, neighbor=ipaddress.ip_address(f"fe80::1%{scope}")) for scope in scopes]

    assert str(best(*given).neighbor) == "fe80::1%eth0"


def test_med_is_compared_within_one_as_only() -> None:
    """RFC 4271 section 9.1.2.2 c: the MEDs of different neighbouring AS mean nothing together."""
    far = a_path(1, med=9, as_path=(1,))
    near = a_path(2, med=1, as_path=(2,))

    assert best(near, far) is far
    assert best(near, dataclasses.replace(far, as_path=(2,))) is near
    assert best(a_path(2, med=None), a_path(1, med=1)).med is None


def test_med_eliminates_before_ebgp() -> None:
    """A path that MED has ruled out wins nothing by being external; what beat it may then lose."""
    external = a_path(1, med=9, ebgp=True)
    internal = a_path(3, med=1)
    other = a_path(2, as_path=(64514,))

    assert equal(external, internal, other) == (other, internal)


def test_graceful_shutdown() -> None:
    """RFC 8326: the path of a router about to go loses to any other, and serves if alone."""
    leaving = a_path(1, local_pref=500, communities=(1, model.GRACEFUL_SHUTDOWN))
    other = a_path(2, local_pref=1, as_path_length=9)

    assert best(leaving, other) is other
    assert best(leaving) is leaving


def test_unusable_next_hops_lose() -> None:
    """RFC 4271 section 9.1.2.1: they lose to everything, and are handed on if nothing is left."""
    better, worse = a_path(1, local_pref=500), a_path(2)

    def choose(*unusable: model.Address) -> tuple[model.Path, ...]:
        return decision.select(
            [better, worse], usable=lambda path: path.next_hop not in unusable, maximum=16
        )

    assert choose(better.next_hop) == (worse,)
    assert choose(worse.next_hop) == (better,)
    assert choose(better.next_hop, worse.next_hop) == (better,)


def test_multipath_of_equal_paths() -> None:
    """Paths equal up to the tie-breaks are used at once, best first; whose AS it is may differ."""
    first, second, third = (a_path(n, ebgp=True, as_path=(64512 + n,)) for n in (1, 2, 3))

    assert equal(third, first, second) == (first, second, third)
    assert decision.select([third, first, second], maximum=2) == (first, second)
    for worse in (
        {"local_pref": 99},
        {"as_path_length": 2},
        {"origin": 1},
        {"ebgp": False},
        {"as_path": first.as_path, "med": 1},
        {"communities": (model.GRACEFUL_SHUTDOWN,)},
    ):
        loser = dataclasses.replace(third, **worse)
        assert equal(loser, first, second) == (first, second), worse


def test_multipath_needs_distinct_next_hops() -> None:
    """Two reflectors that tell of the same next hop are one way, the better of them."""
    first, second = a_path(1), a_path(2, next_hop=a_path(1).next_hop)
    third = a_path(3, path_id=4)

    assert equal(second, first, third) == (first, third)
