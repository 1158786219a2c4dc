"""A kernel with ipvlan for machines that have none: User-mode Linux on the machine's own tree.

The guest sees the machine's files read-only, with a tmpfs wherever something is
written, so that the repository and its .venv run in it as they are. A folder
under the temporary directory carries results out. One CPU, plain computing at
native speed, system calls slow (kernel sheet, section 2).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from lab import namespace, process

REPOSITORY = Path(__file__).resolve().parent.parent
GUEST_VARIABLE = "BGP_IPVLAN_GUEST"
"""Set inside the guest."""

_PREFIX = "bgp-ipvlan-uml-"
_KERNEL = "/usr/bin/linux.uml"
_MODULES = (
    *("ipv6", "ipvlan", "dummy", "veth", "bridge", "8021q", "vxlan", "vrf", "macvlan", "overlay"),
)
_WRITABLE = ("/run", "/tmp", "/var/tmp", "/var/log", "/root")


def inside() -> bool:
    """Whether this process runs in the guest."""
    return os.environ.get(GUEST_VARIABLE) == "1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to boot."""

    memory: str = "2G"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    show: tuple[Path, ...] = ()
    """More places that the command reads; needed only where they lie below a writable one."""
    consoles: int = 0
    """Further consoles: /dev/tty1 and on in the guest, pseudo-terminals here (`Guest.consoles`)."""
    interactive: bool = False
    """Give the guest our terminal. Output then goes there and not to `on_line`."""


class Guest:
    """A guest that runs one command and ends. Use as a context manager.

    Args:
        argv: the command, run in the repository's folder.
        spec: what to boot.
        on_line: called from a thread with each line the command prints.

    `exchange` is a folder that the guest sees, writable, as /mnt/exchange.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        spec: Spec,
        *,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        namespace.sweep(_PREFIX)
        self.exchange = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = namespace.own(self.exchange)
        self._argv = [str(word) for word in argv]
        self._spec = spec
        self.on_line = on_line
        self._mark = "lab-guest-" + secrets.token_hex(8)
        self._console: list[str] = []
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._terminal: list[object] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Boot."""
        (self.exchange / "command").write_text(f"exec {shlex.join(self._argv)}\n")
        (self.exchange / "boot.env").write_text(self._boot_environment())
        interactive = self._spec.interactive
        if interactive and sys.stdin.isatty():
            # UML makes the terminal raw and does not always undo it.
            self._terminal = termios.tcgetattr(sys.stdin)
        self._child = subprocess.Popen(
            self._command_line(),
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=None if interactive else subprocess.PIPE,
            stderr=None if interactive else subprocess.STDOUT,
            text=True,
            errors="replace",
            env=process.environment(),
            start_new_session=not interactive,
        )
        if not interactive:
            self._reader = threading.Thread(target=self._read, name="uml console", daemon=True)
            self._reader.start()

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the command's end; returns its exit status.

        Raises:
            namespace.LabError: the guest ended without a status, or not in `timeout` seconds.
        """
        assert self._child is not None, "not started"
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.close()
            raise namespace.LabError(
                f"the User-mode Linux guest did not end within {timeout:.0f} s\n{self.tail()}"
            ) from None
        if self._reader is not None:
            self._reader.join(timeout=10)
        status = self.exchange / "status"
        if not status.exists():
            raise namespace.LabError(f"the User-mode Linux guest died\n{self.tail()}")
        return int(status.read_text())

    @property
    def alive(self) -> bool:
        """Whether the guest runs."""
        return self._child is not None and self._child.poll() is None

    def tail(self, lines: int = 30) -> str:
        """The end of the console, boot messages included."""
        return "\n".join(self._console[-lines:])

    def consoles(self) -> list[str]:
        """Paths of the pseudo-terminals that the guest has opened, in no useful order."""
        assert self._child is not None
        (kernel,) = process.children(self._child.pid)
        found = []
        for handle in Path(f"/proc/{kernel}/fd").iterdir():
            if handle.readlink().name == "ptmx":
                lines = Path(f"/proc/{kernel}/fdinfo/{handle.name}").read_text().splitlines()
                found += [line.split()[1] for line in lines if line.startswith("tty-index:")]
        return [f"/dev/pts/{number}" for number in found]

    def close(self) -> None:
        """End the guest if it still runs; take its folder away. Twice is fine."""
        if self._child is not None:
            # It is the `unshare`, with which the kernel ends all of the guest's processes.
            self._child.kill()
            self._child.wait()
            if self._reader is not None:
                self._reader.join(timeout=10)
            if self._child.stdout is not None:
                self._child.stdout.close()
        if self._terminal is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)  # type: ignore[arg-type]
            self._terminal = None
        self._lock.close()
        shutil.rmtree(self.exchange, ignore_errors=True)

    def _command_line(self) -> list[str]:
        # A pid namespace because UML makes a host process per guest process, which would stay
        # behind if only the first were killed; pdeathsig ends it all if we are killed.
        return [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
            *self._for_amx(),
            *(_KERNEL, f"mem={self._spec.memory}", "quiet", "loglevel=1"),
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
            *("con=null", "con0=fd:0,fd:1", "ssl=null"),
            *(f"con{number}=pts" for number in range(1, self._spec.consoles + 1)),
            *(f"uml_dir={self.exchange}/", "umid=uml"),
            *(f"init={REPOSITORY}/lab/guest/init", f"LAB_EXCHANGE={self.exchange}"),
        ]

    def _for_amx(self) -> list[str]:
        """What lets UML run on a processor with AMX; see lab/guest/xstate.c."""
        if "amx_tile" not in Path("/proc/cpuinfo").read_text():
            return []
        library = self.exchange / "xstate.so"
        source = REPOSITORY / "lab/guest/xstate.c"
        try:
            process.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)])
        except (process.CommandError, FileNotFoundError) as error:
            raise namespace.LabError(
                f"User-mode Linux needs gcc and libc6-dev on this processor: {error}"
            ) from None
        return ["env", f"LD_PRELOAD={library}"]

    def _boot_environment(self) -> str:
        spec = self._spec
        places = [REPOSITORY, *spec.show]
        hidden = [p for p in places if any(p.is_relative_to(w) for w in _WRITABLE)]
        exported = {
            **{key: os.environ[key] for key in ("CI", "TERM", "COLUMNS") if key in os.environ},
            "PYTHONDONTWRITEBYTECODE": "1",
            GUEST_VARIABLE: "1",
            **spec.environment,
        }
        return "\n".join(
            [
                f"MARK={self._mark}",
                f"NAME=ipvlan-lab\nDIRECTORY={shlex.quote(str(REPOSITORY))}",
                f"INTERACTIVE={'yes' if spec.interactive else ''}",
                f"HIDDEN=({shlex.join(map(str, hidden))})",
                f"MODULES=({shlex.join(_MODULES)})",
                *(f"export {key}={shlex.quote(value)}" for key, value in exported.items()),
                "",
            ]
        )

    def _read(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        shown = False
        with contextlib.suppress(ValueError):  # closed under us by close()
            for raw in self._child.stdout:
                line = raw.rstrip("\r\n")
                self._console.append(line)
                if line.startswith(self._mark):
                    shown = line.endswith("begin")
                    if not shown:
                        self._child.kill()
                elif shown and self.on_line is not None:
                    self.on_line(line)


def run(
    argv: Sequence[str | Path],
    spec: Spec,
    *,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Boot, run one command, end; returns the command's exit status.

    Raises:
        namespace.LabError: no guest, no status, or not within `timeout` seconds.
    """
    with Guest(argv, spec, on_line=on_line) as guest:
        return guest.wait(timeout=timeout)


def main() -> None:
    """`python -m lab.uml COMMAND…`: run a command in the guest, for a person."""
    argv = sys.argv[1:] or ["bash"]
    spec = Spec(interactive=sys.stdin.isatty())
    sys.exit(run(argv, spec, on_line=lambda line: print(line, flush=True)))


if __name__ == "__main__":
    main()
