"""The kernel's ARP filter without a kernel."""

from __future__ import annotations

from collections.abc import Iterable

from bgp_ipvlan import errors


class FakeArpFilter:
    """Implements `ports.ArpFilter`; `now` is what the kernel has."""

    def __init__(self) -> None:
        self.now: tuple[tuple[str, ...], tuple[tuple[int, int], ...]] = ((), ())
        self.looks = 0
        self.failure: errors.KernelError | None = None
        """Raised by each call while it is there."""

    async def ensure(self, interfaces: Iterable[str], ranges: Iterable[tuple[int, int]]) -> bool:
        """Have exactly this."""
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        wanted = tuple(interfaces), tuple(ranges)
        if not all(wanted):
            wanted = (), ()
        changed, self.now = wanted != self.now, wanted
        return changed
