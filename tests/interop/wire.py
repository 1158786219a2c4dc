"""What is on the wire, in the words of others: recorded by dumpcap, read by tshark."""

from __future__ import annotations

import dataclasses
import signal
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence

from lab import namespace

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = "12345"
"""`bgp.type`, as tshark shows it."""
_MALFORMED, _SEVERITY = "_ws.malformed", "_ws.expert.severity"
_WARNING = 0x600000
"""Below are a chat and a note, such as that the TTL is 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A message, or a part of one: tshark's fields with what it shows, in their order."""

    element: ET.Element

    def all(self, name: str) -> list[str]:
        """What it shows of each field of a name; `bgp.` goes before it."""
        found = (
            field for field in self.element.iter("field") if field.get("name") == f"bgp.{name}"
        )
        return [field.get("show", "") for field in found]

    def one(self, name: str) -> str:
        """The same, of the only one there is."""
        (found,) = self.all(name)
        return found

    def parts(self, name: str) -> list[Part]:
        """Parts of it that stand under a field of that name."""
        return [Part(one) for one in self.element.iter("field") if one.get("name") == f"bgp.{name}"]

    @property
    def kind(self) -> str:
        """Of a message."""
        return self.one("type")

    @property
    def attributes(self) -> dict[int, Part]:
        """Of an UPDATE, by type code, in their order."""
        found = self.parts("update.path_attribute")
        return {int(one.one("update.path_attribute.type_code")): one for one in found}

    def prefixes(self, name: str) -> set[str]:
        """Prefixes under a field: tshark shows each as the text of a field without a name."""
        found: set[str] = set()
        for part in self.parts(name):
            fields = (field for field in part.element if not field.get("name"))
            found.update(field.get("show", "").partition(" ")[0] for field in fields)
        return found


class Capture:
    """A recording that runs.

    Args:
        host: whose interface `eth1` is listened to.
        source: whose messages are looked at.
    """

    def __init__(self, host: namespace.Host, source: str) -> None:
        self._host, self._source = host, source
        self._file = host.directory / "bgp.pcapng"
        self._process = host.start(
            *("dumpcap", "-q", "-i", "eth1", "-f", "tcp port 179", "-w", self._file),
            log="dumpcap.log",
        )
        # It names its file when it listens.
        namespace.wait_until(lambda: "File:" in self._process.output(), "dumpcap to listen")

    def until(self, condition: Callable[[Sequence[Part]], object], what: str) -> list[Part]:
        """Record until the messages fulfil a condition, and a last time for what came with them."""
        namespace.wait_until(lambda: condition(self.messages()), f"{what} on the wire")
        self._process.signal(signal.SIGINT)
        self._process.wait()
        return self.messages()

    def messages(self) -> list[Part]:
        """The source's messages until now, in their order."""
        return [Part(bgp) for packet in self._packets() for bgp in _layers(packet)]

    def complaints(self) -> list[str]:
        """What tshark finds wrong with any of the packets, the other side's too."""
        found = []
        for packet in self._packets(of_all=True):
            for one in packet.iter():
                severe = one.get("name") == _SEVERITY and int(one.get("show", "0")) >= _WARNING
                if one.get("name") == _MALFORMED or severe:
                    found.append(ET.tostring(packet, encoding="unicode"))
        return found

    def _packets(self, *, of_all: bool = False) -> Iterator[ET.Element]:
        sender = f" && ip{'v6' * (':' in self._source)}.src == {self._source}"
        shown = "bgp" + ("" if of_all else sender)
        # Status 2 only says that the recorder has not finished the file.
        done = self._host.run(
            "tshark", "-n", "-r", self._file, "-Y", shown, "-T", "pdml", check=False
        )
        yield from ET.fromstring(done.stdout).iter("packet")


def _layers(packet: ET.Element) -> Iterator[ET.Element]:
    return (proto for proto in packet.iter("proto") if proto.get("name") == "bgp")
