"""On what it was measured: figures are worth nothing without."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from lab import process

_VERSIONS = {
    "BIRD": ("bird", "--version"),
    "FRR": ("/usr/lib/frr/bgpd", "--version"),
    "GoBGP": ("gobgpd", "--version"),
}


def describe() -> dict[str, str]:
    """Cores and what they were busy with, memory, kernel and versions."""
    names = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", names)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": f"{os.cpu_count()} × {model.group(1) if model else platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": platform.release().split("-")[0],
        "Python": platform.python_version(),
        **{name: _version(argv) for name, argv in _VERSIONS.items()},
    }


def _version(argv: tuple[str, ...]) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, env=process.environment(), check=False
    )
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found.group(0) if found else "?"
