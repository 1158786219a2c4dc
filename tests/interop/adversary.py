"""An adversary by others: the cases of `bgp-test-framework`, against whoever is called.

A process of its own, because that package configures logging when it is imported. It says one JSON
object a line. Of what the package names it has 23 cases that run; they come first, each from
an address of its own, since a speaker that is wise does not talk to an offender again at once.
Further messages are built with the package's functions, and sent in sessions that stand.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import struct
from collections.abc import Iterator

from bgp_test_framework import messages as build  # type: ignore[import-untyped]
from bgp_test_framework import runner, tests

OPEN, NOTIFICATION = 1, 3
GOOD, AFTER = "10.200.{}.0", "10.201.{}.0"
"""A good route comes first, the bad message is about the same prefix, another one comes after."""
PATIENCE = 10.0
Attributes = list[build.PathAttribute]


class Framework(tests.BGPTestFramework):  # type: ignore[misc]  # has no types
    """Theirs, from a given address, and with an ear for all that is answered.

    Args:
        target: whom to call.
        source: where from.
        source_as: our AS number.
    """

    def __init__(self, target: str, source: str, source_as: int) -> None:
        super().__init__(target, source_as=source_as, timeout=PATIENCE)
        self._source = source
        self.heard = b""
        self.silence = 1.0
        """Seconds without a word that are taken for the end."""

    def connect(self) -> bool:
        """As theirs."""
        self.sock = socket.create_connection(
            (self.target_host, self.target_port), self.timeout, source_address=(self._source, 0)
        )
        return True

    def receive_raw(self, size: int = 4096) -> bytes | None:
        """As theirs: what came first is all that it looks at."""
        found: bytes | None = super().receive_raw(size)
        self.heard += found or b""
        return found

    def disconnect(self) -> None:
        """Only when all was heard: until the other side has closed, or says nothing more."""
        if self.sock is not None:
            self.sock.settimeout(self.silence)
            while not notified(self.heard) and self.receive_raw():
                pass
        super().disconnect()


class Runner(runner.TestRunner):  # type: ignore[misc]  # has no types
    """Theirs, with a new address for each case."""

    def __init__(self, config: runner.TestConfiguration, sources: Iterator[str]) -> None:
        super().__init__(config)
        self._sources = sources
        self.used: list[Framework] = []

    def _create_framework(self) -> Framework:
        config = self.config
        self.used.append(Framework(config.target_host, next(self._sources), config.source_as))
        return self.used[-1]


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each message that came."""
    found = []
    while len(data) >= 19:
        length = int.from_bytes(data[16:18])
        found.append((data[18], data[19:length]))
        data = data[max(length, 19) :]
    return found


def say(**values: object) -> None:
    """One line, at once."""
    print(json.dumps(values), flush=True)


def notified(data: bytes) -> str:
    """Code and subcode of the NOTIFICATION, such as "3/1"; empty without."""
    for kind, body in answers(data):
        if kind == NOTIFICATION:
            return f"{body[0]}/{body[1]}"
    return ""


def run_suite(target: str, source_as: int, sources: Iterator[str]) -> None:
    """What the package itself does, with its verdict and what was really answered."""
    config = runner.TestConfiguration(
        target_host=target,
        target_port=179,
        source_as=source_as,
        source_ip="",
        bgp_id="192.0.2.2",
        hold_time=180,
        timeout=PATIENCE,
        test_categories=[],
        test_ids=[],
        delay_between_tests=0,
        retry_count=1,
        verbose=False,
        debug=False,
        output_format="json",
        output_file=None,
    )
    suite = Runner(config, sources)
    for result, framework in zip(suite.run_all_tests(), suite.used, strict=True):
        say(case=result.test_id, passed=result.passed, notified=notified(framework.heard))


# --- in sessions --------------------------------------------------------------------------


def _attributes(source_as: int, target: str) -> dict[str, Attributes]:
    """By the package's numbers. Built with its functions where it has one, flags as it has them."""
    origin, hop = build.create_origin_attribute(0), build.create_next_hop_attribute("192.0.2.2")
    path = build.create_as_path_attribute([source_as])
    raw = build.PathAttribute

    def with_path(one: build.PathAttribute) -> Attributes:
        return [origin, one, hop]

    def with_hop(one: build.PathAttribute) -> Attributes:
        return [origin, path, one]

    def and_also(one: build.PathAttribute) -> Attributes:
        return [origin, path, hop, one]

    own_as = build.create_as_path_with_loop([source_as], 64512)
    six = bytes(15) + b"\1"
    return {
        "UP-001": [path, hop],
        "UP-002": [origin, hop],
        "UP-003": [origin, path],
        "UP-004": [build.create_origin_attribute(3), path, hop],
        "UP-005": with_path(raw(2, 0x40, b"\2\x0a" + bytes(5))),
        "UP-007": with_path(raw(2, 0x40, b"\1\0")),
        "UP-008": with_hop(build.create_invalid_nexthop_attribute("0.0.0.0")),
        "UP-009": with_hop(build.create_invalid_nexthop_attribute("127.0.0.1")),
        "UP-010": [raw(1, 0xC0, b"\0"), path, hop],
        "UP-011": [raw(1, 0x40, b"\0\0"), path, hop],
        "UP-012": and_also(build.create_origin_attribute(1)),
        "UP-018": and_also(build.create_unrecognized_well_known_attribute()),
        "UP-022": [hop, path, origin],
        "UP-023": with_path(build.create_invalid_segment_type_aspath(5, [source_as])),
        "UP-025": with_path(build.create_as_path_attribute([])),
        "UP-026": with_path(raw(2, 0x40, b"\1\1\0\7\2\1" + source_as.to_bytes(2))),
        "ATTR-001": with_path(own_as),
        "ATTR-002": with_path(build.create_as_path_with_confed(3, [7])),
        "ATTR-003": with_path(build.create_as_path_with_confed(4, [7])),
        "ATTR-005": and_also(build.create_local_pref_on_ebgp(500)),
        "ATTR-007": and_also(build.create_malformed_aggregator_attribute()),
        "ATTR-008": and_also(raw(6, 0x40, b"x")),
        "ATTR-012": with_hop(build.create_next_hop_attribute(target)),
        "ATTR-013": with_hop(build.create_next_hop_attribute("203.0.113.1")),
        "ATTR-014": [raw(1, 0x60, b"\0"), path, hop],
        "MP-001": and_also(build.create_mp_reach_nlri_attribute(99, 1, six, b"\0")),
        "MP-003": and_also(build.create_mp_unreach_nlri_attribute(99, 1, b"\0")),
        "MP-006": and_also(raw(14, 0x80, b"\0\2\1\5" + bytes(6))),
        "RR-001": and_also(raw(9, 0x80, socket.inet_aton(target))),
        "RR-003": and_also(build.create_originator_id_attribute(0)),
        "RR-004": and_also(raw(10, 0x80, bytes(5))),
        "SEC-019": with_path(build.create_as_path_attribute([7, source_as])),
        "SEC-021": and_also(build.create_as4_aggregator_attribute(4200000001, 1)),
        "SEC-026": with_path(raw(2, 0x40, b"\2\1\0\0")),
    }


def _messages(source_as: int, target: str, number: int) -> dict[str, bytes]:
    """The same as messages about a prefix, and those whose fault lies elsewhere."""
    prefix = (GOOD.format(number), 24)
    built = _attributes(source_as, target)
    found = {
        case: build.build_update_message([], attributes, [prefix])
        for case, attributes in built.items()
    }
    good = b"".join(one.serialize() for one in built["UP-022"][::-1])

    def update(withdrawn: bytes, attributes: bytes, nlri: bytes, *, wrong: int = 0) -> bytes:
        lengths = (len(withdrawn) + (wrong == 1) * 999, len(attributes) + (wrong == 2) * 999)
        first, second = (struct.pack("!H", length) for length in lengths)
        body = first + withdrawn + second + attributes + nlri
        return bytes(build.BGPMessage(2, body).serialize())

    key = b"\x18" + socket.inet_aton(prefix[0])[:3]
    found |= {
        "UP-013": update(b"", good, b"\x21" + bytes(5)),
        "UP-014": update(b"", good, b"\x17" + socket.inet_aton(prefix[0])[:3]),
        "UP-015": update(key, good, key),
        "UP-016": update(b"", good, key, wrong=2),
        "UP-017": update(key, good, b"", wrong=1),
        "UP-028": update(b"", good, key + b"\x10\x0a\xc8"),
        "UP-029": update(b"", good, b"\x18\x0a"),
    }
    return found


def run_sessions(target: str, source_as: int, sources: Iterator[str]) -> None:
    """Each message in a session of its own, between two good ones; then wait to be told to listen."""
    standing: dict[str, Framework] = {}
    for number, case in enumerate(_messages(source_as, target, 0)):
        standing[case] = one = Framework(target, source := next(sources), source_as)
        one.connect()
        identifier = int.from_bytes(socket.inet_aton(source))
        one.send_raw(build.build_open_message(source_as, 180, identifier))
        one.send_raw(build.build_keepalive_message())
        good = build.create_origin_attribute(0), build.create_as_path_attribute([source_as])
        attributes = [*good, build.create_next_hop_attribute("192.0.2.2")]
        for bad, prefix in ((False, GOOD), (True, AFTER)):
            if bad:
                one.send_raw(_messages(source_as, target, number)[case])
            route = (prefix.format(number), 24)
            one.send_raw(build.build_update_message([], attributes, [route]))
        say(session=case, number=number, address=source)
    signal.sigwait([signal.SIGINT])
    for case, one in standing.items():
        one.silence = 0.0  # what there is to hear is here
        one.disconnect()
        say(case=case, notified=notified(one.heard))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["suite", "sessions"])
    parser.add_argument("target")
    parser.add_argument("source_as", type=int)
    parser.add_argument("sources", nargs="+")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    run = run_suite if arguments.what == "suite" else run_sessions
    run(arguments.target, arguments.source_as, iter(arguments.sources))


if __name__ == "__main__":
    main()
