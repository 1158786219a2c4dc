"""Everything this package raises on purpose.

    Error                     has a `reason` code and one line for the user
    ├── BadRequest            the caller asked for something that cannot be: HTTP 400
    ├── Refused               valid, but against the state of the world: HTTP 409
    ├── ConfigError           flags, environment, file: the daemon does not start
    ├── KernelError           netlink said no
    ├── StateError            the state file cannot be used
    └── EngineError           the BGP engine cannot do its work (port in use, …)

A reason is short, stable, lower case with hyphens; log, status and metrics
share it (D10), and docs/operations.md lists each one with its remedy.
"""

from __future__ import annotations


class Error(Exception):
    """Base of the tree: `reason` is for programs, `str()` of it for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadRequest(Error):
    """The request itself is wrong."""


class Refused(Error):
    """The request is well-formed but would break something that is there."""


class ConfigError(Error):
    """The daemon was told something it cannot do."""


class KernelError(Error):
    """The kernel refused. `errno` is its number, 0 if there was none."""

    def __init__(self, reason: str, message: str, errno: int = 0) -> None:
        super().__init__(reason, message)
        self.errno = errno


class StateError(Error):
    """The state file is damaged, of another version, or not writable."""


class EngineError(Error):
    """The BGP engine cannot start or go on."""
