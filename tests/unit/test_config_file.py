"""The configuration file: GoBGP's own format with our tables, and what goes before what."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import re
import textwrap
from typing import Any

import pytest

from bgp_ipvlan import config, errors, model

GLOBAL = """
[global.config]
as = 64512
router-id = "192.0.2.1"
"""
NEIGHBOR = (
    GLOBAL
    + """
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.2"
peer-as = 64513
"""
)
WHOLE = """
[global.config]
as = 64512
router-id = "192.0.2.1"
port = 1179
local-address-list = ["192.0.2.1", "2001:db8::1"]
[global.use-multiple-paths.config]
enabled = true
[global.use-multiple-paths.ebgp.config]
maximum-paths = 4
allow-multiple-as = true

[[peer-groups]]
[peer-groups.config]
peer-group-name = "tor"
peer-as = 64513
auth-password = "geheim"
description = "any"
recursive = true
[peer-groups.timers.config]
hold-time = 30

[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.2"
peer-group = "tor"
recursive = false
local-as = 64999
description = "left"
[neighbors.timers.config]
keepalive-interval = 5.0
[neighbors.transport.config]
local-address = "192.0.2.1"
passive-mode = true
remote-port = 2179
[neighbors.ttl-security.config]
enabled = true
ttl-min = 254
[neighbors.graceful-restart.config]
enabled = true
restart-time = 120
[neighbors.as-path-options.config]
allow-own-as = 2
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
[neighbors.afi-safis.prefix-limit.config]
max-prefixes = 100
shutdown-threshold-pct = 90
[neighbors.afi-safis.add-paths.config]
receive = false

[[neighbors]]
[neighbors.config]
neighbor-address = "2001:db8::3"
peer-as = 64514
[neighbors.ebgp-multihop.config]
enabled = true
multihop-ttl = 3
[neighbors.graceful-restart.config]
enabled = false

[[dynamic-neighbors]]
[dynamic-neighbors.config]
prefix = "198.51.100.0/24"
peer-group = "tor"
"""
OURS = """
[ipvlan]
host-interface = "eth1"
mode = "l3"
ipvlan-subnet = "10.1.0.0/16"
gateway = "10.1.0.1"
mtu = 1400
table = 70000

[docker]
socket = "/run/other.sock"

[policy]
accept = ["0.0.0.0/0"]
import = ["10.0.0.0/8 le 32"]
"""


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Any:
    """Write a file, read it with some flags."""

    def write_and_load(text: str, **flags: Any) -> config.Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return config.load(config.Flags(config_file=path, **flags))

    return write_and_load


def test_gobgp_format(load: Any) -> None:
    """All that the embedded engine can do, peer groups and a range included."""
    settings = load(WHOLE)

    left, right = settings.neighbors
    address = ipaddress.ip_address
    assert left == model.NeighborConfig(
        address=address("192.0.2.2"),
        remote_as=64513,
        hold_time=30,
        keepalive=5,
        port=2179,
        passive=True,
        local_address=address("192.0.2.1"),
        description="left",
        password="geheim",
        ttl_security=True,
        multihop=2,
        local_as=64999,
        allow_own_as=2,
        max_prefixes=100,
        max_prefixes_warn=90,
        families=frozenset({model.Family.IPV4}),
        add_path=False,
    )
    assert right == model.NeighborConfig(
        address=address("2001:db8::3"), remote_as=64514, multihop=3, graceful_restart=False
    )
    (found,) = settings.dynamic
    assert str(found.prefix) == "198.51.100.0/24"
    assert (found.template.remote_as, found.template.hold_time) == (64513, 30)
    assert (found.template.password, found.template.passive) == ("geheim", True)
    assert found.template.recursive
    assert found.template.description == "any", "what the neighbour does not say is the group's"
    assert (settings.local_as, str(settings.router_id)) == (64512, "192.0.2.1")
    assert (settings.listen_port, settings.maximum_paths, settings.restart_time) == (1179, 4, 120)
    assert settings.listen_addresses == (address("192.0.2.1"), address("2001:db8::1"))
    assert settings.warnings == ()


def test_our_tables(load: Any) -> None:
    """They say what the flags of the same names say."""
    settings = load(NEIGHBOR + OURS)

    assert (settings.host_interface, settings.mtu, settings.table) == ("eth1", 1400, 70000)
    assert [str(one) for one in settings.ipvlan_subnets] == ["10.1.0.0/16"]
    assert str(settings.gateway) == "10.1.0.1"
    assert str(settings.plugin_socket) == "/run/other.sock"
    assert [str(one) for one in settings.accept] == ["0.0.0.0/0"]
    (rule,) = settings.import_rules
    assert str(rule) == "10.0.0.0/8 ge 8 le 32"
    assert settings.neighbors[0].import_rules == (rule,)


def test_a_subnet_for_each_family(load: Any) -> None:
    """`ipvlan-subnet` may be a list; a flag stands for all of it."""
    text = '[ipvlan]\nipvlan-subnet = ["10.1.0.0/16", "2001:db8:1::/48"]'

    both, one = load(text), load(text, ipvlan_subnets=("10.9.0.0/16",))

    assert [str(p) for p in both.ipvlan_subnets] == ["10.1.0.0/16", "2001:db8:1::/48"]
    assert [str(p) for p in one.ipvlan_subnets] == ["10.9.0.0/16"]


def test_flags_go_before_the_file(load: Any) -> None:
    """Each by itself; neighbours of both count, and of one address the flag's."""
    settings = load(
        NEIGHBOR + OURS,
        local_as=65000,
        mtu=9000,
        table=100,
        import_rules=("192.0.2.0/24",),
        neighbors=("192.0.2.2,as=1", "192.0.2.9"),
    )

    assert (settings.local_as, settings.mtu, settings.host_interface) == (65000, 9000, "eth1")
    assert settings.table == 100
    assert [(str(n.address), n.remote_as) for n in settings.neighbors] == [
        ("192.0.2.2", 1),
        ("192.0.2.9", 65000),
    ]
    assert [str(rule) for rule in settings.import_rules] == ["192.0.2.0/24 ge 24 le 24"]


def test_default_file(tmp_path: pathlib.Path) -> None:
    """Read if it is there; another one named is read instead."""
    path, other = tmp_path / "config.toml", tmp_path / "other.toml"
    assert config.load(config.Flags(), default_file=path).config_file is None
    path.write_text("[ipvlan]\nmtu = 1400")
    other.write_text("[ipvlan]\nmtu = 1300")

    settings = config.load(config.Flags(), default_file=path)
    instead = config.load(config.Flags(config_file=other), default_file=path)

    assert (settings.mtu, settings.config_file) == (1400, path)
    assert (instead.mtu, instead.config_file) == (1300, other)


def test_no_import_at_all(load: Any) -> None:
    """An empty list lets nothing in; no list lets everything in."""
    assert load(NEIGHBOR + "[policy]\nimport = []").neighbors[0].import_rules == ()
    assert load(NEIGHBOR).neighbors[0].import_rules is None


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("[global.config]\nport = -1", "listen_port", 0),
        ("[global.config]\nport = 0", "listen_port", 179),
        ("[global.use-multiple-paths.config]\nenabled = false", "maximum_paths", 1),
        ("[global.graceful-restart.config]\nrestart-time = 60", "restart_time", 60),
        ("[Global.Config]\nAs = 7", "local_as", 7),
        ("[global.confederation.config]\nenabled = false\nidentifier = 3", "local_as", 0),
    ],
)
def test_values_of_the_speaker(load: Any, text: str, field: str, value: object) -> None:
    """What GoBGP's special values and spellings mean; what is off asks for nothing."""
    assert getattr(load(text), field) == value


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("[neighbors.ebgp-multihop.config]\nenabled = true", "multihop", 255),
        ("[neighbors.ebgp-multihop.config]\nmultihop-ttl = 3", "multihop", 1),
        ("[neighbors.transport.config]\nttl = 3", "multihop", 3),
        ("[neighbors.ttl-security.config]\nenabled = true", "ttl_security", True),
        ("[neighbors.transport.config]\nremote-port = 0", "port", 179),
        ('[neighbors.transport.config]\nlocal-address = "0.0.0.0"', "local_address", None),
        ('[neighbors.transport.config]\nbind-interface = "blue"', "bind_interface", "blue"),
        ('[neighbors.transport.config]\nbind-interface = ""', "bind_interface", ""),
        ("[neighbors.add-paths.config]\nreceive = false", "add_path", False),
        ("[neighbors.route-reflector.config]\nroute-reflector-client = false", "remote_as", 64513),
    ],
)
def test_values_of_a_neighbor(load: Any, text: str, field: str, value: object) -> None:
    """As GoBGP takes them."""
    assert getattr(load(NEIGHBOR + text).neighbors[0], field) == value


def test_graceful_restart_off_for_all(load: Any) -> None:
    """Off in [global] is off for who does not say."""
    text = NEIGHBOR + "[global.graceful-restart.config]\nenabled = false"

    assert load(text).neighbors[0].graceful_restart is False


def test_admin_down(load: Any) -> None:
    """A neighbour that is administratively down is left out."""
    text = NEIGHBOR.replace("peer-as = 64513", "peer-as = 64513\nadmin-down = true")

    assert load(text).neighbors == ()


def test_auth_password_file(load: Any, tmp_path: pathlib.Path) -> None:
    """The password need not stand in the file itself."""
    (tmp_path / "key").write_text("geheim\n")
    (tmp_path / "key").chmod(0o640)
    line = f'peer-as = 64513\nauth-password-file = "{tmp_path}/key"'

    settings = load(NEIGHBOR.replace("peer-as = 64513", line))

    assert settings.neighbors[0].password == "geheim"
    assert settings.warnings == ()


@pytest.mark.parametrize("engine", ["embedded", "gobgp"])
@pytest.mark.parametrize("own", ["auth-password", "auth-password-file"])
def test_own_password_before_the_groups(
    load: Any, tmp_path: pathlib.Path, own: str, engine: str
) -> None:
    """Whichever way either is given: as with all other keys."""
    for name in ("own", "group"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o600)
    for group in ("auth-password", "auth-password-file"):
        said = {
            "auth-password": lambda name: f'auth-password = "{name}"',
            "auth-password-file": lambda name: f'auth-password-file = "{tmp_path}/{name}"',
        }
        text = NEIGHBOR.replace("peer-as", f'{said[own]("own")}\npeer-group = "g"\npeer-as')
        table = f'[[peer-groups]]\n[peer-groups.config]\npeer-group-name = "g"\n{said[group]("group")}\n'
        found = load(text + "\n" + table + f'[engine]\nname = "{engine}"\n')
        assert found.neighbors[0].password == "own"


def test_password_given_twice(load: Any, tmp_path: pathlib.Path) -> None:
    """Both in one table: neither is silently left out."""
    line = f'auth-password = "x"\nauth-password-file = "{tmp_path}/key"\npeer-as'
    with pytest.raises(errors.ConfigError, match="are both given") as caught:
        load(NEIGHBOR.replace("peer-as", line))
    assert caught.value.reason == "bad-value"


def test_readable_passwords(tmp_path: pathlib.Path) -> None:
    """A file that everybody can read is worth a warning only if it has passwords."""
    path = tmp_path / "config.toml"
    texts = (NEIGHBOR, NEIGHBOR.replace("peer-as", 'auth-password = "x"\npeer-as'))
    found = []
    for text in texts:
        path.write_text(text)
        path.chmod(0o644)
        found.append(config.load(config.Flags(config_file=path)).warnings)

    assert found[0] == ()
    (warning,) = found[1]
    assert "[readable-password]" in warning


def test_keys_that_do_nothing(load: Any) -> None:
    """One warning for each, however often it stands there."""
    text = NEIGHBOR + "[neighbors.timers.config]\nconnect-retry = 5\n"
    text += NEIGHBOR.removeprefix(GLOBAL).replace("192.0.2.2", "192.0.2.3")
    text += "[neighbors.timers.config]\nconnect-retry = 7\n"
    text += "[zebra.config]\nenabled = true\n[[bmp-servers]]\n[bmp-servers.config]\nport = 1"

    settings = load(text)

    assert [line.partition(": ")[2] for line in settings.warnings] == [
        "bmp-servers does nothing here [ignored-key]",
        "neighbors[0].timers.config.connect-retry does nothing here [ignored-key]",
        "zebra.config.enabled does nothing here [ignored-key]",
    ]


def test_one_restart_time(load: Any) -> None:
    """Neighbours that ask for different ones get the longest, and the user a word."""
    table = "[neighbors.graceful-restart.config]\nrestart-time = "
    other = NEIGHBOR.removeprefix(GLOBAL).replace("192.0.2.2", "192.0.2.3")

    settings = load(NEIGHBOR + table + "60\n" + other + table + "90\n")

    assert settings.restart_time == 90
    assert "one restart-time for all" in settings.warnings[0]


def test_the_packaged_example(load: Any, tmp_path: pathlib.Path) -> None:
    """As installed it says nothing; with its examples uncommented it is good."""
    text = (pathlib.Path(__file__).parents[2] / "packaging/config.toml").read_text()
    uncommented = re.sub(r"(?m)^# (\[|\w[\w-]* = )", r"\1", text)
    key = tmp_path / "key"
    key.write_text("geheim")

    nothing = load(text)
    settings = load(uncommented.replace("/etc/bgp-ipvlan/192.0.2.254.key", str(key)))

    assert nothing == dataclasses.replace(config.Settings(), config_file=nothing.config_file)
    assert (settings.host_interface, settings.local_as) == ("eth1", 64512)
    assert settings.neighbors[0].ttl_security


def test_the_documented_example(load: Any, tmp_path: pathlib.Path) -> None:
    """The file in docs/configuration.md says what it seems to say."""
    page = (pathlib.Path(__file__).parents[2] / "docs/configuration.md").read_text()
    (tmp_path / "key").write_text("geheim")
    block = page[page.index("    [ipvlan]\n") :].partition("\n\n## Our tables")[0]
    text = textwrap.dedent(block).replace("/etc/bgp-ipvlan/tor.key", f"{tmp_path}/key")

    settings = load(text)

    (tor,) = settings.neighbors
    assert (tor.remote_as, tor.password, tor.ttl_security) == (64513, "geheim", True)
    assert (tor.max_prefixes, tor.families) == (1000, {model.Family.IPV4})
    assert (settings.maximum_paths, settings.dynamic[0].limit) == (8, 50)
    assert (settings.host_interface, len(settings.import_rules)) == ("eth1", 1)
