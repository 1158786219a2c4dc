"""What is wrong in a configuration file: each mistake is one line with file, key and remedy."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from bgp_ipvlan import config, errors
from tests.unit.test_config_file import GLOBAL, NEIGHBOR


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Any:
    """Write a file and read it."""

    def write_and_load(text: str) -> config.Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return config.load(config.Flags(config_file=path))

    return write_and_load


AFI = "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = "
LIMIT = "[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = "


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("[global", "config-file", "is not TOML"),
        (
            "[golbal.config]\nas = 1",
            "unknown-key",
            "config.toml:1: golbal is unknown, did you mean global?",
        ),
        ("[global.config]\nas-number = 1", "unknown-key", "global.config.as-number is unknown"),
        (
            "[global.config]\nrouter_id = 'x'",
            "unknown-key",
            "config.toml:2: global.config.router_id is unknown, did you mean global.config.router-id?",
        ),
        ("global = 3", "bad-value", "global 3: expected `object`, got `int`"),
        ("[global]\nconfig = 3", "unknown-key", "global.config is a table"),
        ("[global.config]\nas = 'x'", "bad-value", "global.config.as 'x': expected `int`"),
        ("[global.config]\nas = -1", "bad-value", "global.config.as -1: expected an AS number"),
        ("[global.config]\nrouter-id = 'x'", "bad-value", "global.config.router-id x: expected"),
        ("[global.confederation.config]\nenabled = true", "unsupported-key", "confederation"),
        (
            (
                "[global.use-multiple-paths.ebgp.config]\nmaximum-paths = 2\n"
                "[global.use-multiple-paths.ibgp.config]\nmaximum-paths = 3"
            ),
            "unsupported-key",
            "differs for ebgp and ibgp",
        ),
        ("[[vrfs]]\n[vrfs.config]\nname = 'x'", "unsupported-key", "vrfs is not for this speaker"),
        ("[neighbors]\nx = 1", "unknown-key", "config.toml:2: neighbors.x is unknown"),
        (
            "[neighbors.config]\npeer-as = 1",
            "bad-value",
            "config.toml:1: neighbors: expected `array`",
        ),
        (
            NEIGHBOR + "hold-time = 9",
            "unknown-key",
            (
                "config.toml:10: neighbors[0].config.hold-time is unknown, did you mean "
                "neighbors.timers.config.hold-time?"
            ),
        ),
        (
            "[[bmp-servers]]\nconfig.adress = '::'",
            "unknown-key",
            "mean bmp-servers.config.address?",
        ),
        ("[[neighbors]]\n[neighbors.config]\npeer-as = 1", "bad-value", "neighbor-address is miss"),
        (
            NEIGHBOR.replace("address", "adress"),
            "unknown-key",
            "did you mean neighbors.config.neighbor-address?",
        ),
        (NEIGHBOR.replace("192.0.2.2", "x"), "bad-value", "neighbors[0].config.neighbor-address x"),
        (NEIGHBOR.replace(GLOBAL, ""), "no-as", "[global.config]"),
        (NEIGHBOR + NEIGHBOR.replace(GLOBAL, ""), "bad-neighbor", "192.0.2.2 is given twice"),
        (
            NEIGHBOR + "[neighbors.timers.config]\nhold-time = 1",
            "bad-neighbor",
            "config.toml:11: neighbors[0].timers.config.hold-time 1: 0 (never) or at least 3",
        ),
        (NEIGHBOR + "[neighbors.timers.config]\nhold-time = 9.5", "bad-value", "a whole number"),
        (
            NEIGHBOR + "[neighbors.route-reflector.config]\nroute-reflector-client = true",
            "unsupported-key",
            "neighbors[0].route-reflector.config.route-reflector-client is not for this speaker",
        ),
        (
            NEIGHBOR + "[neighbors.apply-policy.config]\nimport-policy-list = ['x']",
            "unsupported-key",
            "[policy] import",
        ),
        (
            NEIGHBOR + "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 300",
            "bad-value",
            "ttl-min 300: expected a number from 1 to 255",
        ),
        (
            NEIGHBOR + "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 253\n"
            "[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 2",
            "bad-value",
            "they ask for [2, 3] hops",
        ),
        (NEIGHBOR + AFI + "'l2vpn-evpn'", "unsupported-key", "'l2vpn-evpn': this speaker knows"),
        (
            NEIGHBOR + AFI + "'ipv4-unicast'\n" + LIMIT + "2\n" + AFI + "'ipv6-unicast'\n",
            "unsupported-key",
            "differ in prefix-limit",
        ),
        (
            NEIGHBOR.replace("peer-as = 64513", "peer-group = 'x'"),
            "bad-value",
            "peer-group x: there is no such [[peer-groups]] (there are: none)",
        ),
        (
            NEIGHBOR.replace("peer-as", "peer-group = 'x'\npeer-as")
            + "[[peer-groups]]\n[peer-groups.config]\npeer-group-name = 'x'\npeer-as = 9",
            "bad-value",
            "peer-as 64513: its peer group x says 9",
        ),
        ("[[peer-groups]]\n[peer-groups.config]\npeer-as = 1", "bad-value", "name is missing"),
        (
            "[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = '10.0.0.0/8'",
            "bad-value",
            "dynamic-neighbors[0].config.peer-group is missing",
        ),
        ("[ipvlan]\nmode = 'l2'", "mode-unsupported", "ipvlan.mode l2"),
        ("[ipvlan]\nparent = 'eth1'", "unknown-key", "ipvlan.parent is unknown"),
        ("[policy]\nimport = ['10.0.0.0/8 to 9']", "bad-value", "policy.import: "),
        ("[policy]\nimport = '10.0.0.0/8'", "bad-value", "policy.import '10.0.0.0/8': expected"),
    ],
)
def test_bad_files(load: Any, text: str, reason: str, says: str) -> None:
    """One line that names file and key, and what would be right."""
    with pytest.raises(errors.ConfigError) as caught:
        load(text)

    assert says in str(caught.value)
    assert caught.value.reason == reason
    assert "config.toml" in str(caught.value) or reason == "no-as"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ['["geheim"]', '"' + 81 * "geheim" + '"'])
def test_a_complaint_keeps_the_password(load: Any, value: str) -> None:
    """Neither its type nor its length lets it get into the log."""
    with pytest.raises(errors.ConfigError, match="auth-password") as caught:
        load(NEIGHBOR.replace("peer-as", f"auth-password = {value}\npeer-as"))

    assert "geheim" not in str(caught.value)


def test_a_table_of_the_wrong_kind_is_not_shown(load: Any) -> None:
    """A password may be in it."""
    with pytest.raises(errors.ConfigError, match="neighbors: expected `array`") as caught:
        load("[neighbors.config]\nauth-password = 'geheim'")

    assert "geheim" not in str(caught.value)


def test_not_text(tmp_path: pathlib.Path) -> None:
    """A file of octets, a folder, and one that is not there, are told apart."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, says in (
        (binary, "is not UTF-8 text"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(errors.ConfigError, match=says) as caught:
            config.load(config.Flags(config_file=path))
        assert caught.value.reason == "config-file"
