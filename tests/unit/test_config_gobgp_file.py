"""The file that a gobgpd of ours is started with, as a table; that gobgpd takes it: tests/interop."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import tomllib
from typing import Any

import pytest

from bgp_ipvlan import config, model
from bgp_ipvlan.config import gobgp_file
from tests.unit.test_config_file import GLOBAL, NEIGHBOR, OURS, WHOLE


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Any:
    """Write a file, read it for a gobgpd that we start, with some flags."""

    def write_and_load(text: str, **flags: Any) -> config.Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return config.load(
            config.Flags(config_file=path, engine="gobgp", gobgp_spawn=True, **flags)
        )

    return write_and_load


def family(name: str, **more: Any) -> dict[str, Any]:
    """As each neighbour has it unless something else is said."""
    limit = {"max-prefixes": 1_000_000, "shutdown-threshold-pct": 75, "restart-timer": 300}
    return {
        "config": {"afi-safi-name": name},
        "mp-graceful-restart": {"config": {"enabled": True}},
        "add-paths": {"config": {"receive": True}},
        "prefix-limit": {"config": limit},
        **more,
    }


OWN_ALONE = {
    "name": "bgp-ipvlan-own",
    "statements": [
        {
            "name": "bgp-ipvlan-own",
            "conditions": {"bgp-conditions": {"route-type": "local"}},
            "actions": {"route-disposition": "accept-route"},
        }
    ],
}


def test_what_goes_out_is_the_files_own_matter_where_it_says_so(load: Any) -> None:
    """An export policy, or a reflector's client, and nothing is added to what goes out."""
    flags = {"local_as": 64512, "router_id": "192.0.2.1", "neighbors": ("192.0.2.2",)}
    policy = '[global.apply-policy.config]\ndefault-export-policy = "reject-route"\n'
    client = """
[[neighbors]]
  [neighbors.config]
    neighbor-address = "192.0.2.3"
    peer-as = 64512
  [neighbors.route-reflector.config]
    route-reflector-client = true
"""
    for text in (policy, client):
        made = tomllib.loads(config.gobgp_document(load(text, **flags)))
        assert "policy-definitions" not in made, text
        assert "export-policy-list" not in made["global"].get("apply-policy", {}).get("config", {})
    accepts = '[global.apply-policy.config]\ndefault-export-policy = "accept-route"\n'
    made = tomllib.loads(
        config.gobgp_document(load(accepts + "export-policy-list = []\n", **flags))
    )
    assert made["policy-definitions"] == [OWN_ALONE], "that is GoBGP's default, and no wish"


def test_flags_alone(load: Any) -> None:
    """No file of GoBGP's is needed: the least one is complete, with both families kept over restarts."""
    settings = load("", local_as=64512, router_id="192.0.2.1", neighbors=("192.0.2.2,as=64513",))

    assert tomllib.loads(config.gobgp_document(settings)) == {
        "global": {
            "config": {
                "as": 64512,
                "router-id": "192.0.2.1",
                "port": 179,
                "local-address-list": ["0.0.0.0", "::"],
            },
            "use-multiple-paths": {
                "config": {"enabled": True},
                "ebgp": {"config": {"maximum-paths": 16}},
                "ibgp": {"config": {"maximum-paths": 16}},
            },
            "graceful-restart": {"config": {"enabled": True, "restart-time": 30}},
            "apply-policy": {
                "config": {
                    "export-policy-list": ["bgp-ipvlan-own"],
                    "default-export-policy": "reject-route",
                }
            },
        },
        "policy-definitions": [OWN_ALONE],
        "neighbors": [
            {
                "config": {"neighbor-address": "192.0.2.2", "peer-as": 64513},
                "timers": {
                    "config": {
                        "hold-time": 9,
                        "keepalive-interval": 3,
                        "connect-retry": 5,
                        "idle-hold-time-after-reset": 5,
                    }
                },
                "graceful-restart": {
                    "config": {
                        "enabled": True,
                        "restart-time": 30,
                        "deferral-time": 60,
                        "notification-enabled": True,
                    }
                },
                "afi-safis": [family("ipv4-unicast"), family("ipv6-unicast")],
            }
        ],
    }


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        ("password=x", "config.auth-password", "x"),
        ("local-as=7", "config.local-as", 7),
        ("name=tor", "config.description", "tor"),
        ("passive", "transport.config.passive-mode", True),
        ("port=1179", "transport.config.remote-port", 1179),
        ("local=192.0.2.1", "transport.config.local-address", "192.0.2.1"),
        ("bind-interface=blue", "transport.config.bind-interface", "blue"),
        ("hold=30", "timers.config.hold-time", 30),
        ("hold=30", "timers.config.keepalive-interval", 10),
        ("keepalive=1", "timers.config.keepalive-interval", 1),
        ("multihop=3", "ebgp-multihop.config", {"enabled": True, "multihop-ttl": 3}),
        ("ttl-security", "ttl-security.config", {"enabled": True, "ttl-min": 255}),
        ("ttl-security,multihop=2", "ttl-security.config", {"enabled": True, "ttl-min": 254}),
        ("ttl-security,multihop=2", "ebgp-multihop", None),
        ("allow-own-as", "as-path-options.config.allow-own-as", 3),
        ("no-graceful-restart", "graceful-restart.config", {"enabled": False}),
        ("families=ipv6", "afi-safis", [family("ipv6-unicast")]),
        ("passive", "config.peer-group", None),
    ],
)
def test_each_key_of_a_flag(load: Any, key: str, path: str, value: object) -> None:
    """What `--neighbor` can say, gobgpd is told."""
    settings = load("", local_as=1, neighbors=(f"192.0.2.2,as=2,{key}",))

    found: Any = gobgp_file.document(settings)["neighbors"][0]
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    assert value == found


def test_keys_of_families(load: Any) -> None:
    """Limits and the rest are said for each."""
    text = "192.0.2.2,as=2,no-add-path,no-graceful-restart,max-prefixes=0,families=ipv4"
    (one,) = gobgp_file.document(load("", local_as=1, neighbors=(text,)))["neighbors"]

    expected = family(
        "ipv4-unicast",
        **{
            "mp-graceful-restart": {"config": {"enabled": False}},
            "add-paths": {"config": {"receive": False}},
        },
    )
    del expected["prefix-limit"]
    assert one["afi-safis"] == [expected]


def test_the_speaker(load: Any) -> None:
    """Flags go before the file, and what we do not want is written as GoBGP has it."""
    flags = {"listen_port": 0, "maximum_paths": 1, "restart_time": 60, "router_id": "192.0.2.9"}
    several = "[global.use-multiple-paths.ebgp.config]\nmaximum-paths = 4\nallow-multiple-as = true"
    table = gobgp_file.document(load(NEIGHBOR + several, **flags))["global"]

    assert table["config"]["port"] == -1
    assert table["config"]["router-id"] == "192.0.2.9"
    assert table["use-multiple-paths"] == {"ebgp": {"config": {"allow-multiple-as": True}}}
    assert table["graceful-restart"]["config"]["restart-time"] == 60


def test_what_is_gobgps_own_is_passed_on(load: Any) -> None:
    """Whole tables, and keys beside ours; nothing that gobgpd would refuse."""
    text = (
        WHOLE.replace(
            'description = "left"',
            'description = "left"\nsend-community = "both"\n'
            "[neighbors.route-reflector.config]\nroute-reflector-client = true",
        )
        + OURS
        + '[zebra.config]\nenabled = true\n[[policy-definitions]]\nname = "p"\n'
        '[[defined-sets.prefix-sets]]\nprefix-set-name = "s"\n'
        '[global.apply-policy.config]\nimport-policy-list = ["p"]\n'
        "[[vrfs]]\nconfig = {name = 'v', rd = '1:1'}"
    )

    made = gobgp_file.document(load(text))

    assert made["zebra"] == {"config": {"enabled": True}}
    assert made["policy-definitions"] == [{"name": "p"}]
    assert made["defined-sets"] == {"prefix-sets": [{"prefix-set-name": "s"}]}
    assert made["vrfs"] == [{"config": {"name": "v", "rd": "1:1"}}]
    assert made["global"]["apply-policy"]["config"] == {"import-policy-list": ["p"]}
    left, right = made["neighbors"]
    assert left["config"] == {
        "neighbor-address": "192.0.2.2",
        "peer-as": 64513,
        "local-as": 64999,
        "auth-password": "geheim",
        "description": "left",
        "send-community": "both",
    }
    assert left["route-reflector"]["config"] == {"route-reflector-client": True}
    assert right["ebgp-multihop"]["config"]["multihop-ttl"] == 3
    assert {"ipvlan", "docker", "policy", "engine"}.isdisjoint(made)


def test_said_otherwise_it_stays(load: Any) -> None:
    """Our timers and graceful restart's details are for who does not say."""
    text = NEIGHBOR + (
        "[neighbors.timers.config]\nconnect-retry = 20\nidle-hold-time-after-reset = 7\n"
        "[neighbors.graceful-restart.config]\nenabled = true\ndeferral-time = 9\n"
        "notification-enabled = false\nlong-lived-enabled = true\n"
        "[[neighbors.afi-safis]]\nconfig.afi-safi-name = 'l2vpn-evpn'\n"
        "[[neighbors.afi-safis]]\nconfig.afi-safi-name = 'ipv6-unicast'\n"
        "long-lived-graceful-restart.config.enabled = true"
    )

    (one,) = gobgp_file.document(load(text))["neighbors"]

    assert one["timers"]["config"]["connect-retry"] == 20
    assert one["timers"]["config"]["idle-hold-time-after-reset"] == 7
    restart = one["graceful-restart"]["config"]
    assert (restart["deferral-time"], restart["notification-enabled"]) == (9, False)
    assert restart["long-lived-enabled"]
    assert one["afi-safis"] == [
        {"config": {"afi-safi-name": "l2vpn-evpn"}},
        family("ipv6-unicast", **{"long-lived-graceful-restart": {"config": {"enabled": True}}}),
    ]


def test_a_family_that_is_off_is_left_out(load: Any) -> None:
    """Gobgpd would offer what it reads of, on or off."""
    afi = "[[neighbors.afi-safis]]\nconfig = {{afi-safi-name = '{}', enabled = {}}}\n"
    text = NEIGHBOR + afi.format("ipv4-unicast", "true") + afi.format("ipv6-unicast", "false")
    (one,) = gobgp_file.document(load(text))["neighbors"]

    assert [each["config"] for each in one["afi-safis"]] == [
        {"afi-safi-name": "ipv4-unicast", "enabled": True}
    ]


def test_a_limit_for_each_family(load: Any) -> None:
    """What our speaker has no two of, gobgpd keeps."""
    afi = "[[neighbors.afi-safis]]\nconfig.afi-safi-name = '{}'\n{}"
    limit = "prefix-limit.config.max-prefixes = {}\n"
    text = NEIGHBOR + afi.format("ipv4-unicast", limit.format(5))
    text += afi.format("ipv6-unicast", limit.format(6))

    settings = load(text)
    (one,) = gobgp_file.document(settings)["neighbors"]

    assert [f["prefix-limit"]["config"]["max-prefixes"] for f in one["afi-safis"]] == [5, 6]
    assert settings.neighbors[0].max_prefixes == 6


def test_peer_groups_are_dissolved(load: Any) -> None:
    """A neighbour has all that its group says, and none: GoBGP 3's groups overrule neighbours."""
    text = (
        GLOBAL
        + """
[[peer-groups]]
config = {peer-group-name = "g", send-community = "both"}
timers.config = {hold-time = 30, connect-retry = 20}
graceful-restart.config.enabled = false
[[neighbors]]
config = {neighbor-address = "192.0.2.2", peer-as = 64513, peer-group = "g"}
timers.config.connect-retry = 10
graceful-restart.config.enabled = true
"""
    )

    made = gobgp_file.document(load(text))

    (one,) = made["neighbors"]
    assert one["config"] == {
        "neighbor-address": "192.0.2.2",
        "peer-as": 64513,
        "send-community": "both",
    }
    assert (one["timers"]["config"]["hold-time"], one["timers"]["config"]["connect-retry"]) == (
        30,
        10,
    )
    assert one["graceful-restart"]["config"]["enabled"]
    assert "peer-groups" not in made, "no range needs it"


def test_ranges_have_a_group_each(load: Any) -> None:
    """With what the file's says, if there is one, completed."""
    made = gobgp_file.document(load(WHOLE, ranges=("10.0.0.0/8,as=any,password=x",)))

    assert [one["config"] for one in made["dynamic-neighbors"]] == [
        {"prefix": "10.0.0.0/8", "peer-group": "bgp-ipvlan 10.0.0.0/8"},
        {"prefix": "198.51.100.0/24", "peer-group": "bgp-ipvlan 198.51.100.0/24"},
    ]
    flag, file = made["peer-groups"]
    assert flag["config"] == {"peer-group-name": "bgp-ipvlan 10.0.0.0/8", "auth-password": "x"}
    assert file["config"] == {
        "peer-group-name": "bgp-ipvlan 198.51.100.0/24",
        "peer-as": 64513,
        "auth-password": "geheim",
        "description": "any",
    }
    assert file["afi-safis"] == [family("ipv4-unicast"), family("ipv6-unicast")]


def test_a_flag_says_all_of_a_neighbor(load: Any) -> None:
    """Nothing of the file's table for that address comes along."""
    made = gobgp_file.document(load(WHOLE, neighbors=("192.0.2.2,as=64513",)))

    assert made["neighbors"][0]["config"] == {"neighbor-address": "192.0.2.2", "peer-as": 64513}


def test_neighbors_that_are_down_and_those_that_went(load: Any) -> None:
    """`admin-down` is left out; a neighbour removed while we ran does not come back."""
    text = NEIGHBOR + "[[neighbors]]\nconfig = {neighbor-address = '192.0.2.3', admin-down = true}"
    settings = load(text)
    later = dataclasses.replace(settings, neighbors=())

    (one,) = gobgp_file.document(settings)["neighbors"]

    assert one["config"]["neighbor-address"] == "192.0.2.2"
    assert "neighbors" not in gobgp_file.document(later)


def test_a_neighbor_changed_while_we_run(load: Any) -> None:
    """What it is now, with what only the file says of it."""
    settings = load(WHOLE)
    changed = dataclasses.replace(settings.neighbors[0], password="", hold_time=60, multihop=1)
    made = gobgp_file.document(dataclasses.replace(settings, neighbors=(changed,)))

    (one,) = made["neighbors"]
    assert "auth-password" not in one["config"]
    assert one["timers"]["config"]["hold-time"] == 60
    assert one["ttl-security"]["config"]["ttl-min"] == 255


def test_passwords_of_files(load: Any, tmp_path: pathlib.Path) -> None:
    """Gobgpd has no key for it, so it gets the password; nothing shown has it."""
    key = tmp_path / "key"
    key.write_text("geheim\n")
    key.chmod(0o600)
    line = f'peer-as = 64513\nauth-password-file = "{key}"'
    group = f'[[peer-groups]]\nconfig = {{peer-group-name = "g", auth-password-file = "{key}"}}\n'
    text = NEIGHBOR.replace("peer-as = 64513", line) + group
    text += "[[dynamic-neighbors]]\nconfig = {prefix = '10.0.0.0/8', peer-group = 'g', limit = 5}"

    settings = load(text)
    made = gobgp_file.document(settings)

    assert made["neighbors"][0]["config"]["auth-password"] == "geheim"
    assert made["peer-groups"][0]["config"]["auth-password"] == "geheim"
    assert "geheim" not in repr(settings)
    assert "limit" not in made["dynamic-neighbors"][0]["config"]
    assert str(key) not in config.gobgp_document(settings)


def test_nothing_is_changed_by_asking(load: Any) -> None:
    """Settings are compared by a reload; and a second answer is the first."""
    settings = load(WHOLE)
    before = load(WHOLE)

    first = config.gobgp_document(settings)

    assert first == config.gobgp_document(settings)
    assert before == settings
    assert load(WHOLE + "[zebra.config]\nenabled = true") != settings


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", False),
        ("[neighbors.timers.config]\nhold-time = 30", False),
        ("[[neighbors]]\nconfig = {neighbor-address = '192.0.2.7', peer-as = 7}", False),
        ("[policy]\nimport = ['10.0.0.0/8']", False),
        ("[neighbors.route-reflector.config]\nroute-reflector-client = true", True),
        ("[zebra.config]\nenabled = true", True),
        (
            "[[neighbors]]\nconfig = {neighbor-address = '192.0.2.7', send-community = 'both'}",
            True,
        ),
    ],
)
def test_what_needs_another_gobgpd(load: Any, more: str, expected: bool) -> None:
    """What is GoBGP's own alone; neighbours come, go and change while it runs."""
    assert expected == config.gobgp_differs(load(NEIGHBOR), load(NEIGHBOR + more))


def test_address_of_a_neighbor_in_other_words(load: Any) -> None:
    """An IPv6 address is the same however it is written."""
    text = NEIGHBOR.replace("192.0.2.2", "2001:DB8:0::2")
    made = gobgp_file.document(load(text))

    assert [one["config"]["neighbor-address"] for one in made["neighbors"]] == ["2001:db8::2"]
    assert load(text).neighbors == (
        model.NeighborConfig(address=ipaddress.ip_address("2001:db8::2"), remote_as=64513),
    )
