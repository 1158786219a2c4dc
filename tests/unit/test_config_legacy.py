"""GoBGP's format of 2015, that of the proof of concept: read as the same thing said today."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from bgp_ipvlan import config, errors
from bgp_ipvlan.config import gobgp_file, legacy
from tests.unit.test_config_file import OURS

POC = """
[Global]
  [Global.GlobalConfig]
    As = 65000
    RouterId = "192.168.1.248"
[Neighbors]
  [[Neighbors.NeighborList]]
    [Neighbors.NeighborList.NeighborConfig]
      NeighborAddress = "192.168.1.251"
      PeerAs = 65000
"""
"""As its README has it."""
TODAY = """
[global.config]
as = 65000
router-id = "192.168.1.248"
[[neighbors]]
[neighbors.config]
neighbor-address = "192.168.1.251"
peer-as = 65000
"""
EVERYTHING = """
[Global]
  [Global.GlobalConfig]
    As = 64512
    RouterId = "192.0.2.1"
  [Global.ListenConfig]
    Port = 1179
  [Global.UseMultiplePaths.UseMultiplePathsConfig]
    Enabled = true
  [Global.UseMultiplePaths.Ebgp.EbgpConfig]
    MaximumPaths = 4
  [Global.ApplyPolicy.ApplyPolicyConfig]
    DefaultImportPolicy = 0

[PeerGroups]
  [[PeerGroups.PeerGroupList]]
    [PeerGroups.PeerGroupList.PeerGroupConfig]
      PeerGroupName = "tor"
      PeerAs = 64513
      AuthPassword = "geheim"

[Neighbors]
  [[Neighbors.NeighborList]]
    [Neighbors.NeighborList.NeighborConfig]
      NeighborAddress = "192.0.2.2"
      PeerGroup = "tor"
      Description = "left"
      PeerType = 1
    [Neighbors.NeighborList.Timers.TimersConfig]
      HoldTime = 30.0
      KeepaliveInterval = 5.0
    [Neighbors.NeighborList.Transport.TransportConfig]
      PassiveMode = true
      LocalAddress = "192.0.2.1"
    [Neighbors.NeighborList.EbgpMultihop.EbgpMultihopConfig]
      Enabled = true
      MultihopTtl = 3
    [Neighbors.NeighborList.AsPathOptions.AsPathOptionsConfig]
      AllowOwnAs = 2
    [Neighbors.NeighborList.GracefulRestart.GracefulRestartConfig]
      Enabled = true
      RestartTime = 120
    [Neighbors.NeighborList.AfiSafis]
      [[Neighbors.NeighborList.AfiSafis.AfiSafiList]]
        AfiSafiName = "ipv4-unicast"
        [Neighbors.NeighborList.AfiSafis.AfiSafiList.Ipv4Unicast.PrefixLimit.PrefixLimitConfig]
          MaxPrefixes = 100
          ShutdownThresholdPct = 90
  [[Neighbors.NeighborList]]
    NeighborAddress = "2001:db8::3"
    [Neighbors.NeighborList.NeighborConfig]
      PeerAs = 64514
"""
EVERYTHING_TODAY = """
[global]
config = {as = 64512, router-id = "192.0.2.1", port = 1179}
use-multiple-paths = {config.enabled = true, ebgp.config.maximum-paths = 4}
[[peer-groups]]
config = {peer-group-name = "tor", peer-as = 64513, auth-password = "geheim"}
[[neighbors]]
config = {neighbor-address = "192.0.2.2", peer-group = "tor", description = "left"}
timers.config = {hold-time = 30, keepalive-interval = 5}
transport.config = {passive-mode = true, local-address = "192.0.2.1"}
ebgp-multihop.config = {enabled = true, multihop-ttl = 3}
as-path-options.config.allow-own-as = 2
graceful-restart.config = {enabled = true, restart-time = 120}
[[neighbors.afi-safis]]
config.afi-safi-name = "ipv4-unicast"
prefix-limit.config = {max-prefixes = 100, shutdown-threshold-pct = 90}
[[neighbors]]
config = {neighbor-address = "2001:db8::3", peer-as = 64514}
"""
SETS = "DefinedSets.BgpDefinedSets"
STATEMENT = "PolicyDefinitions.PolicyDefinitionList.Statements.StatementList"
POLICY = f"""
{POC}
  [[Neighbors.NeighborList]]
    [Neighbors.NeighborList.NeighborConfig]
      NeighborAddress = "192.168.1.252"
      PeerAs = 65001
    [Neighbors.NeighborList.ApplyPolicy.ApplyPolicyConfig]
      ImportPolicy = ["p"]
      DefaultImportPolicy = 1
    [Neighbors.NeighborList.RouteServer.RouteServerConfig]
      RouteServerClient = true
    [Neighbors.NeighborList.AfiSafis]
      [[Neighbors.NeighborList.AfiSafis.AfiSafiList]]
        AfiSafiName = "encap"
[Global.Zebra]
  Enabled = true
  [[Global.Zebra.RedistributeRouteTypeList]]
    RouteType = "connect"
[Global.Mrt]
  FileName = "/var/log/mrt.dump"
[RpkiServers]
  [[RpkiServers.RpkiServerList]]
    [RpkiServers.RpkiServerList.RpkiServerConfig]
      Address = "192.0.2.99"
      Port = 323
[[DefinedSets.PrefixSets.PrefixSetList]]
  PrefixSetName = "ps"
  [[DefinedSets.PrefixSets.PrefixSetList.PrefixList]]
    IpPrefix = "10.33.0.0/16"
    MasklengthRange = "21..24"
[[DefinedSets.NeighborSets.NeighborSetList]]
  NeighborSetName = "ns"
  [[DefinedSets.NeighborSets.NeighborSetList.NeighborInfoList]]
    Address = "192.168.1.252"
[[{SETS}.AsPathSets.AsPathSetList]]
  AsPathSetName = "as"
  [[{SETS}.AsPathSets.AsPathSetList.AsPathList]]
    AsPath = "^65100"
[PolicyDefinitions]
  [[PolicyDefinitions.PolicyDefinitionList]]
    Name = "p"
    [[{STATEMENT}]]
      Name = "s"
      [{STATEMENT}.Conditions.MatchPrefixSet]
        PrefixSet = "ps"
        MatchSetOptions = 1
      [{STATEMENT}.Conditions.BgpConditions]
        RpkiValidationResult = 3
        NextHopIn = ["192.0.2.7"]
        [{STATEMENT}.Conditions.BgpConditions.MatchAsPathSet]
          AsPathSet = "as"
          MatchSetOptions = 2
      [{STATEMENT}.Actions.RouteDisposition]
        AcceptRoute = true
      [{STATEMENT}.Actions.BgpActions.SetCommunity]
        Options = "ADD"
        [{STATEMENT}.Actions.BgpActions.SetCommunity.SetCommunityMethod]
          Communities = ["65100:20"]
"""
"""What only a gobgpd can do."""


@pytest.fixture
def load(tmp_path: pathlib.Path) -> Any:
    """Write a file, read it with some flags."""

    def write_and_load(text: str, **flags: Any) -> config.Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return config.load(config.Flags(config_file=path, **flags))

    return write_and_load


def test_the_proof_of_concept(load: Any) -> None:
    """Its own file means what it means today, with our tables beside it too."""
    assert load(TODAY) == load(POC)
    assert load(TODAY + OURS) == load(POC + OURS)


def test_everything_our_speaker_can(load: Any) -> None:
    """Key by key the same as in today's format, and without a word."""
    old, new = load(EVERYTHING), load(EVERYTHING_TODAY)

    assert dataclasses.replace(new, warnings=old.warnings) == old
    (warning,) = old.warnings
    assert "config.toml:28: Neighbors.NeighborList[0].NeighborConfig.PeerType does" in warning


@pytest.mark.parametrize(
    "change",
    [
        str.lower,
        str.upper,
        lambda text: text.replace("GlobalConfig", "config").replace("RouterId", "router-id"),
        lambda text: text.replace("NeighborConfig]", "config]").replace("PeerAs", "peer-as"),
        lambda text: text.replace("[Global]\n", ""),
        lambda text: text.replace("[Neighbors]\n", ""),
    ],
)
def test_names_in_any_case_and_some_of_today(load: Any, change: Any) -> None:
    """As GoBGP took them then; and a file that was half brought up to date."""
    assert load(TODAY) == load(change(POC))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            POC.replace("PeerAs", "PearAs"),
            (
                "config.toml:10: Neighbors.NeighborList[0].NeighborConfig.PearAs is unknown, did you "
                "mean Neighbors.NeighborConfig.PeerAs?"
            ),
        ),
        (
            POC.replace('"192.168.1.251"', '"eth1"'),
            "config.toml:9: Neighbors.NeighborList[0].NeighborConfig.NeighborAddress eth1: expected",
        ),
        (
            POC.replace("NeighborAddress", "Description"),
            "config.toml:8: Neighbors.NeighborList[0].NeighborConfig.NeighborAddress is missing",
        ),
        (
            POC + "[Neighbors.NeighborList.Timers.TimersConfig]\nHoldTime = 1",
            "config.toml:12: Neighbors.NeighborList[0].Timers.TimersConfig.HoldTime 1: 0 (never)",
        ),
        (
            POC + "[Neighbors.NeighborList.RouteReflector.RouteReflectorConfig]\n"
            "RouteReflectorClient = true",
            (
                "config.toml:12: Neighbors.NeighborList[0].RouteReflector.RouteReflectorConfig."
                "RouteReflectorClient is not for this speaker"
            ),
        ),
        (POC.replace("65000", "-1", 1), "config.toml:4: Global.GlobalConfig.As -1: expected an AS"),
        (
            POC.replace("[Neighbors]\n", "[Neighbors]\nOther = 1\n"),
            "config.toml:7: Neighbors.Other is unknown",
        ),
        (POC + "[ipvlan]\nparent = 'eth1'", "config.toml:12: ipvlan.parent is unknown"),
        (POC + "[ipvlan]\nhost-interfaces = 'eth1'", "did you mean ipvlan.host-interface?"),
        (POC.replace("Neighbors.Neigh", "Peers.Neigh").replace("[Neighbors]", ""), "Peers is unkn"),
    ],
)
def test_complaints_are_in_the_words_of_the_file(load: Any, text: str, says: str) -> None:
    """Name and line of the key as it stands there."""
    with pytest.raises(errors.ConfigError) as caught:
        load(text)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            POC + "[[neighbors]]\nconfig.peer-as = 1\n",
            ("Neighbors (line 6)", "neighbors (line 11)"),
        ),
        (
            TODAY + "[[Neighbors]]\nconfig.peer-as = 1\n",
            ("neighbors (line 5)", "Neighbors (line 9)"),
        ),
        (
            TODAY + "[Global.Config]\nAS = 65001\n",
            ("global.config.as (line 3)", "Global.Config.AS (line 10)"),
        ),
        (
            POC + "[Zebra]\nEnabled = true\n[Global.Zebra]\nEnabled = false\n",
            ("Zebra.Enabled", "Global.Zebra.Enabled"),
        ),
    ],
    ids=["both formats", "list", "table", "moved"],
)
def test_said_twice(load: Any, text: str, says: tuple[str, ...]) -> None:
    """Two spellings of one name: neither is silently left out."""
    with pytest.raises(errors.ConfigError, match="is given twice") as caught:
        load(text)
    assert caught.value.reason == "bad-value"
    for word in says:
        assert word in str(caught.value)


def test_two_spellings_that_complete_each_other(load: Any) -> None:
    """A table in two pieces is one, however deep; what is said alike is said once."""
    pieces = '[Global.Config]\nRouter-ID = "192.168.1.248"\nport = 1179\n'
    found = load(TODAY + pieces)
    assert (found.local_as, str(found.router_id), found.listen_port) == (
        65000,
        "192.168.1.248",
        1179,
    )


def test_what_only_gobgpd_can_do(load: Any) -> None:
    """Policies, and what stood elsewhere then, are today's for a gobgpd that we start."""
    settings = load(POLICY, engine="gobgp", gobgp_spawn=True)

    made = gobgp_file.document(settings)

    assert made["zebra"]["config"] == {"enabled": True, "redistribute-route-type-list": ["connect"]}
    assert made["mrt-dump"] == [
        {"config": {"dump-type": "updates", "file-name": "/var/log/mrt.dump"}}
    ]
    assert made["rpki-servers"] == [{"config": {"address": "192.0.2.99", "port": 323}}]
    sets = made["defined-sets"]
    assert sets["neighbor-sets"][0]["neighbor-info-list"] == ["192.168.1.252"]
    assert sets["bgp-defined-sets"]["as-path-sets"][0]["as-path-list"] == ["^65100"]
    assert sets["prefix-sets"][0]["prefix-list"][0]["ip-prefix"] == "10.33.0.0/16"
    ((statement,),) = (one["statements"] for one in made["policy-definitions"])
    conditions, actions = statement["conditions"], statement["actions"]
    assert conditions["match-prefix-set"]["match-set-options"] == "invert"
    assert conditions["bgp-conditions"] == {
        "rpki-validation-result": "invalid",
        "next-hop-in-list": ["192.0.2.7"],
        "match-as-path-set": {"as-path-set": "as", "match-set-options": "invert"},
    }
    assert actions["route-disposition"] == "accept-route"
    assert actions["bgp-actions"]["set-community"]["options"] == "add"
    (_, other) = made["neighbors"]
    assert other["apply-policy"]["config"] == {
        "import-policy-list": ["p"],
        "default-import-policy": "reject-route",
    }
    assert other["afi-safis"] == [{"config": {"afi-safi-name": "ipv4-encap"}}]


def test_gone_since(load: Any) -> None:
    """What GoBGP has no more is a warning, and is not handed to it."""
    text = POC + "[Global.MplsLabelRange]\nMinLabel = 16000"
    settings = load(text, engine="gobgp", gobgp_spawn=True)

    (warning,) = settings.warnings
    assert "config.toml:12: Global.MplsLabelRange.MinLabel does nothing here" in warning
    assert "mpls-label-range" not in gobgp_file.document(settings)["global"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"global": {"config": {"as": 1}}, "neighbors": [{"config": {}}]}, False),
        ({"Global": {"Config": {"As": 1}}}, False),
        ({"ipvlan": {"mtu": 1500}}, False),
        ({}, False),
        ({"GLOBAL": {"GLOBALCONFIG": {}}}, True),
        ({"BmpServers": {"BmpServerList": []}}, True),
        ({"defined-sets": {}}, False),
        ({"DefinedSets": {}}, True),
    ],
)
def test_which_format_it_is(document: dict[str, Any], expected: bool) -> None:
    """One table of then is enough; capitals alone are not."""
    assert expected == legacy.is_legacy(document)
