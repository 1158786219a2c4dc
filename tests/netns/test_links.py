"""Links read from a real kernel, and what is refused where it cannot make or delete one."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from bgp_ipvlan import errors, model
from lab import namespace, require
from tests.netns import conftest as c


def test_links_are_read_as_ip_shows_them(host: namespace.Host) -> None:
    """Index, kind, alias, MTU, states, parent, group, addresses with the primary first."""
    for command in (
        "ip link add br7 type bridge",
        "ip link add link eth1 name mac0 mtu 1400 group 42 type macvlan",
        "ip link set mac0 alias what-ever up",
        "ip address add 203.0.113.5/25 dev mac0",
        "ip address add 203.0.113.6/25 dev mac0",
        "ip address add 10.0.0.1 peer 10.0.0.2/32 dev eth2",
    ):
        host.run(*command.split())

    async def main() -> dict[str, model.Link]:
        async with c.started() as kernel:
            return {link.name: link for link in await kernel.links.read()}

    found = c.inside(host, main)
    shown = host.links()
    assert found.keys() == shown.keys()
    for name, link in found.items():
        entry = shown[name]
        assert link.index == entry["ifindex"]
        assert link.mtu == entry["mtu"]
        assert link.kind == entry.get("linkinfo", {}).get("info_kind", "")
        assert link.alias == entry.get("ifalias", "")
        assert link.up == ("UP" in entry["flags"])
        assert link.running == ("LOWER_UP" in entry["flags"])
        assert [str(address) for address in link.addresses] == [
            f"{info['local']}/{info['prefixlen']}" for info in entry["addr_info"]
        ]
    child = found["mac0"]
    assert (child.parent_index, child.group, child.mtu) == (found["eth1"].index, 42, 1400)
    assert child.addresses[0] == ipaddress.ip_interface("203.0.113.5/25")
    assert not found["br7"].up


def test_ipvlan_is_asked_for_without_making_a_link(host: namespace.Host) -> None:
    """As the machine is; no link was made for the question."""
    before = host.run("ip", "-o", "link").stdout

    async def main() -> bool:
        async with c.started() as kernel:
            before_events = kernel.events.links
            answer = await kernel.links.ipvlan_available()
            assert kernel.events.links == before_events
            return answer

    assert c.inside(host, main) is require.ipvlan_here()
    assert host.run("ip", "-o", "link").stdout == before


def test_a_link_that_cannot_be_made_leaves_nothing(host: namespace.Host) -> None:
    """No parent, no ipvlan, a name that is somebody else's: a reason for each."""
    c.ip(host, "link add bi000000000001 type veth peer name other")
    before = set(host.links())
    cases = [("bi000000000002", "nothing9", "parent-missing")]
    cases += [("bi000000000002", "longer-than-any-name-of-a-link", "parent-missing")]
    cases += [("bi000000000001", "eth1", "foreign-link")]
    if not require.ipvlan_here():
        cases += [("bi000000000003", "eth1", "no-ipvlan")]

    async def main() -> None:
        async with c.started() as kernel:
            for name, parent, reason in cases:
                spec = model.SlaveSpec(
                    name=name, alias="bgp-ipvlan:x", parent=parent, mode=model.Mode.L3
                )
                with pytest.raises(errors.KernelError) as caught:
                    await kernel.links.ensure_slave(spec)
                assert caught.value.reason == reason
            assert await kernel.links.delete("bi000000000009") is False
            with pytest.raises(errors.KernelError) as caught:
                await kernel.links.delete("bi000000000001")
            assert caught.value.reason == "foreign-link"

    c.inside(host, main)
    assert set(host.links()) == before


def test_looking_for_slaves_says_whether_it_saw_everything(host: namespace.Host) -> None:
    """Complete unless a process hides its namespace from us; other kinds of links are no slaves."""
    c.ip(host, "link add link eth1 name mac0 type macvlan")
    hidden = False
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal():
                (process / "ns/net").stat()
        except PermissionError:
            hidden = True  # it has a capability that we lack
        except OSError:
            continue

    async def main() -> model.SlaveScan:
        async with c.started() as kernel:
            return await kernel.links.scan_slaves()

    scan = c.inside(host, main)
    assert scan.complete is not hidden
    assert scan.slaves == ()
