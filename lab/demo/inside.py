"""Tells the story on the kernel it runs on, this machine's or the guest's; keeps the hosts if asked to."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab import namespace, process, uml
from lab.demo import consoles, screen, story

KEPT = "@kept "
"""Begins the line that says, to the process outside, that the hosts are up; JSON follows."""
EXCHANGE_LOGS = "logs"
"""Folder in the exchange folder for the logs of a failed story."""


def tell(kept: Callable[[dict[str, list[str]]], None] | None) -> bool:
    """Tell the story; True if it held.

    Args:
        kept: called with each host's shell command line when the hosts are up to stay; returns
            when they shall go. None: they go at once.
    """
    with namespace.Lab() as lab:
        try:
            sites = story.tell(lab)
            if kept is not None:
                story.again(*sites)
        except (story.StepFailed, namespace.LabError, process.CommandError) as error:
            screen.failed(str(error))
            _save_logs(lab)
            return False
        if kept is not None:
            kept(
                {s.host.name: s.host.command(*story.user_shell(s.host)) for s in sites},
            )
    return True


def _save_logs(lab: namespace.Lab) -> None:
    if uml.inside():
        folder = Path("/mnt/exchange") / EXCHANGE_LOGS
        folder.mkdir()
    else:
        folder = Path(tempfile.mkdtemp(prefix="bgp-ipvlan-demo-logs-"))
        screen.say(f"Logs are in {folder}")
    for name, host in lab.hosts.items():
        for log in host.directory.glob("*.log"):
            shutil.copy(log, folder / f"{name}-{log.name}")


def _keep(hosts: dict[str, list[str]]) -> None:
    consoles.serve(hosts)
    print(KEPT + json.dumps(hosts), flush=True)
    while True:  # until the guest is ended from outside
        signal.pause()


def main() -> None:
    """`python -m lab.demo.inside [--keep]`, in the guest."""
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(0 if tell(_keep if "--keep" in sys.argv else None) else 1)
    sys.exit(130)


if __name__ == "__main__":
    main()
