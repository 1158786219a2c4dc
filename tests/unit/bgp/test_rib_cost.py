"""What the tables cost, counted in function calls: no clock is asked."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable

from bgp_ipvlan import model
from bgp_ipvlan.bgp import rib
from tests.unit.bgp.test_decision import NEIGHBORS, a_path
from tests.unit.bgp.test_rib import hosts

V4 = model.Family.IPV4
FIRST = NEIGHBORS[0]


def _calls(work: Callable[..., object], *args: object) -> int:
    """How many function calls some work makes."""
    count = 0

    def profile(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        work(*args)
    finally:
        sys.setprofile(None)
    return count


def test_no_call_per_prefix() -> None:
    """D2: learning, announcing again and losing a batch makes no call per prefix of it.

    All prefixes of an UPDATE share one object in both tables.
    """
    tables = rib.Rib()
    batch = hosts(5000)
    for path in (a_path(1), a_path(1), a_path(1, med=7)):
        assert _calls(tables.learn, FIRST, V4, path, batch) < 500
    assert len(set(map(id, tables.best[V4].values()))) == 1
    assert tables.best[V4][batch[0]] is tables._neighbors[V4][FIRST].accepted.rows[batch[-1]]
    assert _calls(tables.redecide, V4, batch) < 500
    assert len(tables.forget(FIRST)[V4]) == len(batch)
    assert _calls(tables.redecide, V4, batch) < 500


def test_cost_does_not_grow_with_other_neighbors() -> None:
    """Neighbours with other prefixes are not asked."""
    counts = []
    for others in (1, 200):
        tables = rib.Rib()
        for n in range(others):
            other = a_path(9, neighbor=ipaddress.ip_address(0x0B000000 + n))
            tables.learn(other.neighbor, V4, other, hosts(10, 1000 + 10 * n))
        tables.learn(FIRST, V4, a_path(1), hosts(10))
        counts.append(_calls(tables.learn, FIRST, V4, a_path(1, med=5), hosts(10)))

    assert counts[0] == counts[1]
