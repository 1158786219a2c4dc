"""Our messages as others see them: every field that tshark decodes is the one we meant."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from lab import namespace, peers
from tests.interop.site import OURS, OURS6, THEM, US, US6, Site
from tests.interop.wire import KEEPALIVE, NOTIFICATION, OPEN, ROUTE_REFRESH, UPDATE, Capture, Part

WIDE = 4200000001
COMMUNITIES = ("64512:7", "65535:65281")
LARGE = ("4200000001:1:2", "0:3:4294967295")
RICH: dict[str, Any] = {
    "communities": COMMUNITIES,
    "large_communities": LARGE,
    "med": 17,
    "local_pref": 250,
    "prepend": 3,
}
ROUTES = (
    {"prefix": OURS, "next_hop": US, **RICH},
    {"prefix": OURS6, "next_hop": US6, "on_link": [f"{US6}/64", "fe80::1/64"], **RICH},
)
PASSIVE = {"passive": True}
"""No connection but ours, so that none collides: what is said then is told by another test."""
BARE = "10.1.9.0/24"
PATH = "update.path_attribute"
WORDS = "moving house – back at ☃"
_TRANSITIVE, _OPTIONAL = "0x40", "0x80"


class OldSpeaker(peers.OpenBgpd):
    """OpenBGPD that says nothing of four-octet AS numbers, as the routers of before 2007.

    BIRD can be silent too, but hears our real number all the same, and refuses it.
    """

    def _neighbor(self, neighbor: peers.Neighbor) -> list[str]:
        return [*super()._neighbor(neighbor), "announce as-4byte no"]


def _json(routes: Sequence[dict[str, Any]]) -> list[str]:
    return [json.dumps(route) for route in routes]


def _said(kind: str, times: int) -> Callable[[Sequence[Part]], bool]:
    return lambda messages: sum(one.kind == kind for one in messages) >= times


def _about(messages: Sequence[Part], prefix: str) -> Iterator[Part]:
    """The UPDATEs that announce a prefix."""
    fields = ("update.nlri", f"{PATH}.mp_reach_nlri")
    for one in messages:
        if any(prefix in one.prefixes(field) for field in fields):
            yield one


def _values(part: Part, *names: str) -> tuple[str, ...]:
    """Numbers that stand together, as people write them."""
    columns = [part.all(name) for name in names]
    return tuple(":".join(row) for row in zip(*columns, strict=True))


# --- between two AS ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def life() -> Iterator[tuple[Capture, list[Part]]]:
    """A session's whole life with BIRD in another AS, with everything that we ever say."""
    with namespace.Lab() as lab:
        site = Site(lab, peers.Bird, (WIDE, 64513), them=PASSIVE)
        capture = Capture(site.host, US)
        site.up(*_json(ROUTES), f"{BARE},{US}")
        peers.wait_learned(site.peer, OURS6)
        site.ours.order("withdraw", prefixes=[OURS, OURS6])
        peers.wait_forgotten(site.peer, OURS6)
        site.peer.refresh(US)
        namespace.wait_until(
            lambda: _said(ROUTE_REFRESH, 4)(capture.messages()), "our answer to a refresh"
        )
        site.ours.order("reset", address=THEM, soft=True)
        site.ours.order("reset", address=THEM, message=WORDS)
        site.ours.wait(lambda: len(site.ours.sessions()) == 3, "our speaker's return")
        peers.wait_learned(site.peer, BARE)
        site.ours.leave()
        yield capture, capture.until(_said(NOTIFICATION, 2), "two NOTIFICATIONs")


@pytest.fixture
def messages(life: tuple[Capture, list[Part]]) -> list[Part]:
    """What we said in it."""
    return life[1]


def test_nothing_is_malformed(life: tuple[Capture, list[Part]]) -> None:
    """Tshark has nothing to say against any packet, and knows every kind of message."""
    capture, said = life

    assert capture.complaints() == []
    assert {one.kind for one in said} == {OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH}


def test_open(messages: list[Part]) -> None:
    """OPEN says who we are, and all that we can."""
    opening = messages[0]

    assert opening.kind == OPEN
    assert opening.one("open.version") == "4"
    assert opening.one("open.myas") == "23456"
    assert opening.one("open.holdtime") == "9"
    assert opening.one("open.identifier") == US
    # Multiprotocol, refresh, RFC 8950, long messages, restart, AS, paths, enhanced refresh.
    assert sorted(map(int, opening.all("cap.type"))) == [1, 1, 2, 5, 6, 64, 65, 69, 70]
    assert _values(opening, "cap.mp.afi", "cap.mp.safi") == ("1:1", "2:1")
    assert _values(opening, "cap.enh.afi", "cap.enh.safi", "cap.enh.nhafi") == ("1:1:2",)
    assert opening.one("cap.4as") == str(WIDE)
    paths = _values(opening, "cap.ap.afi", "cap.ap.safi", "cap.ap.sendreceive")
    assert paths == ("1:1:1", "2:1:1")
    assert opening.one("cap.gr.timers.restart_time") == "30"
    assert opening.one("cap.gr.timers.notification_flag") == "1"


def test_restart_bits(messages: list[Part]) -> None:
    """We are not back from a restart, first with nothing forwarded yet, later with all of it."""
    first, second = (one for one in messages if one.kind == OPEN)

    for opening in (first, second):
        assert opening.one("cap.gr.timers.restart_flag") == "0"
        assert _values(opening, "cap.gr.afi", "cap.gr.safi") == ("1:1", "2:1")
    assert first.all("cap.gr.flag.pfs") == ["0", "0"]
    assert second.all("cap.gr.flag.pfs") == ["1", "1"]


@pytest.mark.parametrize("prefix", [OURS, OURS6])
def test_announcement(messages: list[Part], prefix: str) -> None:
    """An announcement carries each attribute once, well flagged, with what was asked for."""
    update = next(_about(messages, prefix))
    found = update.attributes

    hop = 3 if prefix == OURS else 14
    assert sorted(found) == sorted([1, 2, hop, 4, 8, 32])
    assert len(update.parts(PATH)) == len(found)
    flags = {code: part.one(f"{PATH}.flags") for code, part in found.items()}
    assert flags == {1: "0x40", 2: "0x40", hop: flags[hop], 4: "0x80", 8: "0xc0", 32: "0xc0"}
    assert flags[hop] == (_TRANSITIVE if prefix == OURS else _OPTIONAL)

    assert found[1].one(f"{PATH}.origin") == "0"
    assert found[2].all(f"{PATH}.as_path_segment.type") == ["2"]
    assert found[2].all(f"{PATH}.as_path_segment.as4") == [str(WIDE)] * 4
    assert found[4].one(f"{PATH}.multi_exit_disc") == "17"
    assert _values(found[8], f"{PATH}.community_as", f"{PATH}.community_value") == ("64512:7",)
    assert found[8].one(f"{PATH}.community_wellknown") == "0xffffff01"
    numbers = ("large_communities.ga", "large_communities.ldp1", "large_communities.ldp2")
    assert _values(found[32], *numbers) == LARGE


@pytest.mark.parametrize("prefix", [OURS, OURS6])
def test_order_of_attributes(messages: list[Part], prefix: str) -> None:
    """By their codes (RFC 4271 section 5), but MP_REACH_NLRI before all (RFC 7606 section 5.1)."""
    codes = list(next(_about(messages, prefix)).attributes)

    assert codes == sorted(codes, key=lambda code: (code != 14, code))


def test_next_hops(messages: list[Part]) -> None:
    """IPv4 has its next hop in NEXT_HOP; IPv6 one global address, for a session on IPv4."""
    four = next(_about(messages, OURS)).attributes[3]
    six = next(_about(messages, OURS6)).attributes[14]

    assert four.one(f"{PATH}.next_hop") == US
    assert six.one(f"{PATH}.mp_reach_nlri.afi") == "2"
    assert six.one(f"{PATH}.mp_reach_nlri.safi") == "1"
    assert six.one(f"{PATH}.mp_reach_nlri.next_hop.ipv6") == US6
    assert six.all(f"{PATH}.mp_reach_nlri.next_hop.ipv6.link_local") == []


def test_bare_announcement(messages: list[Part]) -> None:
    """Without options only what is mandatory goes out (RFC 4271 section 5), each time anew."""
    updates = list(_about(messages, BARE))

    assert len(updates) == 3  # when we met, on the refresh, when we met again
    for update in updates:
        assert sorted(update.attributes) == [1, 2, 3]
        assert update.prefixes("update.nlri") == {BARE}
        assert update.all(f"{PATH}.as_path_segment.as4") == [str(WIDE)]


def test_withdrawal(messages: list[Part]) -> None:
    """IPv4 is withdrawn in its field, IPv6 by MP_UNREACH_NLRI and nothing beside it."""
    four = [one for one in messages if one.prefixes("update.withdrawn_routes") == {OURS}]
    six = [one for one in messages if one.prefixes(f"{PATH}.mp_unreach_nlri") == {OURS6}]

    assert [list(one.attributes) for one in four] == [[]]
    assert [list(one.attributes) for one in six] == [[15]]
    assert six[0].one(f"{PATH}.flags") == _OPTIONAL


def test_end_of_rib(messages: list[Part]) -> None:
    """After each OPEN one End-of-RIB of either family, behind its routes (RFC 4724 section 2)."""
    kinds = [
        "open" if one.kind == OPEN else _end(one)
        for one in messages
        if one.kind == OPEN or _end(one)
    ]
    assert kinds == ["open", "ipv4", "ipv6"] * 2
    ends = [index for index, one in enumerate(messages) if _end(one)]
    assert messages.index(next(_about(messages, OURS))) < ends[0]
    assert messages.index(next(_about(messages, OURS6))) < ends[1]


def _end(one: Part) -> str:
    if one.kind != UPDATE or one.all("prefix_length"):
        return ""
    return "ipv6" if one.all(f"{PATH}.mp_unreach_nlri.afi") == ["2"] else "ipv4"


def test_route_refresh(messages: list[Part]) -> None:
    """BIRD's question is answered between BoRR and EoRR (RFC 7313); ours is a plain one."""
    names = ("route_refresh.afi", "route_refresh.subtype", "route_refresh.safi")
    found = [_values(one, *names)[0] for one in messages if one.kind == ROUTE_REFRESH]

    assert sorted(found[:4]) == ["1:1:1", "1:2:1", "2:1:1", "2:2:1"]
    assert found[4:] == ["1:0:1", "2:0:1"]
    begin, end = (
        next(i for i, one in enumerate(messages) if _values(one, *names) == (wanted,))
        for wanted in ("1:1:1", "1:2:1")
    )
    assert [one.prefixes("update.nlri") for one in messages[begin + 1 : end]] == [{BARE}]


def test_notifications(messages: list[Part]) -> None:
    """A reset says why (RFC 9003); leaving withdraws all, then says Administrative Shutdown."""
    reset, leave = (one for one in messages if one.kind == NOTIFICATION)

    assert reset.one("notify.major_error") == leave.one("notify.major_error") == "6"
    assert reset.one("notify.minor_error_cease") == "4"
    assert reset.one("notify.communication") == WORDS
    assert reset.one("notify.communication_length") == str(len(WORDS.encode()))
    assert leave.one("notify.minor_error_cease") == "2"
    assert messages[-2].prefixes("update.withdrawn_routes") == {BARE}
    assert messages[-1].element is leave.element


# --- within one AS, on IPv6 ---------------------------------------------------------------


@pytest.fixture(scope="module")
def inside() -> Iterator[tuple[Capture, list[Part]]]:
    """BIRD of our own AS, on IPv6, with RFC 8950; many routes, then a drain.

    Without RFC 8654: this tshark takes any message of more than 4096 octets for malformed.
    """
    many = [
        {"prefix": f"10.{n >> 8}.{n & 255}.0/24", "next_hop": US} for n in range(0x4000, 0x4700)
    ]
    with namespace.Lab() as lab:
        them = {"extended_next_hop": True, **PASSIVE}
        site = Site(lab, peers.Bird, (64512, 64512), six=True, them=them)
        capture = Capture(site.host, US6)
        by_six = {**ROUTES[0], "next_hop": US6, "on_link": ROUTES[1]["on_link"]}
        site.up(*_json([by_six, ROUTES[1]]))
        peers.wait_learned(site.peer, OURS)
        site.ours.order("announce", routes=many)
        peers.wait_learned(site.peer, str(many[-1]["prefix"]))
        site.ours.order("withdraw", prefixes=[route["prefix"] for route in many])
        peers.wait_forgotten(site.peer, str(many[-1]["prefix"]))
        site.ours.order("graceful_shutdown", on=True)
        namespace.wait_until(
            lambda: len(list(_about(capture.messages(), OURS6))) == 2, "the drain to be told"
        )
        site.ours.leave()
        yield capture, capture.until(_said(NOTIFICATION, 1), "the NOTIFICATION")


def test_nothing_is_malformed_inside(inside: tuple[Capture, list[Part]]) -> None:
    """Nor here, where many prefixes go out in as few messages as hold them."""
    capture, said = inside
    many = [one for one in said if len(one.prefixes("update.nlri")) > 1]

    assert capture.complaints() == []
    assert [int(one.one("length")) > 4090 for one in many] == [True, False]
    assert sum(len(one.prefixes("update.nlri")) for one in many) == 0x700


def test_announcement_inside(inside: tuple[Capture, list[Part]]) -> None:
    """LOCAL_PREF goes out, AS_PATH is empty, and prepending means nothing (RFC 4271 section 5.1)."""
    for prefix in (OURS, OURS6):
        found = next(_about(inside[1], prefix)).attributes

        assert sorted(found) == [1, 2, 4, 5, 8, 14, 32]
        assert found[5].one(f"{PATH}.local_pref") == "250"
        assert found[5].one(f"{PATH}.flags") == _TRANSITIVE
        assert found[2].one(f"{PATH}.length") == "0"


def test_next_hops_inside(inside: tuple[Capture, list[Part]]) -> None:
    """On IPv6 the link-local next hop stands beside (RFC 2545), for IPv4 prefixes too (RFC 8950)."""
    for prefix, family in ((OURS, "1"), (OURS6, "2")):
        reach = next(_about(inside[1], prefix)).attributes[14]

        assert reach.one(f"{PATH}.mp_reach_nlri.afi") == family
        hops = reach.all(f"{PATH}.mp_reach_nlri.next_hop.ipv6")
        hops += reach.all(f"{PATH}.mp_reach_nlri.next_hop.ipv6.link_local")
        assert hops == [US6, "fe80::1"]


def test_drain(inside: tuple[Capture, list[Part]]) -> None:
    """Draining adds GRACEFUL_SHUTDOWN and takes LOCAL_PREF to 0 (RFC 8326 section 4)."""
    for prefix in (OURS, OURS6):
        before, after = _about(inside[1], prefix)

        assert "0xffff0000" in after.all(f"{PATH}.community_wellknown")
        assert "0xffff0000" not in before.all(f"{PATH}.community_wellknown")
        assert after.one(f"{PATH}.local_pref") == "0"
        assert "64512:7" in _values(after, f"{PATH}.community_as", f"{PATH}.community_value")


# --- others -----------------------------------------------------------------------------


def test_two_octet_neighbor() -> None:
    """AS_TRANS stands in AS_PATH and the real numbers in AS4_PATH (RFC 6793 section 4.2.2)."""
    with namespace.Lab() as lab:
        site = Site(lab, OldSpeaker, (WIDE, 64513), them=PASSIVE)
        capture = Capture(site.host, US)
        site.up(*_json(ROUTES))
        peers.wait_learned(site.peer, OURS)
        site.ours.leave()
        said = capture.until(_said(NOTIFICATION, 1), "the NOTIFICATION")

        assert capture.complaints() == []
    found = next(_about(said, OURS)).attributes
    assert sorted(found) == [1, 2, 3, 4, 8, 17, 32]
    assert found[2].all(f"{PATH}.as_path_segment.as2") == ["23456"] * 4
    assert found[17].all(f"{PATH}.as_path_segment.as4") == [str(WIDE)] * 4
    assert found[17].one(f"{PATH}.flags") == "0xc0"


def test_hard_reset() -> None:
    """Where a NOTIFICATION would not end the restart, leaving is a Hard Reset (RFC 8538)."""
    with namespace.Lab() as lab:
        site = Site(lab, peers.Frr, (64512, 64513), them=PASSIVE)
        capture = Capture(site.host, US)
        site.up(*_json(ROUTES))
        assert "graceful-restart-notification" in site.ours.neighbor()["capabilities"]
        site.ours.leave()
        said = capture.until(_said(NOTIFICATION, 1), "the NOTIFICATION")

        assert capture.complaints() == []
    assert said[-1].one("notify.minor_error_cease") == "9"
    assert said[-1].one("notify.minor_data") == "06:02"
