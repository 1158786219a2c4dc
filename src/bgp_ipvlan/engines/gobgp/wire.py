"""Protocol Buffers' encoding, as far as messages are taken apart without being parsed whole.

A table of gobgpd is one message, tens of megabytes long, and no turn of the loop may take that
long (D7). Messages are fields one after the other, and a run of some of the fields of a message
is itself a message of that kind: so it can be cut where fields begin.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def varint(data: bytes, start: int) -> tuple[int, int]:
    """A number and where it ends.

    Raises:
        ValueError: it is cut off.
    """
    value = shift = 0
    while True:
        try:
            octet = data[start]
        except IndexError:
            raise ValueError("message is cut off") from None
        start += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, start
        shift += 7


def spans(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields with a length: number, where the value begins, where it ends.

    Raises:
        ValueError: this is no message.
    """
    while start < end:
        tag, start = varint(data, start)
        kind = tag & 7
        if kind == _LENGTH:
            size, start = varint(data, start)
            if start + size > end:
                raise ValueError("message is cut off")
            yield tag >> 3, start, start + size
            start += size
        elif kind == _VARINT:
            _, start = varint(data, start)
        elif kind in {_FIXED64, _FIXED32}:
            start += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")


def slices(data: bytes, start: int, end: int, *, count: int, size: int) -> Iterator[bytes]:
    """Cut a message into messages of at most `count` fields and about `size` octets.

    Args:
        data: in which it is.
        start: where it begins.
        end: where it ends.
        count: fields with a length; others do not count.
        size: octets after which a slice has enough.

    Raises:
        ValueError: this is no message.
    """
    cut, number, last = start, 0, start
    for _, _, last in spans(data, start, end):
        number += 1
        if number == count or last - cut >= size:
            yield data[cut:last]
            cut, number = last, 0
    if cut < last:
        yield data[cut:end]
