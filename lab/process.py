"""Child processes: run one to its end, keep one going, end it by pid.

Knows processes only, nothing of hosts or networks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Debian's own tools; what somebody put into /usr/local (another docker, say) does not count."""


class CommandError(Exception):
    """A command failed; the message has its status and its output."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the lab's processes see: a fixed PATH and locale, nothing of ours but HOME and TERM."""
    kept = {key: os.environ[key] for key in ("HOME", "TERM") if key in os.environ}
    return {"PATH": PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **kept, **(extra or {})}


def run(
    argv: Sequence[str], *, check: bool = True, timeout: float = 60.0, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output.

    Raises:
        CommandError: it failed (unless `check` is false) or did not end in `timeout` seconds.
    """
    # A session of its own: on timeout whatever it started is ended with it.
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment(),
        start_new_session=True,
    ) as child:
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(child.pid)
            out, err = child.communicate()
            raise CommandError(f"did not end within {timeout:.0f} s\n{out}{err}") from None
        except BaseException:
            _kill_group(child.pid)
            raise
    if check and child.returncode:
        raise CommandError(f"failed with status {child.returncode}: {(err + out).strip()}")
    return subprocess.CompletedProcess(list(argv), child.returncode, out, err)


def children(pid: int) -> list[int]:
    """Pids of the direct children of a process."""
    # /proc/PID/task/*/children is not in every kernel.
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # The command's name may hold spaces and brackets: fields count from the last ")".
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def members(pid: int) -> list[int]:
    """Pids of all processes in the same pid namespace as `pid`."""
    namespace = Path(f"/proc/{pid}/ns/pid").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns/pid").readlink() == namespace:
                    found.append(int(entry.name))
    return found


def reap(child: subprocess.Popen[str], *, timeout: float = 10.0) -> int:
    """Wait for a child that was told to end; kill its group if it does not."""
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        _kill_group(child.pid)
        return child.wait(timeout)


class Process:
    """A running process with its output in a file.

    Args:
        argv: what to run.
        log: its stdout and stderr are appended here.
        env: added to the lab's environment.
        forks: argv is a wrapper (nsenter --pid) whose only child is the process meant; signals
            go to that one, because the wrapper does not pass them on.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        forks: bool = False,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._forks = forks
        self._inner = 0
        with log.open("ab") as output:
            self._child: subprocess.Popen[str] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(env),
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """Pid of the process meant, as this machine sees it."""
        if not self._forks:
            return self._child.pid
        while not self._inner and self._child.poll() is None:
            self._inner = next(iter(children(self._child.pid)), 0)
        return self._inner

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 15) -> str:
        """The last lines it has written, for an error message."""
        return "\n".join(self.output().splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self.alive and (pid := self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                if number is signal.SIGCONT:
                    # nsenter stops itself when its child is stopped.
                    os.kill(self._child.pid, number)

    def wait(self, *, timeout: float = 30.0) -> int:
        """Wait for its end; returns the exit status.

        Raises:
            CommandError: it still runs after `timeout` seconds.
        """
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CommandError(f"{self.argv} did not end within {timeout:.0f} s") from None

    def stop(self, *, timeout: float = 15.0) -> int:
        """SIGTERM, then SIGKILL if that does not help; returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout=timeout)
        except CommandError:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, as in a crash; returns when it is gone."""
        self.signal(signal.SIGKILL)
        # What the wrapper waits for is gone, so it ends by itself.
        return reap(self._child)


def _kill_group(pid: int) -> None:
    # Only groups that we made (start_new_session) come here, so pid is also the group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
