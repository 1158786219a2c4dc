"""The daemon's process, which never saw the command line.

typer, pydantic and rich are 10 MB that a daemon would carry for as long as it runs, and what
Python has imported it does not give back. So `bgp-ipvlan run` reads the flags and becomes a
fresh interpreter: by exec, hence with the same process id, descriptors and environment, as
systemd wants it. The flags go along in an anonymous file, since passwords may be among them.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys
from typing import Any, NoReturn

import msgspec

from bgp_ipvlan import config, errors

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
"""Fixed (mallopt(3)). Left alone it rises with each large block that is freed, and what an audit or a
neighbour's table took is kept: with 100,000 routes 79 MB, not 56. With glibc's own 128 kB the
buffers of each send are mapped anew, and a table takes 7 % longer."""


def become(flags: config.Flags) -> NoReturn:
    """Turn this process into the daemon.

    Raises:
        errors.ConfigError: the flags, or the files they name, are wrong; nothing was done.
    """
    config.load(flags)
    handed = os.memfd_create("flags", 0)
    with os.fdopen(handed, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(flags, enc_hook=str))
    os.lseek(handed, 0, os.SEEK_SET)
    # -P: the working directory is no place for modules of root's. The command's own words come
    # last and are for those who read the list of processes.
    python = (sys.executable, "-P", "-m", __name__)
    words = (*python, str(handed), *sys.argv)
    os.execve(sys.executable, words, {**_ALLOCATOR, **os.environ})  # noqa: S606 (no shell is meant)


def main() -> None:
    """The other half of `become`."""
    from bgp_ipvlan import app

    with os.fdopen(int(sys.argv[1]), "rb") as handed:
        flags = msgspec.json.decode(handed.read(), type=config.Flags, dec_hook=_path)
    # Else it would go by "python3" in top, killall and the journal (proc(5)).
    pathlib.Path("/proc/self/comm").write_text("bgp-ipvlan")
    try:
        asyncio.run(app.run(flags))
    except errors.Error as error:
        sys.exit(f"bgp-ipvlan: {error} [{error.reason}]")


def _path(kind: type, value: Any) -> Any:
    return kind(value)


if __name__ == "__main__":
    main()
