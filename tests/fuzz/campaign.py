"""A run of the fuzzer, and what is left of it: new inputs, and the one that broke a property."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
"""What long runs have found, between runs; not part of the repository."""
LONGEST = 8192
"""Octets of an input. Scripts repeat, so messages of 65,535 octets are reached all the same."""
SHORT = 1024
"""Octets of an input that is worth keeping."""
_WORDS = (
    *(b"\xff" * 16 + length + kind for length in (b"\0\x13", b"\0\x17") for kind in (b"\4", b"\2")),
    *(bytes((0x40, code)) for code in (1, 2, 3, 5, 6)),
    *(bytes((0x80, code)) for code in (4, 9, 10, 14, 15)),
    *(bytes((0xC0, code)) for code in (7, 8, 16, 17, 18, 32)),
    *(bytes((0x90, code, 0)) for code in (14, 15)),
    *(b"\0\1\1", b"\0\2\1", b"\0\1\2", b"\0\2\1\x10", b"\0\2\1\x20", b"\0\1\1\4", b"\0\1\1\x10"),
    *(b"\2\1\0\0\xfd\xea", b"\1\1\0\0\xfd\xea", b"\2\1\xfd\xea", b"\x20\1\x0d\xb8", b"\xc0\0\2\2"),
    *(bytes((code, 4)) for code in (1, 65, 69)),
)
"""What BGP is made of, for the mutations: headers, attributes, families, addresses."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: int
    crash: Path | None
    """The input that broke a property."""
    output: str


def fuzz(target: str, *limits: str, keep: Path, quiet: bool = False) -> Outcome:
    """Fuzz one target, in a process of its own.

    Args:
        target: `messages` or `sessions`.
        limits: libFuzzer's, such as `-max_total_time=60` or `-runs=1000`, and `-seed=1`.
        keep: a folder for new inputs; what is there already is used.
        quiet: keep the output to oneself.
    """
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bgp-fuzz-") as name:
        fixed, words = Path(name, "fixed"), Path(name, "words")
        corpus.spread(target, fixed)
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in _WORDS))
        crashes = keep.parent / f"crash-{target}-"
        before = set(keep.parent.glob(crashes.name + "*"))
        arguments = (f"-max_len={LONGEST}", f"-dict={words}", "-timeout=20", "-rss_limit_mb=1024")
        done = _engine(
            *(target, "fuzz"),
            *(*arguments, f"-artifact_prefix={crashes}", "-print_final_stats=1", *limits),
            *(str(keep), str(fixed)),
            quiet=quiet,
        )
        fresh = sorted(set(keep.parent.glob(crashes.name + "*")) - before)
    return Outcome(done.returncode, fresh[-1] if fresh else None, done.stdout or "")


def broken(data: bytes) -> None:
    """A target that is wrong on purpose: the test of the tests.

    Raises:
        AssertionError: the first octet is 33.
    """
    assert data[:1] != b"!"


def distil(target: str, keep: Path) -> int:
    """Put into the fixed corpus, of what was found, what covers more than the rest; how many."""
    with tempfile.TemporaryDirectory(prefix="bgp-fuzz-") as name:
        fixed = Path(name, "fixed")
        (corpus.FOLDER / f"{target}-found.txt").unlink(missing_ok=True)
        corpus.spread(target, fixed)
        had = {file.read_bytes() for file in fixed.iterdir()}
        # Into what is fixed already comes only what adds to it.
        again = Path(name, "again")
        again.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz.engine {target} "$0" "$@"\n'
        )
        again.chmod(0o755)
        folders = (str(fixed), str(keep))
        limits = (f"-max_len={SHORT}", f"-artifact_prefix={name}/")
        done = _engine(target, str(again), "-merge=1", *limits, *folders, quiet=True)
        if done.returncode:
            raise RuntimeError(f"merging failed:\n{done.stdout}")
        new = {file.name: file.read_bytes() for file in sorted(fixed.iterdir())}
    found = {name[:12]: octets for name, octets in new.items() if octets not in had}
    corpus.save(target, "found", found, "Found by fuzzing; kept because it covers something more.")
    return len(found)


def _engine(target: str, *arguments: str, quiet: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.engine", target, *arguments],
        cwd=ROOT,
        # Sets in another order would be another run.
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        errors="replace",
        check=False,
    )


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)
