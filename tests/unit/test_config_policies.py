"""Policies of a file for gobgpd that stand on nothing: gobgpd would drop them, and their defaults too."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from bgp_ipvlan import config, errors

GOOD = """
[global.config]
  as = 64512
  router-id = "192.0.2.1"
[global.apply-policy.config]
  export-policy-list = ["p"]
  default-export-policy = "reject-route"
[[defined-sets.prefix-sets]]
  prefix-set-name = "x"
  [[defined-sets.prefix-sets.prefix-list]]
    ip-prefix = "10.0.0.0/8"
[[defined-sets.bgp-defined-sets.community-sets]]
  community-set-name = "c"
  community-list = ["64512:1"]
[[policy-definitions]]
  name = "p"
  [[policy-definitions.statements]]
    name = "s"
    [policy-definitions.statements.conditions.match-prefix-set]
      prefix-set = "x"
    [policy-definitions.statements.conditions.bgp-conditions.match-community-set]
      community-set = "c"
    [policy-definitions.statements.actions]
      route-disposition = "accept-route"
"""


def load(folder: pathlib.Path, text: str) -> config.Settings:
    """As the daemon reads it for a gobgpd that it starts."""
    path = folder / "gobgpd.conf"
    path.write_text(text)
    flags = config.Flags(config_file=path, engine="gobgp", gobgp_spawn=True)
    return config.load(dataclasses.replace(flags))


def test_one_that_stands(tmp_path: pathlib.Path) -> None:
    """Policies, sets and words that are there are passed on."""
    assert load(tmp_path, GOOD).gobgp["policy-definitions"][0]["name"] == "p"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('["p"]', '["nix"]', r":6: global.*export-policy-list nix: there is no such"),
        ('"reject-route"', '"reject-rout"', r":7: .*default-export-policy reject-rout: expected"),
        ('prefix-set = "x"', 'prefix-set = "y"', r":20: .*prefix-set y: there is no such .*: x\)"),
        ('community-set = "c"', 'community-set = "d"', r":22: .*community-set d: there is no such"),
        ('"accept-route"', '"accept"', r":24: .*route-disposition accept: expected"),
    ],
)
def test_one_that_does_not(tmp_path: pathlib.Path, old: str, new: str, complaint: str) -> None:
    """Each name or word that gobgpd would stumble over is an error with its line."""
    with pytest.raises(errors.ConfigError, match=complaint) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert caught.value.reason == "bad-value"
