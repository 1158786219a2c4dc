"""Which nexthop object stands for which gateways, example by example."""

from __future__ import annotations

import ipaddress

from bgp_ipvlan import gateways, model, ownership
from bgp_ipvlan.plan.learned import Way

A, B = (model.Gateway(ipaddress.ip_address(f"192.0.2.{n}")) for n in (2, 3))


def way(*numbers: int) -> Way:
    """Through eth1, which is 3."""
    hops = (model.NextHop(ipaddress.ip_address(f"192.0.2.{n}"), 3) for n in numbers)
    return Way(model.MAIN, tuple(hops))


def test_what_an_earlier_run_left_is_used_and_an_id_of_this_one_is_not_used_again() -> None:
    """The kernel may still have it, for others who use it, and the books know it as gone."""
    found = gateways.Gateways(objects=True)
    first = model.Via(ownership.SINGLE_IDS[0])
    left = {first: way(2).next_hops}
    assert not any(found.observe(left, frozenset()))
    assert found.find((A,), way(2))[0].via == first
    found.forget(first)
    for there in (left, {}):
        assert not any(found.observe(there, frozenset()))
        again = found.find((A,), way(2))[0].via
        assert again != first
        found.forget(again)


def test_ids_are_used_again_when_there_are_no_others() -> None:
    """Half a lifetime of next hops later."""
    found = gateways.Gateways(objects=True)
    ids = set()
    for _ in range(len(ownership.SINGLE_IDS) + 1):
        via = found.find((A,), way(2))[0].via
        ids.add(via.id)
        found.forget(via)
    assert ids == set(ownership.SINGLE_IDS)


def test_an_id_that_somebody_else_has_is_passed_over() -> None:
    """An entry that has it is forgotten, and gets another; so does whoever comes first."""
    found = gateways.Gateways(objects=True)
    first, second, third = (model.Via(id_) for id_ in ownership.SINGLE_IDS[:3])
    found.observe({}, frozenset({first.id}))
    entry, _ = found.find((A,), way(2))
    assert entry.via == second
    assert found.observe({}, frozenset({first.id, second.id}))[1] == [entry]
    assert found.find((A,), way(2))[0].via == third
