"""The table of options: README, operations and the code say the same; what each value means."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from bgp_ipvlan import errors, model
from bgp_ipvlan.docker import attributes, options

ROOT = Path(__file__).parents[3]
REASON = re.compile(
    r"(?:BadRequest|Refused|ConfigError|KernelError|StateError|EngineError|_parse|_refused)\(\s*"
    r'"([a-z]+(?:-[a-z]+)+)"'
)


def test_readme_names_every_option() -> None:
    """The rows of README's table are exactly the keys that are accepted, in the same order."""
    text = (ROOT / "README.md").read_text()
    table = text.split("| option `-o` |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert rows == [option.key for option in options.OPTIONS]


def test_every_reason_has_its_remedy_written_down() -> None:
    """Each reason code raised anywhere stands in docs/operations.md."""
    raised = set()
    for path in (ROOT / "src").rglob("*.py"):
        raised.update(REASON.findall(path.read_text()))
    assert {"own-overlap", "state-corrupt", "bad-subnet", "address-in-use"} <= raised
    documented = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs/operations.md").read_text()))
    assert raised - documented == set()


def parse(**given: str) -> model.BgpOptions:
    """The BGP options of a create."""
    asked = {f"bgp.{key}": value for key, value in given.items()}
    fields, _ = options.parse(asked, options.Defaults(parent="eth1"))
    found: model.BgpOptions = fields["bgp"]
    return found


def test_bgp_options() -> None:
    """Every option reaches its field; what is not given keeps the default."""
    assert parse() == model.BgpOptions()
    assert parse(
        start_gate="require",
        communities="65000:1 no-export,4294901761",
        large_communities="64512:1:2, 4294967295:0:4294967295",
        med="0",
        local_pref="4294967295",
        prepend="16",
        next_hop="2001:db8::9,192.0.2.9",
    ) == model.BgpOptions(
        communities=(0xFDE80001, 0xFFFFFF01, 0xFFFF0001),
        large_communities=((64512, 1, 2), (4294967295, 0, 4294967295)),
        med=0,
        local_pref=4294967295,
        prepend=16,
        next_hops=(ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("2001:db8::9")),
        start_gate=model.StartGate.REQUIRE,
    )


@pytest.mark.parametrize("advertise", list(model.Advertise))
def test_advertise(advertise: model.Advertise) -> None:
    """All four ways of announcing can be asked for."""
    fields, _ = options.parse({"bgp.advertise": advertise}, options.Defaults(parent="eth1"))
    assert fields["advertise"] is advertise


def test_well_known_communities() -> None:
    """By their names, as IANA has them; the same community twice is one."""
    assert parse(communities="GRACEFUL-SHUTDOWN 65535:0 no-advertise").communities == (
        model.GRACEFUL_SHUTDOWN,
        0xFFFFFF02,
    )
    assert parse(communities="blackhole").communities == (65535 << 16 | 666,)
    assert len(set(attributes.WELL_KNOWN.values())) == len(attributes.WELL_KNOWN)


MANY = " ".join(f"65000:{n}" for n in range(65))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("start_gate", "maybe"),
        ("communities", ""),
        ("communities", "65536:1"),
        ("communities", "1:65536"),
        ("communities", "1:2:3"),
        ("communities", "-1:2"),
        ("communities", "1: 2"),
        ("communities", "4294967296"),
        ("communities", "no-exports"),
        ("communities", "0x10"),
        ("communities", "\u0663:1"),
        ("communities", MANY),
        ("large_communities", "1:2"),
        ("large_communities", "1:2:3:4"),
        ("large_communities", "1:2:4294967296"),
        ("large_communities", "1:2:x"),
        ("large_communities", "64512:179:17900"),
        ("large_communities", "64512:179:17901"),
        ("large_communities", "64512:17900:3221225985"),
        ("med", "-1"),
        ("med", ""),
        ("med", "4294967296"),
        ("local_pref", "1.5"),
        ("prepend", "17"),
        ("prepend", "-1"),
        ("next_hop", "here"),
        ("next_hop", "192.0.2.1,192.0.2.2"),
        ("next_hop", "192.0.2.1/24"),
        ("next_hop", "0.0.0.0"),
        ("next_hop", "127.0.0.1"),
        ("next_hop", "224.0.0.5"),
        ("next_hop", "169.254.1.1"),
        ("next_hop", "255.255.255.255"),
        ("next_hop", "fe80::1"),
        ("next_hop", "2001:db8::1%eth1"),
        ("next_hop", "::"),
        ("next_hop", "::ffff:192.0.2.1"),
        ("next_hop", "ff02::1"),
    ],
)
def test_bgp_options_that_cannot_be(key: str, value: str) -> None:
    """Refused as `bad-option`, in one line that quotes the option and says what is possible."""
    with pytest.raises(errors.BadRequest, match=f"-o bgp.{key}=.*is not possible: use") as caught:
        parse(**{key: value})
    assert caught.value.reason == "bad-option"
    assert "\n" not in str(caught.value)


def test_the_most_communities_are_taken() -> None:
    """The limit itself is fine."""
    assert len(parse(communities=MANY.rsplit(" ", 1)[0]).communities) == attributes.MOST
