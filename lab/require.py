"""What a part of the tests or the demo needs from the machine, and whether it is there.

Decides only; who asks says it aloud (a skip for a person, a failure in CI).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable

from lab import process, uml

_NAMESPACE_TOOLS = ("ip", "nsenter", "unshare", "setpriv", "ping", "bash")
TOOLS: dict[str, tuple[str, ...]] = {
    "netns": (*_NAMESPACE_TOOLS, "nft"),
    "interop": (
        *_NAMESPACE_TOOLS,
        "bird",
        "birdc",
        "vtysh",
        "gobgpd",
        "gobgp",
        "/usr/lib/frr/bgpd",
        "/usr/sbin/bgpd",
        "bgpctl",
        "exabgp",
        "tshark",
    ),
    "chaos": (*_NAMESPACE_TOOLS, "bird", "birdc"),
    "dockerd": (*_NAMESPACE_TOOLS, "dockerd", "docker", "busybox", "debootstrap"),
    "ipvlan": (*_NAMESPACE_TOOLS, "dockerd", "docker", "busybox"),
}
"""Programs by mark of the tests; `scripts/setup` installs the packages that have them."""
_GUEST_TOOLS = ("/usr/bin/linux.uml", "modprobe")


def missing(kind: str) -> tuple[str, ...]:
    """What tests of one mark lack on this machine; empty if nothing."""
    reasons = []
    if os.geteuid() != 0:
        reasons.append("root (run it with sudo)")
    elif not namespaces_work():
        reasons.append("the right to make network, mount and pid namespaces")
    reasons += _absent(TOOLS[kind])
    if kind == "ipvlan" and not reasons and not ipvlan_here():
        reasons += _absent(_GUEST_TOOLS)
    return tuple(reasons)


def in_ci() -> bool:
    """Whether a skip must be a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@functools.cache
def namespaces_work() -> bool:
    """Whether this process may make the namespaces that a lab host consists of."""
    return _succeeds("mount --make-rprivate / && mount -t tmpfs none /mnt")


@functools.cache
def ipvlan_here() -> bool:
    """Whether the running kernel makes ipvlan links; tried in a network namespace that goes away."""
    return namespaces_work() and _succeeds(
        "ip link add v0 type veth peer name v1 && ip link add v2 link v0 type ipvlan mode l3"
    )


def needs_guest() -> bool:
    """Whether ipvlan is to be had in a User-mode Linux guest only."""
    return not uml.inside() and not ipvlan_here()


def _absent(tools: Iterable[str]) -> list[str]:
    return [tool for tool in tools if shutil.which(tool, path=process.PATH) is None]


def _succeeds(script: str) -> bool:
    argv = ("unshare", "--net", "--mount", "--pid", "--fork", "--uts", "sh", "-c", script)
    try:
        done = subprocess.run(argv, capture_output=True, env=process.environment(), timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
