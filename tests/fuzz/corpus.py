"""The fixed corpus: text files in `corpus/`, one input a line, so that a reader sees what changes.

TARGET-seeds.txt      made by `seeds`: what our own encoders write, and known malice
TARGET-captured.txt   made by `record`: what foreign daemons sent in the lab
TARGET-found.txt      made by `distil`: what long runs found that covers something more
TARGET-mended.txt     by hand: what once broke a property
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def load(target: str) -> dict[str, bytes]:
    """All inputs of a target by name."""
    found: dict[str, bytes] = {}
    for file in sorted(FOLDER.glob(f"{target}-*.txt")):
        for line in file.read_text().splitlines():
            name, _, octets = line.partition(" ")
            if name and not name.startswith("#"):
                found[f"{file.stem.partition('-')[2]}/{name}"] = bytes.fromhex(octets)
    return found


def save(target: str, kind: str, inputs: Mapping[str, bytes], what: str) -> None:
    """Write one file.

    Args:
        target: whose.
        kind: `seeds`, `captured`, `found`.
        inputs: by name, without blanks.
        what: a line that says where they are from.
    """
    lines = [f"# {what}", *(f"{name} {octets.hex()}" for name, octets in inputs.items())]
    (FOLDER / f"{target}-{kind}.txt").write_text("\n".join(lines) + "\n")


def spread(target: str, folder: Path) -> None:
    """Write the inputs as the files that libFuzzer wants."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, octets in load(target).items():
        (folder / name.replace("/", "-")).write_bytes(octets)
