"""The command line: every flag and variable reaches the configuration; nothing else is decided."""

from __future__ import annotations

import pathlib

import pytest
import typer.testing

from bgp_ipvlan import cli, errors

FLAGS = [
    ("--as", "BGP_IPVLAN_AS", "0"),
    ("--router-id", "BGP_IPVLAN_ROUTER_ID", "wrong"),
    ("--neighbor", "BGP_IPVLAN_NEIGHBORS", "wrong"),
    ("--neighbor-range", "BGP_IPVLAN_NEIGHBOR_RANGES", "wrong"),
    ("--listen", "BGP_IPVLAN_LISTEN", "wrong"),
    ("--listen-port", "BGP_IPVLAN_LISTEN_PORT", "70000"),
    ("--import", "BGP_IPVLAN_IMPORT", "wrong"),
    ("--maximum-paths", "BGP_IPVLAN_MAXIMUM_PATHS", "1000"),
    ("--restart-time", "BGP_IPVLAN_RESTART_TIME", "5000"),
    ("--mode", "BGP_IPVLAN_MODE", "wrong"),
    ("--ipvlan-subnet", "BGP_IPVLAN_IPVLAN_SUBNET", "wrong"),
    ("--gateway", "BGP_IPVLAN_GATEWAY", "wrong"),
    ("--mtu", "BGP_IPVLAN_MTU", "1"),
    ("--table", "BGP_IPVLAN_TABLE", "255"),
    ("--accept", "BGP_IPVLAN_ACCEPT", "wrong"),
    ("--config-file", "BGP_IPVLAN_CONFIG_FILE", "/nonexistent/wrong"),
]


def refused(*argv: str, env: dict[str, str] | None = None) -> errors.Error:
    """Run a command that must be refused before it does anything."""
    result = typer.testing.CliRunner().invoke(cli.app, list(argv), env=env)
    assert isinstance(result.exception, errors.Error), (result.output, result.exception)
    return result.exception


@pytest.mark.parametrize(("flag", "variable", "value"), FLAGS, ids=[flag for flag, _, _ in FLAGS])
def test_every_flag_and_variable(flag: str, variable: str, value: str) -> None:
    """A wrong value is found, whichever way it was given, and named."""
    by_flag = refused("run", flag, value)
    by_variable = refused("run", env={variable: value})

    assert isinstance(by_flag, errors.ConfigError)
    assert str(by_flag) == str(by_variable)
    name = "/nonexistent/wrong" if flag == "--config-file" else flag
    assert name in str(by_flag)


def test_a_flag_goes_before_its_variable() -> None:
    """The environment is asked only where no flag is."""
    error = refused("run", "--mtu", "1", env={"BGP_IPVLAN_MTU": "2"})

    assert "--mtu 1:" in str(error)


def test_subnets_in_a_variable() -> None:
    """With blanks or commas between them, and one of each family."""
    texts = ("10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16,10.2.0.0/16")
    found = {str(refused("run", env={"BGP_IPVLAN_IPVLAN_SUBNET": text})) for text in texts}

    flags = [word for text in texts[0].split() for word in ("--ipvlan-subnet", text)]
    assert found == {str(refused("run", *flags))}
    assert all("10.1.0.0/16 10.2.0.0/16: expected one for IPv4" in text for text in found)


def test_rules_in_a_variable() -> None:
    """Rules have blanks in them, and so has the variable: the second rule is the wrong one."""
    error = refused("run", env={"BGP_IPVLAN_IMPORT": "10.0.0.0/8 le 32 192.0.2.0/24 le 7"})

    assert "192.0.2.0/24 le 7" in str(error)


def test_message_without_withdraw() -> None:
    """A message that nobody would get is a mistake."""
    error = refused("stop", "--message", "bye")

    assert "--withdraw" in str(error)


@pytest.mark.parametrize(
    "argv",
    [
        ("status",),
        ("networks",),
        ("routes",),
        ("neighbors",),
        ("neighbors", "192.0.2.2"),
        ("neighbor", "add", "192.0.2.2"),
        ("neighbor", "set", "192.0.2.2,hold=9"),
        ("neighbor", "remove", "192.0.2.2"),
        ("neighbor", "reset", "192.0.2.2"),
        ("reload",),
        ("drain",),
        ("undrain",),
        ("forget", "abc"),
        ("stop",),
    ],
    ids=" ".join,
)
def test_no_daemon(argv: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    """Every command says that there is none, and how to start it."""
    error = refused(*argv, "--control", str(tmp_path / "control.sock"))

    assert error.reason == "not-running"
    assert "systemctl start bgp-ipvlan" in str(error)
