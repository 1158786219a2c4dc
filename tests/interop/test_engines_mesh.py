"""Our engines among each other: one mesh of three hosts, within one AS and in three.

Whatever holds for one engine holds for all, as the kernels and the daemons of the others see it.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from lab import namespace
from tests.interop.mesh import NAMES, Mesh, Node

LATER = "10.2.0.0/24", "2001:db8:f2::/64"
STRETCHED = "10.3.0.0/24", "2001:db8:f3::/64"
CLAIMED = "10.4.0.0/24", "2001:db8:f4::/64"
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(
    scope="module", params=[False, pytest.param(True, marks=pytest.mark.soak)], ids=["ibgp", "ebgp"]
)
def standing(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """The mesh, up."""
    with namespace.Lab() as lab:
        made = Mesh(lab, external=request.param)
        made.up()
        yield made


@pytest.fixture
def mesh(standing: Mesh) -> Mesh:
    """The same, whole again after the test before, also after one that failed."""
    standing.mend()
    standing.whole(timeout=60)
    return standing


def wait_on_others(mesh: Mesh, node: Node, *prefixes: str, there: bool) -> None:
    """Wait until both others have prefixes by way of this host, or not at all."""
    for other in mesh.others(node):
        for prefix in prefixes:
            hop = node.address6 if ":" in prefix else node.address
            wanted = hop if there else None
            other.wait(  # well within the time for which routes are kept over a restart
                lambda: other.learned().get(prefix) == wanted,  # noqa: B023
                f"{prefix} there={there}",
                timeout=10,
            )


# --- announced and withdrawn ------------------------------------------------------------------


@each
def test_withdraw_reaches_all(mesh: Mesh, name: str) -> None:
    """A network made while all runs is known everywhere, in both families, and goes everywhere."""
    node = mesh[name]
    network = node.create(*LATER)
    wait_on_others(mesh, node, *LATER, there=True)

    node.plugin.delete_network(network)

    wait_on_others(mesh, node, *LATER, there=False)


@each
def test_what_is_announced(mesh: Mesh, name: str) -> None:
    """With `endpoint` only a running container's addresses are known, with `none` nothing is."""
    node = mesh[name]
    silent = node.create(*LATER, advertise="none")
    stretched = node.create(*STRETCHED, advertise="endpoint")
    ids = {"NetworkID": stretched, "EndpointID": secrets.token_hex(32)}
    given = {"Address": "10.3.0.2/24", "AddressIPv6": "2001:db8:f3::2/64", "MacAddress": ""}
    node.plugin.call("NetworkDriver.CreateEndpoint", {**ids, "Interface": given, "Options": {}})
    node.plugin.call("NetworkDriver.Join", {**ids, "SandboxKey": "/none", "Options": {}})
    wait_on_others(mesh, node, "10.3.0.2", "2001:db8:f3::2", there=True)
    for other in mesh.others(node):
        assert not {*LATER, *STRETCHED} & other.learned().keys()

    node.plugin.call("NetworkDriver.Leave", ids)
    wait_on_others(mesh, node, "10.3.0.2", "2001:db8:f3::2", there=False)
    node.plugin.call("NetworkDriver.DeleteEndpoint", ids)
    for network in (silent, stretched):
        node.plugin.delete_network(network)


# --- lives ------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restart_of_a_daemon(mesh: Mesh, name: str, how: str) -> None:
    """SIGTERM, and kill -9, and its return: no kernel loses a route, not even its own."""
    node = mesh[name]
    with mesh.undisturbed():
        getattr(node.daemon, how)()
        if name != "attached":
            for other in mesh.others(node):
                other.wait(lambda: other.neighbor(node)["state"] != "Established", "it notices")  # noqa: B023
        for one in mesh.nodes:
            assert one.learned() == mesh.wanted(one)
        node.daemon.start()
        mesh.whole()


@pytest.mark.parametrize("name", ["attached", "spawned"])
def test_restart_of_a_gobgpd(mesh: Mesh, name: str) -> None:
    """It is killed, and started again by who looks after it: no kernel loses a route."""
    node = mesh[name]
    with mesh.undisturbed():
        node.host.run("sh", "-ec", "kill -9 $(pidof gobgpd)")  # in the host's own pid namespace
        for one in mesh.others(node):
            one.wait(lambda: one.neighbor(node)["state"] != "Established", "it notices")  # noqa: B023
        if name == "attached":
            node.start_gobgpd("--graceful-restart")
        mesh.whole(timeout=60)


@each
def test_drain(mesh: Mesh, name: str) -> None:
    """A drained host's prefixes go from all, and the others' from it; `undrain` brings all back."""
    node = mesh[name]
    node.daemon.run("drain", "--wait", "0", "--message", "new fans")
    wait_on_others(mesh, node, *node.subnets, there=False)
    node.wait(lambda: not node.learned(), "nothing learned", timeout=10)
    (warning,) = node.warnings()
    assert "[drained]" in warning
    one, two = mesh.others(node)
    for here, there in ((one, two), (two, one)):
        assert all(there.subnets[n] in here.learned() for n in (0, 1)), "the others go on"

    node.daemon.run("undrain")
    mesh.whole(timeout=25)
    assert node.warnings() == []


# --- conflicts --------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [*itertools.combinations(NAMES, 2)], ids="-".join)
def test_duplicate_prefix(mesh: Mesh, names: tuple[str, str]) -> None:
    """A subnet that two hosts announce is `duplicate-prefix` on both, until one of them gives it up."""
    first, second = (mesh[name] for name in names)
    [third] = [node for node in mesh.nodes if node not in (first, second)]
    kept = first.create(*CLAIMED)
    wait_on_others(mesh, first, *CLAIMED, there=True)
    # Not even seen by the second while it makes its own.
    second.daemon.run("drain", "--wait", "0")
    second.wait(lambda: not second.learned(), "nothing learned")
    given_up = second.create(*CLAIMED)
    second.daemon.run("undrain")

    for node, other in ((first, second), (second, first)):
        for prefix, hop in zip(CLAIMED, (other.address, other.address6), strict=True):
            node.wait(lambda: _contended(node, prefix, hop), f"{prefix} contended")  # noqa: B023
        assert not set(CLAIMED) & node.learned().keys()
    third.wait(lambda: set(CLAIMED) <= third.learned().keys(), "a way to one of the two")

    second.plugin.delete_network(given_up)
    wait_on_others(mesh, first, *CLAIMED, there=True)
    first.wait(lambda: not first.warnings(), "the end of the warnings")
    first.plugin.delete_network(kept)
    wait_on_others(mesh, first, *CLAIMED, there=False)


def _contended(node: Node, prefix: str, next_hop: str) -> bool:
    refused = node.daemon.ask("routes")["refused"]
    found = [one for one in refused if one["prefix"] == prefix]
    said = [text for text in node.warnings() if text.startswith(prefix)]
    return (
        [one["reason"] for one in found] == ["duplicate-prefix"]
        and next_hop in found[0]["next_hops"]
        and len(said) == 1
        and said[0].endswith("[duplicate-prefix]")
    )


# --- what is told -----------------------------------------------------------------------------


def test_all_say_the_same(mesh: Mesh) -> None:
    """The commands have the same keys on all three, and the same values but for whose they are."""
    shapes = {}
    for node in mesh.nodes:
        answers = {what: node.daemon.ask(what) for what in ("status", "neighbors", "routes")}
        for command, answer in answers.items():
            assert _shape(json.loads(node.daemon.run(command, "--json"))) == _shape(answer)
        for answer in (answers["status"], answers["neighbors"]):
            _check_engine(node, answer)
        shapes[node.name] = {what: _shape(answer) for what, answer in answers.items()}
        _check_status(node, answers["status"])
        for one in answers["neighbors"]["neighbors"]:
            _check_neighbor(mesh, node, one)
        _check_routes(mesh, node, answers["routes"]["routes"])

    assert shapes["attached"] == shapes["embedded"]
    assert shapes["spawned"] == shapes["embedded"]


def _shape(answer: Any) -> Any:
    """Keys all the way down; a list is as its members."""
    if isinstance(answer, dict):
        return {key: _shape(value) for key, value in answer.items()}
    if isinstance(answer, list):
        members = {json.dumps(_shape(one), sort_keys=True) for one in answer}
        return sorted(members)
    return ""


def _check_engine(node: Node, answer: dict[str, Any]) -> None:
    """What an engine has of its own is named by it; taken out of the answer."""
    engine = "embedded" if node.name == "embedded" else "gobgp"
    assert answer["engine"] == engine
    own = answer.pop("gobgp", None)
    assert (own is not None) is (engine == "gobgp")
    if own is not None:
        assert (own["spawned"], own["reached"]) == (node.name == "spawned", True)


def _check_status(node: Node, status: dict[str, Any]) -> None:
    assert status["synced"]
    assert (status["local_as"], status["router_id"]) == (node.local_as, node.address)
    assert status["neighbors"] == {"configured": 2, "established": 2}
    # Two of its own, and two of each of the others.
    assert (status["routes"]["wanted"], status["routes"]["refused"]) == (6, 0)


def _check_neighbor(mesh: Mesh, node: Node, one: dict[str, Any]) -> None:
    [other] = [other for other in mesh.others(node) if other.address == one["address"]]
    expected = {
        "remote_as": other.local_as,
        "local_as": node.local_as,
        "state": "Established",
        "idle_reason": "",
        "local_address": node.address,
        "router_id": other.address,
        "hold_time": 9,
        "families": ["ipv4", "ipv6"],
        "graceful_restart": True,
        "end_of_rib": True,
        "refused": 0,
        "stale": 0,
        "password": False,
        "dynamic": False,
    }
    assert {key: one[key] for key in expected} == expected
    assert {"graceful-restart", "4-octet-as", "route-refresh"} <= set(one["capabilities"])
    assert one["configured"]["max_prefixes"] == 1_000_000


def _check_routes(mesh: Mesh, node: Node, routes: list[dict[str, Any]]) -> None:
    learned = {one["prefix"]: one for one in routes if one["type"] == "learned"}
    assert learned.keys() == mesh.wanted(node).keys()
    for other, number in itertools.product(mesh.others(node), (0, 1)):
        one = learned[other.subnets[number]]
        assert not one["pending"]
        assert one["neighbor"] == other.address
        assert one["as_path"] == ([other.local_as] if mesh.external else [])
        hop = (other.address, other.address6)[number]
        assert one["next_hops"] == [{"gateway": hop, "interface": "eth1"}]


# --- neighbours -------------------------------------------------------------------------------


@each
@pytest.mark.soak  # the other side keeps what it had for the restart time
def test_neighbor_removed_and_added(mesh: Mesh, name: str) -> None:
    """Without the neighbour its routes are gone, on both sides; with it they are back."""
    node = mesh[name]
    other = mesh.others(node)[0]
    said = next(text for text in node.neighbors if text.startswith(f"{other.address},"))
    node.daemon.run("neighbor", "remove", other.address)
    node.wait(lambda: not _knows(node, other), "no route of it")
    other.wait(lambda: not _knows(other, node), "no route of it")
    assert node.neighbor(other) == {}
    assert node.daemon.ask("status")["neighbors"] == {"configured": 1, "established": 1}

    node.daemon.run("neighbor", "add", said)
    mesh.whole()


def _knows(node: Node, other: Node) -> bool:
    """By the other itself."""
    hops = node.learned()
    return any(hops.get(p) in (other.address, other.address6) for p in other.subnets)


@each
def test_neighbor_reset(mesh: Mesh, name: str) -> None:
    """The session ends and comes again by itself, and with it the routes; the third is not concerned."""
    node = mesh[name]
    other, third = mesh.others(node)
    before = {one.name: node.neighbor(one)["since"] for one in (other, third)}

    node.daemon.run("neighbor", "reset", other.address, "--message", "cable 7")

    def ended() -> bool:
        now = node.neighbor(other)
        return bool(now["state"] != "Established" or now["since"] > before[other.name])

    node.wait(ended, "the end of the session", timeout=5)
    mesh.whole(timeout=25)
    assert node.neighbor(third)["since"] == before[third.name]
