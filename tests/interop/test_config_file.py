"""What we read as GoBGP's format is GoBGP's format: gobgpd itself is the witness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bgp_ipvlan import config
from lab import namespace, newgobgp, process, require
from tests.unit import test_config_file as texts
from tests.unit import test_config_legacy as legacy

_OURS = "recursive ="
"""A key of ours among GoBGP's."""
FLAGS: dict[str, Any] = {
    "neighbors": ("192.0.2.9,as=1,password=x,multihop=3", "2001:db8::9,hold=30,families=ipv4"),
    "ranges": ("10.0.0.0/8,as=any,ttl-security",),
}


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (texts.WHOLE, True),
        (texts.NEIGHBOR, True),
        (texts.WHOLE + texts.OURS, False),
        (legacy.POC, False),
    ],
    ids=["whole", "neighbor", "with-our-tables", "2015"],
)
def test_gobgpd_reads_it_too(tmp_path: Path, text: str, accepted: bool) -> None:
    """But for a key of ours our tests use none that it would not take; our tables and 2015 it refuses."""
    path = tmp_path / "gobgpd.conf"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith(_OURS)))

    done = _dry_run(path)

    assert (done.returncode == 0) is accepted, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3", "4"])
@pytest.mark.parametrize("flags", [{}, FLAGS], ids=["file", "flags-too"])
@pytest.mark.parametrize(
    "text",
    [
        texts.WHOLE + texts.OURS,
        texts.NEIGHBOR,
        legacy.POC + texts.OURS,
        legacy.EVERYTHING,
        legacy.POLICY,
    ],
    ids=["whole", "neighbor", "poc", "2015", "2015-policy"],
)
def test_gobgpd_takes_what_is_made_for_it(
    tmp_path: Path, text: str, flags: dict[str, Any], version: str
) -> None:
    """Whatever may stand in ours, of whichever format."""
    if version == "4" and newgobgp.version() is None:
        said = "GoBGP 4 is not here: run `python -m lab.newgobgp`"
        pytest.fail(said, pytrace=False) if require.in_ci() else pytest.skip(said)
    path = tmp_path / "gobgpd.conf"
    path.write_text(config.gobgp_document(_load(tmp_path, text, **flags)))

    done = _dry_run(path, "gobgpd" if version == "3" else str(newgobgp.daemon()))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.interop
def test_policies_of_2015_are_in_force(tmp_path: Path) -> None:
    """A gobgpd that runs by the file has the policy, its sets, and the neighbours as configured."""
    text = config.gobgp_document(
        _load(tmp_path, legacy.POLICY.replace('"encap"', '"ipv4-unicast"'))
    )
    text = text.replace("/var/log/mrt.dump", str(tmp_path / "mrt.dump"))
    with namespace.Lab() as lab:
        host = lab.host("one")
        file = host.directory / "gobgpd.conf"
        file.write_text(text.replace("[zebra.config]\nenabled = true", "[zebra.config]"))
        host.start(
            *("gobgpd", "-f", file, "--api-hosts", "127.0.0.1:50051", "--pprof-disable"),
            log="gobgpd.log",
        )
        ask = lambda *words: json.loads(host.run("gobgp", "-j", *words).stdout or "null")  # noqa: E731
        namespace.wait_until(
            lambda: (host.run("gobgp", "neighbor", check=False).stdout).count("192.168.1.") == 2,
            "gobgpd to read its configuration",
        )

        (policy,) = ask("policy")
        one = ask("neighbor", "192.168.1.251")
        other = host.run("gobgp", "neighbor", "192.168.1.252", "policy", "import").stdout

    (statement,) = policy["statements"]
    assert statement["conditions"]["prefix_set"] == {"type": 2, "name": "ps"}
    assert statement["conditions"]["as_path_set"]["name"] == "as"
    assert statement["conditions"]["rpki_result"] == 3
    assert statement["actions"]["community"]["communities"] == ["65100:20"]
    assert one["graceful_restart"]["enabled"]
    families = [family["mp_graceful_restart"]["config"] for family in one["afi_safis"]]
    assert families == [{"enabled": True}, {"enabled": True}]
    assert "REJECT" in other
    assert "Name p" in other


def _load(tmp_path: Path, text: str, **flags: Any) -> config.Settings:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return config.load(config.Flags(config_file=path, engine="gobgp", gobgp_spawn=True, **flags))


def _dry_run(path: Path, program: str = "gobgpd") -> Any:
    return process.run([program, "--dry-run", "--config-file", str(path)], check=False)
