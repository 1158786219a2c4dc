"""Who speaks BGP, and what a configuration can then say: errors, warnings, and what is passed on."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from bgp_ipvlan import config, errors, model
from bgp_ipvlan.config import gobgp, said, schema, vocabulary
from tests.unit.test_config_file import GLOBAL, NEIGHBOR

REFLECTOR = NEIGHBOR + "[neighbors.route-reflector.config]\nroute-reflector-client = true\n"
ASIDE = "[zebra.config]\nenabled = true\n[[rpki-servers]]\nconfig.address = '192.0.2.9'\n"
SPAWN: dict[str, Any] = {"engine": "gobgp", "gobgp_spawn": True}


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Any:
    """Write a file, read it with some flags."""

    def write_and_load(text: str, **flags: Any) -> config.Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return config.load(config.Flags(config_file=path, **flags))

    return write_and_load


# Whatever GoBGP knows and our speaker does not: taken, with a warning, since it changes nothing
# of what is routed. A key that comes to the vocabulary has to be thought about here.
IDLE = """
    global.afi-safis global.default-route-distance global.graceful-restart global.mpls-label-range
    bmp-servers collector defined-sets mrt-dump policy-definitions rpki-servers zebra
"""
IDLE_OF_NEIGHBORS = """
    add-paths.config.send-max as-path-options.config.replace-peer-as bfd config.peer-type
    config.remove-private-as config.route-flap-damping config.send-community
    config.send-software-version error-handling graceful-restart logging-options
    timers.config.connect-retry timers.config.idle-hold-time-after-reset
    timers.config.minimum-advertisement-interval transport.config.ip-tos transport.config.local-port
    transport.config.mtu-discovery transport.config.tcp-mss use-multiple-paths
"""
IDLE_OF_FAMILIES = """
    add-paths.config.send-max long-lived-graceful-restart route-target-membership use-multiple-paths
    ipv4-labelled-unicast ipv6-labelled-unicast l2vpn-evpn l2vpn-vpls l3vpn-ipv4-multicast
    l3vpn-ipv4-unicast l3vpn-ipv6-multicast l3vpn-ipv6-unicast
"""


@pytest.mark.parametrize(
    ("table", "kind", "idle"),
    [
        ("global", gobgp.GLOBAL, [one.removeprefix("global.") for one in IDLE.split()]),
        ("neighbors", gobgp._PEER, IDLE_OF_NEIGHBORS.split()),
        ("peer-groups", gobgp._GROUP, IDLE_OF_NEIGHBORS.split()),
        ("neighbors.afi-safis", gobgp._AFI_SAFI, IDLE_OF_FAMILIES.split()),
        ("dynamic-neighbors", gobgp._DYNAMIC, []),
    ],
)
def test_every_key_was_thought_about(table: str, kind: schema.Schema, idle: list[str]) -> None:
    """Each that GoBGP knows has a meaning, is refused, or is on the list above."""
    known = {*kind.known, *kind.impossible, *kind.never, *idle}
    below = [
        path.removeprefix(f"{table}.")
        for path in vocabulary.gobgp_keys()
        if path.startswith(f"{table}.")
    ]

    strangers = [path for path in below if schema._under(path, known) is None]

    assert below
    assert strangers == []


@pytest.mark.parametrize(
    ("flags", "reason", "says"),
    [
        ({"gobgp_spawn": True}, "bad-value", "gobgp-spawn without an engine: say --engine gobgp"),
        ({"gobgp_api": "[::1]:1"}, "bad-value", "gobgp-api without an engine"),
        ({"gobgp_command": "x"}, "bad-value", "gobgp-command without an engine"),
        ({**SPAWN, "local_as": 1, "gobgp_api": "h:1"}, "bad-value", "leave one of them out"),
        (SPAWN, "no-as", "gobgpd needs this host's own AS number"),
        (
            {"engine": "kernel", "local_as": 1, "neighbors": ("192.0.2.2",)},
            "neighbors-elsewhere",
            "--neighbor 192.0.2.2: with --engine kernel the neighbors are the routing daemon's",
        ),
        (
            {"engine": "kernel", "local_as": 1, "ranges": ("192.0.2.0/24",)},
            "neighbors-elsewhere",
            "--neighbor-range 192.0.2.0/24: with --engine kernel",
        ),
        (
            {"engine": "gobgp", "local_as": 1, "neighbors": ("192.0.2.2,hold=0",)},
            "unsupported-key",
            "--neighbor 192.0.2.2: hold 0: gobgpd takes it for its default of 90 s",
        ),
        ({"engine": "bird"}, "bad-value", "--engine bird: expected embedded, gobgp, kernel"),
    ],
)
def test_flags_that_do_not_fit(flags: dict[str, Any], reason: str, says: str) -> None:
    """One line that says what to do."""
    with pytest.raises(errors.ConfigError) as caught:
        config.load(config.Flags(**flags), default_file=pathlib.Path("/nonexistent"))

    assert (reason, True) == (caught.value.reason, says in str(caught.value))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"engine": "embedded", "gobgp_api": "h:1"}, "gobgp-api does nothing with --engine emb"),
        ({"engine": "kernel", "gobgp_spawn": True}, "gobgp-spawn does nothing with --engine ker"),
        ({"engine": "kernel", "maximum_paths": 2}, "maximum-paths does nothing with --engine ker"),
        ({"engine": "kernel", "accept": ("0.0.0.0/0",)}, "accept does nothing"),
        ({"engine": "gobgp", "gobgp_command": "x"}, "gobgp-command does nothing without gobgp-sp"),
        (
            {"engine": "gobgp", "local_as": 1, "ranges": ("192.0.2.0/24,limit=5",)},
            "--neighbor-range 192.0.2.0/24: limit 5 does nothing with --engine gobgp",
        ),
    ],
)
def test_flags_without_effect(flags: dict[str, Any], says: str) -> None:
    """A warning, since they do no harm."""
    settings = config.load(config.Flags(**flags), default_file=pathlib.Path("/nonexistent"))

    (warning,) = settings.warnings
    assert says in warning
    assert warning.endswith("[ignored-key]")


def test_the_file_says_it(load: Any) -> None:
    """`[engine]` has the names of the flags; and a flag that names a gobgpd goes before the file's."""
    spawn = NEIGHBOR + "[engine]\nname = 'gobgp'\ngobgp-spawn = true\ngobgp-command = '/opt/gobgpd'"
    attach = NEIGHBOR + "[engine]\nname = 'gobgp'\ngobgp-api = '/run/gobgp.sock'"

    spawned, attached = load(spawn), load(attach)

    assert (spawned.engine, spawned.gobgp_spawn) == (model.EngineKind.GOBGP, True)
    assert spawned.gobgp_command == "/opt/gobgpd"
    assert (attached.gobgp_spawn, attached.gobgp_api) == (False, "unix:/run/gobgp.sock")
    assert load(spawn, gobgp_api="h:1").gobgp_spawn is False
    assert load(attach, gobgp_spawn=True).gobgp_spawn is True
    assert load(attach, engine="embedded").engine is model.EngineKind.EMBEDDED


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("name = 'bird'", "config.toml:12: engine.name bird: expected embedded, gobgp, kernel"),
        ("gobgp-api = 'x'", "config.toml:12: engine.gobgp-api x: expected HOST:PORT"),
        ("gobgp-spawn = 'yes'", "config.toml:12: engine.gobgp-spawn 'yes': expected `bool`"),
        ("gobgp-socket = 'x'", "config.toml:12: engine.gobgp-socket is unknown"),
    ],
)
def test_bad_engines_in_the_file(load: Any, line: str, says: str) -> None:
    """As any mistake: where it stands, and what is right."""
    with pytest.raises(errors.ConfigError) as caught:
        load(f"{NEIGHBOR}\n[engine]\n{line}")

    assert says in str(caught.value)


def test_what_changes_routing_is_refused_by_our_speaker(load: Any) -> None:
    """With the line, and only by ours: a gobgpd can do it."""
    with pytest.raises(errors.ConfigError, match=r"config\.toml:11: neighbors\[0\]\.route-reflec"):
        load(REFLECTOR)

    assert load(REFLECTOR, **SPAWN).warnings == ()


def test_what_does_not_change_routing_is_a_warning(load: Any) -> None:
    """Likewise."""
    first, second = load(NEIGHBOR + ASIDE).warnings

    assert "config.toml:12: rpki-servers does nothing here [ignored-key]" in first
    assert "config.toml:11: zebra.config.enabled does nothing here [ignored-key]" in second
    assert load(NEIGHBOR + ASIDE, **SPAWN).warnings == ()


def test_a_gobgpd_that_runs_has_its_own(load: Any) -> None:
    """Its own file may be named: a warning for each table that we cannot bring to it, and no more."""
    settings = load(REFLECTOR + ASIDE, engine="gobgp")

    assert [one.partition("config.toml:")[2] for one in settings.warnings] == [
        f"{key} is for the gobgpd that runs: it goes by what it was started with [ignored-key]"
        for key in ("10: neighbors[0].route-reflector", "14: rpki-servers", "12: zebra")
    ]
    assert [str(one.address) for one in settings.neighbors] == ["192.0.2.2"]
    assert settings.gobgp == {}


def test_the_limit_of_a_range(load: Any) -> None:
    """Gobgpd has none; said of the range, not of its group."""
    text = f"""{GLOBAL}
[[peer-groups]]
config.peer-group-name = "g"
[[dynamic-neighbors]]
config = {{prefix = "10.0.0.0/8", peer-group = "g", limit = 4}}
"""
    (warning,) = load(text, **SPAWN).warnings

    assert "config.toml:8: dynamic-neighbors[0]: limit 4 does nothing with --engine" in warning


def test_kernel_has_no_neighbors_of_ours(load: Any) -> None:
    """They are the routing daemon's; the rest of a file is read, or said to be that daemon's."""
    for table in ("neighbors", "dynamic-neighbors"):
        with pytest.raises(errors.ConfigError, match=rf"{table}\[0\] is not for --eng") as caught:
            load(f"{GLOBAL}[[{table}]]\nconfig = {{}}", engine="kernel")
        assert caught.value.reason == "neighbors-elsewhere"

    settings = load(
        f"{GLOBAL}[global.confederation.config]\nenabled = true\n[ipvlan]\nmtu = 1400",
        engine="kernel",
    )
    (warning,) = settings.warnings
    assert "global.confederation is for the routing daemon of this host [ignored-key]" in warning
    assert (settings.local_as, settings.mtu) == (64512, 1400)


@pytest.mark.parametrize("flags", [{}, {"engine": "gobgp"}, SPAWN, {"engine": "kernel"}])
@pytest.mark.parametrize(
    "text",
    [
        GLOBAL + "[[bmp-servers]]\n[bmp-servers.config]\nadress = '::1'",
        GLOBAL + "[[policy-definitions]]\nnam = 'x'",
        GLOBAL + "[glabal.config]\nas = 1",
    ],
)
def test_unknown_keys_are_errors_for_all(load: Any, text: str, flags: dict[str, Any]) -> None:
    """Whoever would be given them, with the line and a suggestion."""
    with pytest.raises(errors.ConfigError, match=r"config\.toml:\d+: .* did you mean") as caught:
        load(text, **flags)

    assert caught.value.reason == "unknown-key"


def test_no_hold_time_in_a_file(load: Any) -> None:
    """Gobgpd's program would make 90 s of it: named with its line."""
    text = NEIGHBOR + "[neighbors.timers.config]\nhold-time = 0"
    with pytest.raises(
        errors.ConfigError, match=r"toml:11: neighbors\[0\].timers.config.hold-time 0"
    ):
        load(text, **SPAWN)

    assert load(text).neighbors[0].hold_time == 0


def test_unnumbered_neighbors_are_for_nobody(load: Any) -> None:
    """Their next hops could not be used, whoever has the session."""
    text = NEIGHBOR.replace('neighbor-address = "192.0.2.2"', "neighbor-interface = 'eth1'")
    with pytest.raises(
        errors.ConfigError, match="neighbor-interface is not for this speaker: give"
    ):
        load(text, **SPAWN)


def test_merge_leaves_what_the_flags_say() -> None:
    """Of one address all is the flag's: nothing of the file's table is passed on."""
    first = said.Said(neighbors=(config.parse("192.0.2.2"),))
    second = said.Said(
        gobgp={"neighbors": [{"config": {"neighbor-address": f"192.0.2.{n}"}} for n in (2, 3)]}
    )

    merged = said.merge(first, second)

    assert merged.gobgp is not None
    assert merged.gobgp["neighbors"] == [{"config": {"neighbor-address": "192.0.2.3"}}]
