"""A session's script, as octets: what a fuzzer mutates, and what the seeds are written in.

Any octets are a script. Two of settings, then steps: an octet with kind and repetition, one with
the length of the data (255: two more follow), the data. What is cut off is taken as it is.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator


class Kind(enum.IntEnum):
    """What a step does."""

    GREET = 0
    """A good OPEN with the capabilities of the first data octet, and a KEEPALIVE."""
    MESSAGE = 1
    """Type (first octet) and body of a message; its length is made right."""
    UPDATE = 2
    """An UPDATE from withdrawn routes, NLRI (each with its length) and attributes (the rest)."""
    RAW = 3
    """Octets as they are."""
    TICK = 4
    """Tenths of a second pass (two octets)."""
    DEADLINE = 5
    """It is exactly when the session wanted to be woken."""
    CLOSE = 6
    """We end it: a subcode of Cease, and a text."""
    LOST = 7
    """The connection is gone, or (repeated) takes nothing any more."""
    EXCEEDED = 8
    """Too many prefixes came, of IPv4 or (repeated) IPv6."""
    SEND = 9
    """We announce, withdraw, and ask for a refresh."""
    PAUSE = 10
    """Of what comes next only so many events are heard of at first, as when the engine is busy;
    the rest at the next pause or when still more comes; time and our own deeds may lie between."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    kind: Kind
    data: bytes = b""
    times: int = 1
    """1, 2, 4 … 128: how often a message comes, or how long an UPDATE's prefixes are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """What is configured, and what happens."""

    settings: int = 0
    """Bits, see `sessions`."""
    timing: int = 0
    """Low four bits: how the stream is cut; high four: hold and keepalive time."""
    steps: tuple[Step, ...] = ()

    def encode(self) -> bytes:
        """As octets."""
        return bytes((self.settings, self.timing)) + b"".join(map(_encode, self.steps))


def _encode(step: Step) -> bytes:
    head = bytes((step.kind | (step.times.bit_length() - 1) << 4,))
    size = len(step.data)
    return head + (bytes((size,)) if size < 255 else b"\xff" + size.to_bytes(2)) + step.data


def decode(data: bytes) -> Script:
    """Read a script; never fails."""
    settings, timing = data[:2].ljust(2, b"\0")
    return Script(settings, timing, tuple(_decode(data[2:])))


def _decode(data: bytes) -> Iterator[Step]:
    while data:
        head, size, data = data[0], data[1] if len(data) > 1 else 0, data[2:]
        if size == 255:
            size, data = int.from_bytes(data[:2]), data[2:]
        kind = Kind((head & 15) % len(Kind))
        yield Step(kind, data[:size], 1 << (head >> 4 & 7))
        data = data[size:]


def fields(*parts: bytes) -> bytes:
    """Data of an UPDATE step: all but the last part with its length before it."""
    return b"".join(len(part).to_bytes(2) + part for part in parts[:-1]) + parts[-1]


def split_fields(data: bytes, count: int) -> Iterator[bytes]:
    """The reverse of `fields`."""
    for _ in range(count):
        size, data = int.from_bytes(data[:2]), data[2:]
        yield data[:size]
        data = data[size:]
    yield data


def cuts(data: bytes, how: int) -> Iterable[bytes]:
    """Cut a stream as TCP might: `how` is 0 (whole) to 15."""
    size = (len(data) or 1, 1, 2, 3, 7, 16, 18, 19, 20, 23, 64, 255, 256, 1000, 4096, 65535)[how]
    return [data[start : start + size] for start in range(0, len(data), size)]
