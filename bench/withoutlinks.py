"""Our daemon on a kernel without ipvlan: `python -m bench.withoutlinks COMMAND run …`.

All of it is real but for one port: an endpoint's ipvlan link is said to be made, and is not. Docker
moves that link away and BGP knows nothing of it, so what follows from a Join is the same.
"""

from __future__ import annotations

import itertools
import sys

from bgp_ipvlan import daemon, kernel, model, ownership

_INDEXES = itertools.count(1_000_000)


class WithoutLinks(kernel.links.KernelLinks):
    """The host's links, and slaves that are none."""

    async def ipvlan_available(self) -> bool:
        """It says so."""
        return True

    async def ensure_slave(self, spec: model.SlaveSpec) -> model.Link:
        """What the link would look like."""
        parent = next(link for link in await self.read() if link.name == spec.parent)
        return model.Link(
            index=next(_INDEXES),
            name=spec.name,
            kind="ipvlan",
            alias=spec.alias,
            mtu=spec.mtu or parent.mtu,
            up=spec.up,
            running=spec.up,
            parent_index=parent.index,
            group=ownership.LINK_GROUP,
            addresses=spec.addresses,
        )


def main() -> None:
    """Both halves of `bgp_ipvlan.daemon`: read the flags, then be the daemon, with these links."""
    if sys.argv[1].isdigit():
        kernel.links.KernelLinks = WithoutLinks  # type: ignore[misc]
        daemon.main()
    else:
        # What the process becomes is what goes by this name.
        daemon.__name__ = "bench.withoutlinks"
        sys.argv = sys.argv[1:]
        # Only now: the daemon itself does without all that it brings.
        from bgp_ipvlan import cli

        cli.main()


if __name__ == "__main__":
    main()
