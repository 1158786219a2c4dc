"""Learned prefixes that are the very same as one of ours: who is right? (D10). Pure.

What lies inside one of our subnets is `learned.Guards`' business; here is the exact key.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping

from bgp_ipvlan import model, ownership

Key = tuple[model.Family, model.Nlri]


class Claim(enum.Enum):
    """How a prefix is ours."""

    CLOSED = enum.auto()
    """The subnet of a network that is this host's alone."""
    SHARED = enum.auto()
    """The subnet of a network with `both`: other hosts may announce it as well."""
    OPEN = enum.auto()
    """The subnet of a network with `endpoint`: nobody need announce it, a router may."""
    HOST = enum.auto()
    """The address of a container here."""
    GATEWAY = enum.auto()
    """A gateway address, which is the host itself."""
    LEFT = enum.auto()
    """The address of a container that left a moment ago: what we announced may still come back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ours:
    """All that is ours, to compare with what is learned.

    The mappings are live: they follow the networks.
    """

    identity: ownership.Identity
    claims: Mapping[model.Family, Mapping[model.Nlri, Claim]]

    def refusals(
        self, change: model.BestPaths, own_address: Callable[[model.Address], bool]
    ) -> dict[model.Nlri, str]:
        """The prefixes of a batch that are ours and stay so, with their reason codes.

        Args:
            change: learned, with at least one path.
            own_address: whether an address is this host's.
        """
        claims = self.claims[change.family]
        if not claims or claims.keys().isdisjoint(change.prefixes):
            return {}
        # Our mark tells, and where a switch dropped it the next hop (D3).
        others = [
            path
            for path in change.paths
            if not (self.identity.announced(path) or own_address(path.next_hop))
        ]
        refused: dict[model.Nlri, str] = {}
        for key in change.prefixes:
            claim = claims.get(key)
            if claim is not None:
                reason = _reason(claim, others[0]) if others else "own-echo"
                if reason is not None:
                    refused[key] = reason
        return refused


def _reason(claim: Claim, path: model.Path) -> str | None:
    """Why another host's path for a prefix of ours is no route; None if it may be one."""
    match claim:
        case Claim.CLOSED | Claim.HOST:
            # Two hosts claim the very same prefix: the case that needs a person.
            return "duplicate-prefix"
        case Claim.GATEWAY:
            return "own-prefix"
        case Claim.LEFT:
            return None
        case Claim.SHARED:
            return "shared-prefix" if ownership.stretched(path) else "duplicate-prefix"
        case Claim.OPEN:
            alone = ownership.marked(path) and not ownership.stretched(path)
            return "duplicate-prefix" if alone else None
