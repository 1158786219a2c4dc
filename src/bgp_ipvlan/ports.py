"""The doors to the world: the kernel's links, the kernel's routes, the BGP engine.

Each is a small Protocol made of the records of `model`; what stands behind one
(netlink, sockets) never shows through. Tests put fakes here that behave.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from bgp_ipvlan import model


class Links(Protocol):
    """Links and addresses of the host's network namespace. Raises `errors.KernelError`."""

    async def read(self) -> tuple[model.Link, ...]:
        """All links with their addresses."""

    async def ipvlan_available(self) -> bool:
        """Whether this kernel can make ipvlan links; asks without making one."""

    async def scan_slaves(self) -> model.SlaveScan:
        """Find the ipvlan slaves of our links in every namespace of the machine.

        Once a slave sits in a container nothing of it is visible on the host, yet it
        fixes the parent's mode (kernel sheet, section 3).
        """

    async def ensure_slave(self, spec: model.SlaveSpec) -> model.Link:
        """Make the slave, or bring an existing one of ours of that name to the spec.

        Complete or not at all: on failure nothing of it is left. A link of that name
        that is not ours is reason `foreign-link`. A stale one of ours with another
        parent, alias or VRF is replaced.
        """

    async def delete(self, name: str) -> bool:
        """Delete a link of ours by name; False if there is none (which is no error).

        A link of that name that is not ours is left alone: reason `foreign-link`.
        """


class Room(Protocol):
    """Something that is set or not, and can be waited for: an `asyncio.Event`."""

    def is_set(self) -> bool:
        """Whether there is room now."""

    async def wait(self) -> object:
        """Return when there is."""


class Routes(Protocol):
    """The kernel's routes. Writing is asynchronous: it is done on a thread of its own, in order."""

    @property
    def nexthop_objects(self) -> bool:
        """Whether the kernel has them, so that `lead` changes where existing routes lead."""

    async def dump(self, believed: model.Believed, *, everywhere: bool = False) -> model.RouteDump:
        """Read tables back.

        Args:
            believed: what they should have of ours; belongs to the callee from now on.
            everywhere: look for routes of ours in all other tables too.

        Raises:
            errors.KernelError: `kernel-refused`, `dump-interrupted`.
        """

    async def rules(self) -> Mapping[model.Family, model.Rules]:
        """Which tables are looked into at all.

        Raises:
            errors.KernelError: `kernel-refused`.
        """

    def write(self, batches: Iterable[model.RouteBatch]) -> None:
        """Queue routes to be set or deleted. Never blocks.

        Deleting what is gone is success. Failures arrive later through `on_failure`,
        on the loop's thread.
        """

    def lead(self, via: model.Via, next_hops: tuple[model.NextHop, ...]) -> None:
        """Routes through an object lead here from now on, those in the kernel too. Queued.

        More than one next hop is ECMP, of which the id has to be one of `ownership.GROUP_IDS`.
        """

    def retire(self, via: model.Via, *, keep: bool) -> None:
        """An object stands for nothing more.

        Args:
            via: its id may be used for another one from now on, though better not soon.
            keep: leave it in the kernel, since others use it. Else it goes, ahead of the
                queue where that is safe, and with it all routes that point at it.
        """

    async def flush(self) -> None:
        """Return when everything queued so far has been answered by the kernel."""

    @property
    def room(self) -> Room:
        """Set while the queue is short enough to take more (back-pressure)."""


class ArpFilter(Protocol):
    """What may not be asked for by ARP on some wires; see `kernel.arp`. Raises `errors.KernelError`."""

    async def ensure(self, interfaces: Iterable[str], ranges: Iterable[tuple[int, int]]) -> bool:
        """Have exactly this filter in the kernel; it is read back first.

        Args:
            interfaces: names; none, and there is no filter.
            ranges: first and last IPv4 address as numbers, in order, not touching each other;
                none, and there is no filter.

        Returns:
            Whether something had to be changed.

        Raises:
            errors.KernelError: `no-arp-filter`, `foreign-table`, `no-permission`, `kernel-refused`.
        """


class Conntrack(Protocol):
    """What the kernel remembers of flows, for firewalls and NAT; see `kernel.conntrack`."""

    async def forget(self, addresses: Collection[model.Address]) -> None:
        """Delete the entries in which one of these addresses takes part, so that it starts clean.

        A failure is logged and no more, and it returns within seconds, done or not.
        """


class KernelEvents(Protocol):
    """What the kernel monitor tells; called on the loop's thread."""

    def links_changed(self, lost: Collection[int] = ()) -> None:
        """A link or an address came, went or changed: read them again.

        Args:
            lost: indexes of links that are down or gone, or that lost an address: IPv4 routes
                that depended on them may have gone without a word.
        """

    def foreign_route(
        self, table: model.Table, prefix: model.Nlri, metric: int, route: model.ForeignRoute | None
    ) -> None:
        """Somebody else's route appeared or changed, or (None) went; in whatever table."""

    def own_route_touched(self, table: model.Table, prefix: model.Nlri, *, present: bool) -> None:
        """Somebody else changed (`present`) or deleted a route of ours."""

    def nexthop_touched(self) -> None:
        """Somebody else changed or deleted a nexthop object of ours.

        The routes that point at it lead elsewhere, or have gone, IPv4 ones without a word.
        """

    def rules_changed(self) -> None:
        """A rule (`ip rule`) came or went."""

    def overflow(self) -> None:
        """Events were lost (ENOBUFS): audit everything."""


class Engine(Protocol):
    """The BGP engine (D1). All calls and callbacks on the loop's thread."""

    async def start(self, *, restarted: bool, forwarding_preserved: bool) -> None:
        """Open the sockets and start talking.

        Args:
            restarted: we ran before on this boot, so set the Restart State bit (RFC 4724 section 3).
            forwarding_preserved: our links and routes are still in the kernel: set the F bit.

        Raises:
            errors.EngineError: reason `port-in-use`, …
        """

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Announce, or replace the attributes of, some prefixes, to every neighbour.

        They leave in this turn of the loop, those of one turn packed together.
        """

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Take announcements back. Unknown prefixes are ignored."""

    def withheld(self) -> Mapping[model.Prefix, str]:
        """What is not announced although it should be, with the reason code."""

    async def delivered(
        self, prefixes: Collection[model.Prefix], *, timeout: float
    ) -> model.Delivery:
        """Return when the sockets of all established neighbours have taken these prefixes.

        Args:
            prefixes: announced ones.
            timeout: seconds after which it returns all the same.
        """

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:
        """The paths now in use for a prefix, best first; empty if there is none."""

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:
        """All prefixes with a best path. Do not change the RIB while iterating."""

    def refusals(self, family: model.Family) -> Iterable[model.Refusal]:
        """Learned paths that take no part in the decision, each with its reason."""

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """The neighbours as they are now, dynamic ones included."""

    def about(self) -> Mapping[str, object]:
        """What there is to know of this engine and no other, as keys of `status --json`."""

    def warnings(self) -> Iterable[str]:
        """What a person should look at, each with its reason code; of neighbours see `neighbors`."""

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        """Have exactly these neighbours from now on; those that are as before notice nothing.

        A removed one gets Cease "peer de-configured", a changed one "other configuration
        change" where the session cannot go on with the new values (RFC 4486).

        Raises:
            errors.EngineError: `password-unusable`, …; then nothing changed.
        """

    def reset(self, neighbor: model.Address, *, soft: bool, message: str = "") -> None:
        """End a session with Cease "administrative reset", or (`soft`) ask for its routes again.

        Args:
            neighbor: a configured or dynamic one.
            soft: send ROUTE-REFRESH instead (RFC 2918).
            message: shutdown communication (RFC 9003), at most 255 octets of UTF-8.

        Raises:
            errors.EngineError: `unknown-neighbor`, `not-established`, `no-route-refresh`.
        """

    def graceful_shutdown(self, *, on: bool) -> None:
        """Mark all we announce with GRACEFUL_SHUTDOWN (RFC 8326), or no longer."""

    async def shutdown(self, *, message: str = "") -> None:
        """Withdraw everything, send Cease "administrative shutdown", and stay idle.

        `configure` does not end it; `resume` does.
        """

    def resume(self) -> None:
        """End `shutdown` and GRACEFUL_SHUTDOWN: talk again."""

    def surroundings_changed(
        self,
        addresses: Collection[model.Address],
        usable: Callable[[model.Path], bool],
    ) -> None:
        """The host's links or addresses changed, or what they make of next hops.

        Args:
            addresses: on links that are up and have a carrier. A session whose own address is
                not among them ends at once.
            usable: whether a path's next hop can be reached; of several paths only those whose
                next hop can take part (RFC 4271 section 9.1.2).
        """

    async def stop(self, *, withdraw: bool, message: str = "") -> None:
        """Close.

        With `withdraw`: withdraw everything and send Cease, with a shutdown communication.
        Without: close TCP with no NOTIFICATION, so that graceful restart holds our routes on
        the neighbours (D4).
        """


class EngineEvents(Protocol):
    """What the engine tells."""

    def best_paths(self, change: model.BestPaths) -> None:
        """Best paths changed."""

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """A session came up or went down; `detail` is one clause for the log."""

    def synced(self) -> None:
        """Each configured neighbour has sent End-of-RIB, or the deadline has passed: said once.

        From now on a prefix that nobody announced is known not to be announced.
        """


OnRouteFailures = Callable[[list[model.RouteFailure]], None]
