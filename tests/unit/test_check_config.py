"""`bgp-ipvlan check-config`: what is understood, what is wrong, and the file for gobgpd."""

from __future__ import annotations

import json
import pathlib
import tomllib
from collections.abc import Callable

import pytest
import typer.testing

from bgp_ipvlan import cli, errors
from tests.unit.test_config_file import NEIGHBOR, OURS, WHOLE
from tests.unit.test_config_legacy import POC

Check = Callable[..., typer.testing.Result]


@pytest.fixture
def check(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Write a file and have it checked."""
    for name in ("AS", "ENGINE", "ROUTER_ID", "GOBGP_SPAWN", "CONFIG_FILE"):
        monkeypatch.delenv(f"BGP_IPVLAN_{name}", raising=False)

    def write_and_check(text: str, *words: str, **env: str) -> typer.testing.Result:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        runner = typer.testing.CliRunner()
        return runner.invoke(cli.app, ["check-config", str(path), *words], env=env)

    return write_and_check


def test_what_was_understood(check: Check) -> None:
    """Each thing on a line, warnings apart, and not a password."""
    result = check(WHOLE + OURS + "[zebra.config]\nenabled = true")

    assert result.exit_code == 0
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert shown[0].endswith("config.toml is in order")
    assert "engine embedded" in shown
    assert "AS 64512" in shown
    assert "router id 192.0.2.1" in shown
    assert "listen 192.0.2.1, 2001:db8::1 port 1179" in shown
    assert (
        "neighbor 192.0.2.2 AS 64513, hold 30, passive, ttl-security, multihop 2, password, left"
        in shown
    )
    assert (
        "neighbors in 198.51.100.0/24 AS 64513, hold 30, passive, recursive, password, any" in shown
    )
    assert "host-interface eth1" in shown
    assert "ipvlan-subnet 10.1.0.0/16" in shown
    assert "table 70000" in shown
    assert "import 10.0.0.0/8 ge 8 le 32" in shown
    assert "accept 0.0.0.0/0" in shown
    assert "warning: " in result.stderr
    assert "zebra.config.enabled does nothing here [ignored-key]" in result.stderr
    assert "geheim" not in result.output


def test_json(check: Check) -> None:
    """The same for a script."""
    found = json.loads(check(WHOLE + OURS + "[zebra.config]\nenabled = true", "--json").stdout)

    assert (found["ok"], found["format"], found["engine"]) == (True, "gobgp", "embedded")
    assert found["networks"]["ipvlan_subnet"] == ["10.1.0.0/16"]
    assert (found["as"], found["router_id"], found["networks"]["mtu"]) == (64512, "192.0.2.1", 1400)
    assert [(one["address"], one["password"]) for one in found["neighbors"]] == [
        ("192.0.2.2", True),
        ("2001:db8::3", False),
    ]
    assert found["neighbor_ranges"][0]["prefix"] == "198.51.100.0/24"
    (warning,) = found["warnings"]
    assert "[ignored-key]" in warning
    assert "geheim" not in json.dumps(found)


def test_the_format_of_2015(check: Check) -> None:
    """It is said that it was taken for that."""
    assert "in its format of 2015" in check(POC).stdout
    assert json.loads(check(POC, "--json").stdout)["format"] == "gobgp-2015"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--engine", "gobgp"], "engine gobgp, the gobgpd that runs at 127.0.0.1:50051"),
        (["--engine", "gobgp", "--gobgp-spawn"], "engine gobgp, a gobgpd that we start"),
        (["--as", "7"], "AS 7"),
        (["--router-id", "192.0.2.99"], "router id 192.0.2.99"),
    ],
)
def test_flags_go_before(check: Check, words: list[str], line: str) -> None:
    """As they do for the daemon."""
    result = check(POC, *words)

    assert line in [" ".join(one.split()) for one in result.stdout.splitlines()]


def test_the_daemons_variables_count(check: Check) -> None:
    """A file without an AS is in order where the environment has it."""
    text = NEIGHBOR.partition("[[")[1] + NEIGHBOR.partition("[[")[2]

    assert isinstance(check(text).exception, errors.ConfigError)
    assert check(text, BGP_IPVLAN_AS="64512").exit_code == 0


def test_what_is_wrong(check: Check) -> None:
    """The error of the daemon, status 1; as JSON where that was asked for."""
    text = NEIGHBOR.replace("peer-as", "peer-sa")
    said = "config.toml:9: neighbors[0].config.peer-sa is unknown, did you mean"

    result, machine = check(text), check(text, "--json")

    assert isinstance(result.exception, errors.ConfigError)
    assert said in str(result.exception)
    found = json.loads(machine.stdout)
    assert (machine.exit_code, found["ok"], found["reason"]) == (1, False, "unknown-key")
    assert said in found["error"]


def test_print_gobgp(check: Check) -> None:
    """The file for gobgpd and nothing else on stdout, whatever engine the file names."""
    result = check(POC + "[engine]\nname = 'embedded'\n", "--print-gobgp")

    found = tomllib.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert found["global"]["config"]["router-id"] == "192.168.1.248"
    assert [one["config"]["neighbor-address"] for one in found["neighbors"]] == ["192.168.1.251"]


def test_print_gobgp_without_router_id(check: Check) -> None:
    """Here nobody looks for one: it is said that gobgpd needs it."""
    text = POC.replace('RouterId = "192.168.1.248"', "")

    result = check(text, "--print-gobgp")

    assert "router-id" not in tomllib.loads(result.stdout)["global"]["config"]
    assert "warning: it needs a router-id" in result.stderr
    assert check(text, "--print-gobgp", "--router-id", "192.0.2.1").stderr == ""


def test_no_file(tmp_path: pathlib.Path) -> None:
    """A file that is not there is not in order, as it is for `run --config-file`."""
    result = typer.testing.CliRunner().invoke(cli.app, ["check-config", str(tmp_path / "none")])

    assert isinstance(result.exception, errors.ConfigError)
    assert "No such file" in str(result.exception)
