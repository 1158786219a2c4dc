"""BGP messages: framing, OPEN, KEEPALIVE, NOTIFICATION (RFC 4271 section 4). Pure."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

MARKER = b"\xff" * 16
HEADER_SIZE = 19
MAX_SIZE = 4096
EXTENDED_SIZE = 65535
"""Longest message where both sides said so (RFC 8654 section 4); never of OPEN or KEEPALIVE."""
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
_LEAST = {OPEN: 29, UPDATE: 23, NOTIFICATION: 21, KEEPALIVE: 19, ROUTE_REFRESH: 23}
"""Shortest message of each type (RFC 4271 section 4; RFC 2918 section 3)."""

HEADER_ERROR, OPEN_ERROR, UPDATE_ERROR, HOLD_TIMER_EXPIRED, FSM_ERROR, CEASE = range(1, 7)
REFRESH_ERROR, SEND_HOLD_TIMER_EXPIRED = 7, 8  # RFC 7313 section 5, RFC 9687
NOT_SYNCHRONIZED, BAD_LENGTH, BAD_TYPE = 1, 2, 3
BAD_VERSION, BAD_PEER_AS, BAD_IDENTIFIER, BAD_PARAMETER, BAD_HOLD_TIME = 1, 2, 3, 4, 6
BAD_CAPABILITY = 7
MAXIMUM_PREFIXES, ADMINISTRATIVE_SHUTDOWN, PEER_DECONFIGURED, ADMINISTRATIVE_RESET = 1, 2, 3, 4
CONNECTION_REJECTED, CONFIGURATION_CHANGE, COLLISION, OUT_OF_RESOURCES = 5, 6, 7, 8
HARD_RESET = 9

_CODES = {
    # RFC 4271 section 4.5; RFC 4486, RFC 8538, RFC 9384 for Cease.
    1: ("Message Header Error", {1: "not synchronized", 2: "bad length", 3: "bad type"}),
    2: (
        "OPEN Message Error",
        {
            1: "unsupported version",
            2: "bad peer AS",
            3: "bad BGP identifier",
            4: "unsupported optional parameter",
            6: "unacceptable hold time",
            7: "unsupported capability",
            11: "role mismatch",
        },
    ),
    3: (
        "UPDATE Message Error",
        {
            1: "malformed attribute list",
            2: "unrecognized well-known attribute",
            3: "missing well-known attribute",
            4: "attribute flags error",
            5: "attribute length error",
            6: "invalid ORIGIN",
            8: "invalid NEXT_HOP",
            9: "optional attribute error",
            10: "invalid network field",
            11: "malformed AS_PATH",
        },
    ),
    4: ("Hold Timer Expired", {}),
    5: (
        "Finite State Machine Error",
        {1: "in OpenSent", 2: "in OpenConfirm", 3: "in Established"},  # RFC 6608
    ),
    6: (
        "Cease",
        {
            1: "maximum number of prefixes reached",
            2: "administrative shutdown",
            3: "peer de-configured",
            4: "administrative reset",
            5: "connection rejected",
            6: "other configuration change",
            7: "connection collision resolution",
            8: "out of resources",
            9: "hard reset",
            10: "BFD down",
        },
    ),
    7: ("ROUTE-REFRESH Message Error", {1: "invalid message length"}),
    8: ("Send Hold Timer Expired", {}),
}


class ProtocolError(Exception):
    """The other side broke the protocol; it gets a NOTIFICATION with this code."""

    def __init__(self, code: int, subcode: int = 0, data: bytes = b"", detail: str = "") -> None:
        super().__init__(f"{describe(code, subcode)}{detail and ': ' + detail}")
        self.code, self.subcode, self.data = code, subcode, data


def describe(code: int, subcode: int) -> str:
    """A NOTIFICATION's code and subcode in words."""
    name, subcodes = _CODES.get(code, (f"code {code}", {}))
    return name + (f", {subcodes.get(subcode, f'subcode {subcode}')}" if subcode else "")


def frame(kind: int, body: bytes = b"") -> bytes:
    """One message with its header."""
    return MARKER + struct.pack("!HB", HEADER_SIZE + len(body), kind) + body


class Framer:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._rest = b""
        self.longest = MAX_SIZE
        """Octets of the longest message; `EXTENDED_SIZE` once that is agreed upon."""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take in what was received; yield (type, body) of each whole message.

        Raises:
            ProtocolError: Message Header Error (RFC 4271 section 6.1). Messages before the
                bad one have been yielded.
        """
        data = self._rest + data if self._rest else data
        start, end = 0, len(data)
        try:
            while end - start >= HEADER_SIZE:
                length, kind = _header(data, start, self.longest)
                if end - start < length:
                    break
                yield kind, data[start + HEADER_SIZE : start + length]
                start += length
        finally:
            self._rest = data[start:]


def _header(data: bytes, start: int, longest: int) -> tuple[int, int]:
    if data[start : start + 16] != MARKER:
        raise ProtocolError(HEADER_ERROR, NOT_SYNCHRONIZED)
    length: int = int.from_bytes(data[start + 16 : start + 18])
    kind = data[start + 18]
    if kind not in _LEAST:
        raise ProtocolError(HEADER_ERROR, BAD_TYPE, bytes((kind,)))
    most = {OPEN: MAX_SIZE, KEEPALIVE: HEADER_SIZE}.get(kind, longest)
    if not _LEAST[kind] <= length <= most:
        raise ProtocolError(HEADER_ERROR, BAD_LENGTH, data[start + 16 : start + 18])
    return length, kind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An OPEN (RFC 4271 section 4.2). Hold time in seconds."""

    my_as: int
    """The two-octet field: AS_TRANS when the real one does not fit (RFC 6793)."""
    hold_time: int
    identifier: int
    parameters: bytes = b""
    """Capabilities, as optional parameter 2 holds them (RFC 5492)."""

    def encode(self) -> bytes:
        """The whole message."""
        fixed = struct.pack("!BHHI", 4, self.my_as, self.hold_time, self.identifier)
        data = self.parameters
        if len(data) > 253:
            # RFC 9072: 255 twice, then lengths of two octets.
            optional = struct.pack("!BH", 2, len(data)) + data
            return frame(OPEN, fixed + struct.pack("!BBH", 255, 255, len(optional)) + optional)
        optional = bytes((2, len(data))) + data if data else b""
        return frame(OPEN, fixed + bytes((len(optional),)) + optional)


def parse_open(body: bytes) -> Open:
    """Decode an OPEN's body.

    Raises:
        ProtocolError: OPEN Message Error (RFC 4271 section 6.2).
    """
    version, my_as, hold_time, identifier, length = struct.unpack_from("!BHHIB", body)
    if version != 4:
        raise ProtocolError(OPEN_ERROR, BAD_VERSION, struct.pack("!H", 4))
    if hold_time in {1, 2}:
        raise ProtocolError(OPEN_ERROR, BAD_HOLD_TIME)
    if identifier == 0:
        raise ProtocolError(OPEN_ERROR, BAD_IDENTIFIER)
    rest, wide = body[10:], False
    if length and len(rest) >= 3 and rest[0] == 255:
        # RFC 9072 section 2: a 16-bit length follows, and parameters have 16-bit lengths too.
        # The first length is 255 by a sender that follows it, and may be anything but 0.
        length, rest, wide = int.from_bytes(rest[1:3]), rest[3:], True
    if length != len(rest):
        raise ProtocolError(OPEN_ERROR, 0, detail="optional parameters do not fit")
    capabilities = b"".join(_parameters(rest, 2 if wide else 1))
    return Open(my_as=my_as, hold_time=hold_time, identifier=identifier, parameters=capabilities)


def _parameters(data: bytes, width: int) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        value = start + 1 + width
        end = value + int.from_bytes(data[start + 1 : value])
        if value > len(data) or end > len(data):
            raise ProtocolError(OPEN_ERROR, 0, detail="an optional parameter is cut off")
        if data[start] != 2:
            raise ProtocolError(OPEN_ERROR, BAD_PARAMETER)
        yield data[value:end]
        start = end


def notification(error: ProtocolError) -> bytes:
    """The NOTIFICATION that answers an error."""
    # Whatever the neighbour may be told is never longer than any message (RFC 4271 section 4.1).
    data = error.data[: MAX_SIZE - HEADER_SIZE - 2]
    return frame(NOTIFICATION, bytes((error.code, error.subcode)) + data)


def shutdown_communication(text: str) -> bytes:
    """Data of a Cease that says why, cut to what fits (RFC 9003 section 2)."""
    data = text.encode()[:255].decode(errors="ignore").encode()
    return bytes((len(data),)) + data if data else b""


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """A NOTIFICATION that was received."""

    code: int
    subcode: int
    hard: bool
    """It is or was inside a Hard Reset: graceful restart does not apply (RFC 8538)."""
    text: str
    """In words, with the sender's own where it gave any."""


def parse_notification(body: bytes) -> Notification:
    """Decode a NOTIFICATION's body, which has two octets at least; never fails."""
    code, subcode, data = body[0], body[1], body[2:]
    hard = (code, subcode) == (CEASE, HARD_RESET)
    if hard and len(data) >= 2:
        # RFC 8538 section 3.1: the real code, subcode and data stand inside.
        code, subcode, data = data[0], data[1], data[2:]
    text = describe(code, subcode) + (" (hard reset)" if hard and subcode != HARD_RESET else "")
    if code == CEASE and subcode in {ADMINISTRATIVE_SHUTDOWN, ADMINISTRATIVE_RESET} and data:
        said = data[1 : 1 + data[0]].decode(errors="replace")
        # RFC 9003 section 4: it goes to logs and terminals.
        said = "".join(c if c.isprintable() else "\ufffd" for c in said)
        text += f": {said}" if said else ""
    return Notification(code, subcode, hard, text)
