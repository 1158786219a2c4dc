"""What goes out to a neighbour, message by message."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from bgp_ipvlan import model
from bgp_ipvlan.bgp import capability, message, update
from bgp_ipvlan.engines.embedded import outbox
from tests.unit.bgp.speakers import PREFIX
from tests.unit.bgp.speakers import SIX as SIX_PREFIX
from tests.unit.bgp.test_extensions import RESTART, agreed

V4, V6 = model.Family.IPV4, model.Family.IPV6
KEY = model.nlri(PREFIX)


def box(*prefixes: model.Prefix, hop: str = "192.0.2.1", **theirs: Any) -> outbox.Outbox:
    """An outbox towards a neighbour, with a table that has these."""
    table: dict[model.Family, dict[model.Nlri, model.Announcement]] = {V4: {}, V6: {}}
    for prefix in prefixes:
        one = model.Announcement(prefix=prefix, next_hop=ipaddress.ip_address(hop))
        table[model.Family.of(prefix)][model.nlri(prefix)] = one
    return outbox.Outbox(agreed(**theirs), table)


def said(one: outbox.Outbox) -> list[bytes]:
    """What it sends now, message by message."""
    one.send()
    data, found = one._to.take(), []
    while data:
        size = int.from_bytes(data[16:18])
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize("enhanced", [True, False])
def test_answer_to_a_refresh(enhanced: bool) -> None:
    """RFC 7313 section 4: begin, all routes, end, once; without the capability the routes alone."""
    one = box(PREFIX, enhanced_refresh=enhanced)
    one.refresh(V4)
    first, again = said(one), said(one)

    marks = {update.route_refresh(V4, 1): 0, update.route_refresh(V4, 2): 2} if enhanced else {}
    assert {m: at for at, m in enumerate(first) if m[18] == message.ROUTE_REFRESH} == marks
    assert [m.endswith(KEY) for m in first if m not in marks] == [True]
    assert (again, one.empty) == ([], True)


@pytest.mark.parametrize("restart", [RESTART, None])
def test_end_of_rib_where_it_is_known(restart: capability.GracefulRestart | None) -> None:
    """RFC 4724 section 2: the first table ends with the marker for who offered graceful restart."""
    one = box(PREFIX, graceful_restart=restart)
    one.first(V4)

    assert (update.end_of_rib(V4) in said(one)) is (restart is not None)


def test_next_hop_that_cannot_be_sent_any_more() -> None:
    """A route whose next hop turned into an IPv6 one is taken back from who cannot read that."""
    one = box(PREFIX, hop="2001:db8::1")
    one.mark(V4, [KEY])

    assert said(one) == list(update.withdraw(V4, [KEY]))


def test_ipv6_routes_need_an_ipv6_next_hop() -> None:
    """RFC 8950 is about IPv4 prefixes: an IPv6 prefix never goes out with an IPv4 next hop."""
    one = box(SIX_PREFIX, extended_next_hop=True)

    assert not one.takes(V6, one._table[V6][model.nlri(SIX_PREFIX)])


def test_nothing_is_due_of_a_family_that_was_not_agreed() -> None:
    """Else the outbox would never be empty, and a start gate wait for it."""
    one = box(SIX_PREFIX, families=frozenset((V4,)))
    one.mark(V6, [model.nlri(SIX_PREFIX)])

    assert one.empty


def test_nothing_follows_the_last_withdrawal() -> None:
    """What was announced in the same turn is not said after all was taken back."""
    one = box(PREFIX)
    one.mark(V4, [KEY])
    one.withdraw_all()
    one._to.take()

    assert said(one) == []
