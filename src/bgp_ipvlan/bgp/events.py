"""What a session tells: the events that come out of it. Values only."""

from __future__ import annotations

import dataclasses

from bgp_ipvlan import model


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """The OPEN came and is good: now a collision can be decided."""

    identifier: int


@dataclasses.dataclass(frozen=True, slots=True)
class Established:
    """The session is up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """Prefixes announced with one path, or withdrawn (None)."""

    family: model.Family
    path: model.Path | None
    prefixes: list[model.Nlri]
    path_id: int | None = None
    """Which path of them, on a session with ADD-PATH (RFC 7911)."""
    refused: str = ""
    """A reason code: the path is kept, but takes no part in the decision."""
    problem: str = ""
    """Why they are withdrawn although the neighbour announced them (RFC 7606)."""


@dataclasses.dataclass(frozen=True, slots=True)
class EndOfRib:
    """The neighbour has sent its whole table."""

    family: model.Family


@dataclasses.dataclass(frozen=True, slots=True)
class RefreshWanted:
    """The neighbour wants everything again (RFC 2918)."""

    family: model.Family


@dataclasses.dataclass(frozen=True, slots=True)
class RefreshBegun:
    """The neighbour starts to send everything again (RFC 7313)."""

    family: model.Family


@dataclasses.dataclass(frozen=True, slots=True)
class RefreshEnded:
    """It has; what did not come again is gone."""

    family: model.Family


@dataclasses.dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; send what is left to send and close the connection."""

    reason: str
    graceful: bool
    """Graceful restart may apply: the connection was lost without a NOTIFICATION (RFC 4724
    section 4.2), or with one that both sides agreed to outlive (RFC 8538)."""


Event = (
    Opened | Established | Learned | EndOfRib | RefreshWanted | RefreshBegun | RefreshEnded | Closed
)
