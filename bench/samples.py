"""Single routes whose way is timed: which, how often, and when each was seen."""

from __future__ import annotations

import ipaddress
import time

INTERVAL = 0.005
"""Seconds between two of them: each finds the speakers idle again."""
_FIRST = int(ipaddress.IPv4Address("172.16.0.1"))
RANGE = "172.16.0.0/16"
"""All of them lie in it, and nothing else does."""


def prefix(number: int) -> str:
    """Sample number n."""
    return f"{ipaddress.IPv4Address(_FIRST + number)}/32"


def address(number: int) -> bytes:
    """The address of sample number n, packed."""
    return (_FIRST + number).to_bytes(4)


class Times:
    """When each sample was first seen, in seconds of the machine's monotonic clock."""

    def __init__(self, count: int) -> None:
        self.values = [0.0] * count
        self.missing = count

    def note(self, address: bytes) -> bool:
        """Note the time, if it is a sample; whether that was the last one missing.

        Args:
            address: of a host route, packed.
        """
        number = int.from_bytes(address) - _FIRST
        if not 0 <= number < len(self.values) or self.values[number]:
            return False
        self.values[number] = time.monotonic()
        self.missing -= 1
        return not self.missing
