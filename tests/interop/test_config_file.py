"""What we read as GoBGP's format is GoBGP's format: gobgpd itself is the witness."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import process
from tests.unit import test_config_file as texts

_OURS = "recursive ="
"""A key of ours among GoBGP's."""


@pytest.mark.parametrize(
    ("text", "accepted"),
    [(texts.WHOLE, True), (texts.NEIGHBOR, True), (texts.WHOLE + texts.OURS, False)],
    ids=["whole", "neighbor", "with-our-tables"],
)
def test_gobgpd_reads_it_too(tmp_path: Path, text: str, accepted: bool) -> None:
    """But for a key of ours our tests use none that gobgpd would not take; our tables it refuses."""
    path = tmp_path / "gobgpd.conf"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith(_OURS)))

    done = process.run(["gobgpd", "--dry-run", "--config-file", str(path)], check=False)

    assert (done.returncode == 0) is accepted, done.stdout + done.stderr
