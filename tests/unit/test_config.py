"""Flags and environment, checked once: what is said of this host."""

from __future__ import annotations

import ipaddress
import pathlib
from typing import Any

import pytest

from bgp_ipvlan import config, errors, model

NO_FILE = pathlib.Path("/nonexistent")


def load(**flags: Any) -> config.Settings:
    """Flags only, whatever is in /etc of the machine."""
    return config.load(config.Flags(**flags), default_file=NO_FILE)


def test_a_usual_line() -> None:
    """What the README shows."""
    settings = load(
        local_as=64512,
        router_id="192.0.2.1",
        neighbors=("192.0.2.2", "2001:db8::2,as=64513,hold=30,passive,name=tor"),
        host_interface="eth1",
        ipvlan_subnets=("10.1.0.0/16",),
        gateway="10.1.0.1",
    )

    ibgp, ebgp = settings.neighbors
    assert (
        ibgp.remote_as,
        ibgp.hold_time,
        ibgp.keepalive,
        ibgp.passive,
    ) == (64512, 9, 3, False)
    assert (
        ebgp.remote_as,
        ebgp.hold_time,
        ebgp.keepalive,
        ebgp.passive,
        ebgp.description,
    ) == (64513, 30, 10, True, "tor")
    assert settings.ipvlan_subnets == (ipaddress.ip_network("10.1.0.0/16"),)


@pytest.mark.parametrize("gateway", ["10.1.0.1", "2001:db8:1::1"])
@pytest.mark.parametrize(
    "texts", [("10.1.0.0/16,2001:db8:1::/48",), ("2001:db8:1::/48", "10.1.0.0/16")]
)
def test_a_subnet_for_each_family(texts: tuple[str, ...], gateway: str) -> None:
    """Said twice, or in a variable with commas; the gateway is inside that of its family."""
    settings = load(ipvlan_subnets=texts, gateway=gateway)

    assert {str(one) for one in settings.ipvlan_subnets} == {"10.1.0.0/16", "2001:db8:1::/48"}


def test_no_neighbor_needs_no_as() -> None:
    """A single host without BGP is fine."""
    assert load().local_as == 0


def test_zero_counts_as_said() -> None:
    """`--listen-port 0` is not the default port."""
    assert load(listen_port=0).listen_port == 0


def test_speaker_flags() -> None:
    """What this host does as a speaker; import rules are the neighbours' too."""
    settings = load(
        local_as=64512,
        neighbors=("192.0.2.2",),
        ranges=("198.51.100.0/24,as=64513",),
        listen_addresses=("192.0.2.1", "2001:db8::1"),
        listen_port=1179,
        maximum_paths=4,
        restart_time=120,
        import_rules=("10.0.0.0/8 le 32", "192.0.2.0/24"),
    )

    rules = (
        model.PrefixRule(ipaddress.ip_network("10.0.0.0/8"), 8, 32),
        model.PrefixRule(ipaddress.ip_network("192.0.2.0/24"), 24, 24),
    )
    assert rules == settings.import_rules
    assert [rules, rules] == [n.import_rules for n in settings.neighbors] + [
        d.template.import_rules for d in settings.dynamic
    ]
    assert [str(one) for one in settings.listen_addresses] == ["192.0.2.1", "2001:db8::1"]
    assert (settings.listen_port, settings.maximum_paths, settings.restart_time) == (1179, 4, 120)


def test_rules_from_the_environment() -> None:
    """A variable arrives cut at its spaces, with or without commas between the rules."""
    variable = "10.0.0.0/8 ge 16 le 24, 2001:db8::/32 le 64"

    found = load(import_rules=tuple(variable.split())).import_rules

    assert found is not None
    assert [str(one) for one in found] == ["10.0.0.0/8 ge 16 le 24", "2001:db8::/32 ge 32 le 64"]


@pytest.mark.parametrize(
    ("flags", "reason", "says"),
    [
        ({"neighbors": ("192.0.2.2",)}, "no-as", "--as"),
        ({"ranges": ("192.0.2.0/24",)}, "no-as", "--as"),
        ({"local_as": 0}, "bad-value", "--as 0: expected an AS number from 1 to 4294967295"),
        ({"local_as": 1 << 32}, "bad-value", "1 to 4294967295"),
        ({"router_id": "0.0.0.0"}, "bad-value", "--router-id"),
        ({"router_id": "fd00::1"}, "bad-value", "--router-id"),
        ({"mode": "l4"}, "bad-value", "--mode"),
        ({"mode": "l2"}, "mode-unsupported", "l3"),
        ({"mtu": 5}, "bad-value", "--mtu 5: expected octets from 68"),
        (
            {"table": 255},
            "bad-value",
            "--table 255: expected a routing table from 1 to 4294967295 but for 255",
        ),
        ({"table": 0}, "bad-value", "--table 0: expected a routing table from 1 to 4294967295"),
        ({"table": 1 << 32}, "bad-value", "--table 4294967296: expected a routing table"),
        ({"ipvlan_subnets": ("10.1.1.1/24",)}, "bad-value", "host bits"),
        ({"ipvlan_subnets": ("10.1.1.0/24",), "gateway": "10.1.2.1"}, "bad-value", "inside"),
        (
            {"ipvlan_subnets": ("10.1.1.0/24", "fd00::/64"), "gateway": "fd01::1"},
            "bad-value",
            "inside ipvlan-subnet fd00::/64",
        ),
        (
            {"ipvlan_subnets": ("10.1.1.0/24", "10.1.2.0/24")},
            "bad-value",
            "--ipvlan-subnet 10.1.1.0/24 10.1.2.0/24: expected one for IPv4, one for IPv6",
        ),
        ({"accept": ("nonsense",)}, "bad-value", "--accept"),
        ({"accept": ("0.0.0.0",)}, "bad-value", "with its length, for example 0.0.0.0/0"),
        ({"accept": ("::",)}, "bad-value", "for example ::/0"),
        ({"accept": ("192.0.2.1",)}, "bad-value", "for example 192.0.2.1/32"),
        (
            {"ipvlan_subnets": ("10.1.1.1",)},
            "bad-value",
            "--ipvlan-subnet 10.1.1.1: expected a prefix",
        ),
        ({"ranges": ("192.0.2.1",)}, "bad-value", "--neighbor-range 192.0.2.1: expected a prefix"),
        ({"listen_addresses": ("eth1",)}, "bad-value", "--listen eth1"),
        ({"listen_port": 65536}, "bad-value", "--listen-port"),
        ({"maximum_paths": 0}, "bad-value", "--maximum-paths 0: expected a number from 1 to 256"),
        ({"restart_time": 4096}, "bad-value", "--restart-time 4096: expected seconds"),
        ({"import_rules": ("10.0.0.0/8 le 7",)}, "bad-value", "--import: "),
        ({"import_rules": ("le 7",)}, "bad-value", "--import le 7: expected a prefix with its"),
        ({"import_rules": ("10.0.0.0 le 32",)}, "bad-value", "--import 10.0.0.0 le 32: expected"),
        (
            {"local_as": 1, "listen_port": 0, "neighbors": ("192.0.2.2,passive",)},
            "not-listening",
            "neighbor 192.0.2.2",
        ),
        (
            {"local_as": 1, "listen_addresses": ("192.0.2.1",), "ranges": ("2001:db8::/64",)},
            "not-listening",
            "IPv6",
        ),
        ({"config_file": NO_FILE}, "config-file", "/nonexistent: No such file"),
    ],
)
def test_bad_values(flags: dict[str, Any], reason: str, says: str) -> None:
    """Each is one line that names the flag and what would be right."""
    with pytest.raises(errors.ConfigError) as caught:
        load(**flags)

    assert reason == caught.value.reason
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
