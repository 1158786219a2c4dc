"""`bgp-test-framework`, an adversarial suite by others, and what is really answered to it.

Its own verdict is worth nothing: it takes the OPEN that every speaker sends for a NOTIFICATION
("code=4, subcode=251" is version 4 and half an AS number). So what counts here is the answer on
the wire, against the RFCs; docs/fuzzing.md explains each case.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from lab import namespace, process
from tests.interop.site import OURS, ROOT, US, OurSpeaker

US_AS, THEIR_AS = 64512, 64513
SOURCES = tuple(f"192.0.2.{number}" for number in range(100, 160))
"""An address, and a neighbour of ours, for each case."""
USED, UNUSED = "used", "unused"

SUITE = {
    # Length and type are 0, the marker is good: either code would do (RFC 4271 section 6.1).
    "MH-001": "1/3",
    "MH-003": "1/2",
    "MH-004": "1/2",
    "MH-006": "1/3",
    "MH-009": "1/2",
    "MH-010": "1/2",
    "MH-011": "1/2",
    "MH-012": "1/2",
    "OP-001": "2/1",
    "OP-002": "2/1",
    "OP-003": "2/1",
    "OP-005": "2/6",
    "OP-006": "2/6",
    "OP-008": "2/3",
    # A BGP identifier is any number but 0 (RFC 6286 section 2.1), also 224.0.0.1.
    "OP-009": "",
    # No OPEN goes before them, so they are out of place, whatever is in them (RFC 6608).
    **dict.fromkeys(
        ("UP-001", "UP-002", "UP-003", "UP-004", "UP-005", "UP-008", "UP-011", "UP-012"), "5/1"
    ),
}
SESSIONS = {
    # Treat-as-withdraw (RFC 7606), where the package's table has the codes of RFC 4271.
    **dict.fromkeys(
        ("UP-001", "UP-002", "UP-003", "UP-004", "UP-005", "UP-007", "UP-010", "UP-011"), UNUSED
    ),
    **dict.fromkeys(("UP-018", "UP-023", "UP-025", "SEC-026"), UNUSED),
    **dict.fromkeys(("ATTR-002", "ATTR-003"), UNUSED),  # confederations: RFC 5065 section 5
    # Not a fault of the message: the path is no good for us (RFC 4271 sections 5.1.3, 9.1.2).
    **dict.fromkeys(("UP-008", "UP-009", "ATTR-001", "ATTR-012"), UNUSED),
    # The attribute alone is dropped (RFC 7606 sections 3g and 7).
    **dict.fromkeys(("UP-012", "ATTR-005", "ATTR-007", "ATTR-008", "RR-001", "RR-003"), USED),
    **dict.fromkeys(("RR-004", "SEC-021"), USED),
    # Families that were not agreed upon are passed over (RFC 4760 section 6).
    **dict.fromkeys(("MP-001", "MP-003"), USED),
    # Right, or left to us: any order, a set first, spare bits (RFC 4271 sections 4.3 and 5).
    **dict.fromkeys(("UP-014", "UP-015", "UP-022", "UP-026", "UP-028", "ATTR-014"), USED),
    "ATTR-013": USED,  # not on-link: known to BGP, refused where kernel routes are planned
    "SEC-019": USED,  # a route server's path does not begin with its AS (RFC 7947 section 2.2.2)
    # Where the routes begin cannot be known (RFC 7606 sections 3, 5.3, 7.11).
    "MP-006": "3/9",
    "UP-013": "3/10",
    "UP-029": "3/10",
    "UP-016": "3/1",
    "UP-017": "3/1",
}


class Attack:
    """Our speaker on one host, `tests.interop.adversary` on the other."""

    def __init__(self, lab: namespace.Lab, what: str) -> None:
        host, far = lab.host("us"), lab.host("them")
        lab.wire(
            namespace.Port(host, "eth1", (f"{US}/24",)),
            namespace.Port(far, "eth1", tuple(f"{source}/24" for source in SOURCES)),
        )
        config = {"remote_as": THEIR_AS, "passive": True}
        neighbors = (json.dumps({"address": source, **config}) for source in SOURCES)
        self.ours = OurSpeaker(host, US_AS, *neighbors)
        self.ours.start(f"{OURS},{US}")
        self.ours.wait(lambda: self.ours.events("started"), "our speaker to listen")
        self.process: process.Process = far.start(
            *(sys.executable, "-m", "tests.interop.adversary", what, US, str(THEIR_AS), *SOURCES),
            log="adversary.log",
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )

    def said(self, key: str) -> list[dict[str, str]]:
        """Lines of the adversary that have a key."""
        lines = [line for line in self.process.output().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if key in line]


@pytest.fixture(scope="module")
def suite() -> Iterator[dict[str, dict[str, str]]]:
    """The package's own cases, each with its verdict and our answer."""
    with namespace.Lab() as lab:
        attack = Attack(lab, "suite")
        assert attack.process.wait(timeout=60) == 0, attack.process.tail()
        assert "Traceback" not in attack.ours.process.output()
        yield {line["case"]: line for line in attack.said("case")}


@pytest.fixture(scope="module")
def sessions() -> Iterator[dict[str, str]]:
    """What became of each message in a session: the code of the end, or whether the route is used."""
    with namespace.Lab() as lab:
        attack = Attack(lab, "sessions")
        attack.ours.wait(lambda: len(attack.said("session")) == len(SESSIONS), "all to be sent")
        standing = {line["session"]: line for line in attack.said("session")}

        def settled() -> bool:
            routes = {event["prefix"] for event in attack.ours.events("route")}
            over = {one["address"] for one in attack.ours.events("neighbor") if _over(one)}
            return all(
                line["address"] in over or f"10.201.{line['number']}.0/24" in routes
                for line in standing.values()
            )

        attack.ours.wait(settled, "all to be heard")
        routes = attack.ours.routes()
        attack.process.signal(signal.SIGINT)
        assert attack.process.wait() == 0, attack.process.tail()
        assert "Traceback" not in attack.ours.process.output()
        yield {
            line["case"]: line["notified"]
            or (USED if f"10.200.{standing[line['case']]['number']}.0/24" in routes else UNUSED)
            for line in attack.said("case")
        }


def _over(event: dict[str, str]) -> bool:
    return event["state"] != "Established"


def test_all_of_the_package(suite: dict[str, dict[str, str]]) -> None:
    """It has the cases we know, and is content with each, for what that is worth."""
    assert suite.keys() == SUITE.keys()
    assert [case for case, line in suite.items() if not line["passed"]] == []


@pytest.mark.parametrize("case", SUITE)
def test_answer(suite: dict[str, dict[str, str]], case: str) -> None:
    """The NOTIFICATION is the one that the RFCs want, or there is none."""
    assert suite[case]["notified"] == SUITE[case]


def test_all_in_sessions(sessions: dict[str, str]) -> None:
    """All further messages were sent."""
    assert sessions.keys() == SESSIONS.keys()


@pytest.mark.parametrize("case", SESSIONS)
def test_in_session(sessions: dict[str, str], case: str) -> None:
    """The session ends where it must, and else only the bad route is not used."""
    assert sessions[case] == SESSIONS[case]
