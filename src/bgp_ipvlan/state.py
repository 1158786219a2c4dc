"""What must survive us: networks, endpoints and a few small facts, in SQLite (D6).

A change is committed before it is visible in memory, and before any handler answers. The
connection lives on a thread of its own, so that the loop never waits for a disk (D7).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import ipaddress
import pathlib
import sqlite3
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from bgp_ipvlan import errors, model

VERSION = 1
"""Schema version (PRAGMA user_version)."""
FILE = "state.db"
_FILES = (FILE, FILE + "-wal", FILE + "-shm", FILE + "-journal")

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS network (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoint (
    id TEXT PRIMARY KEY, network_id TEXT NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""

_T = TypeVar("_T")
_Statement = tuple[str, tuple[object, ...]]


class State:
    """The state of this host. Make it with `open`."""

    def __init__(
        self, connection: sqlite3.Connection, thread: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._networks: dict[str, model.Network] = {}
        self._endpoints: dict[str, model.Endpoint] = {}
        self._of_network: dict[str, dict[str, model.Endpoint]] = {}
        self._meta: dict[str, str] = {}

    @staticmethod
    async def open(directory: pathlib.Path) -> State:
        """Open the state file in a directory, making both where they are missing.

        Raises:
            errors.StateError: `state-corrupt`, `state-version`, `state-unwritable`.
        """
        thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="state")
        try:
            return await _on(thread, lambda: _open(directory, thread))
        except BaseException:
            thread.shutdown()
            raise

    @property
    def networks(self) -> Mapping[str, model.Network]:
        """Networks by id."""
        return types.MappingProxyType(self._networks)

    @property
    def endpoints(self) -> Mapping[str, model.Endpoint]:
        """Endpoints by id."""
        return types.MappingProxyType(self._endpoints)

    def endpoints_of(self, network_id: str) -> tuple[model.Endpoint, ...]:
        """The endpoints of one network."""
        return tuple(self._of_network.get(network_id, {}).values())

    def meta(self, name: str) -> str | None:
        """A small fact, such as the id of the boot we last ran on."""
        return self._meta.get(name)

    async def put_network(self, network: model.Network) -> None:
        """Store or replace a network.

        Raises:
            errors.StateError: `state-unwritable`; then nothing changed. As for all below.
        """
        await self._commit(
            lambda: self._networks.update({network.id: network}),
            ("REPLACE INTO network VALUES (?, ?)", (network.id, _encode(network))),
        )

    async def remove_network(self, network_id: str) -> None:
        """Forget a network with its endpoints; unknown ids are fine."""
        await self._commit(
            lambda: self._forget_network(network_id),
            ("DELETE FROM endpoint WHERE network_id = ?", (network_id,)),
            ("DELETE FROM network WHERE id = ?", (network_id,)),
        )

    async def put_endpoint(self, endpoint: model.Endpoint) -> None:
        """Store or replace an endpoint."""
        await self._commit(
            lambda: self._remember(endpoint),
            (
                "REPLACE INTO endpoint VALUES (?, ?, ?)",
                (endpoint.id, endpoint.network_id, _encode(endpoint)),
            ),
        )

    async def remove_endpoint(self, endpoint_id: str) -> None:
        """Forget an endpoint; an unknown id is fine."""
        await self._commit(
            lambda: self._forget_endpoint(endpoint_id),
            ("DELETE FROM endpoint WHERE id = ?", (endpoint_id,)),
        )

    async def set_meta(self, name: str, value: str) -> None:
        """Store a small fact."""
        await self._commit(
            lambda: self._meta.update({name: value}),
            ("REPLACE INTO meta VALUES (?, ?)", (name, value)),
        )

    async def close(self) -> None:
        """Close the file. What was acknowledged is on disk already."""
        await _on(self._thread, self._connection.close)
        self._thread.shutdown()

    def _remember(self, endpoint: model.Endpoint) -> None:
        self._endpoints[endpoint.id] = endpoint
        self._of_network.setdefault(endpoint.network_id, {})[endpoint.id] = endpoint

    def _forget_endpoint(self, endpoint_id: str) -> None:
        endpoint = self._endpoints.pop(endpoint_id, None)
        if endpoint is not None:
            self._of_network[endpoint.network_id].pop(endpoint_id, None)

    def _forget_network(self, network_id: str) -> None:
        self._networks.pop(network_id, None)
        for endpoint_id in self._of_network.pop(network_id, {}):
            del self._endpoints[endpoint_id]

    async def _commit(self, remember: Callable[[], None], *statements: _Statement) -> None:
        """One transaction: all of it is on disk afterwards, and in memory, or nothing."""

        async def both() -> None:
            await _on(self._thread, lambda: self._execute(statements))
            remember()

        # Shielded: a handler that is cancelled must not leave memory and disk apart.
        await asyncio.shield(both())

    def _execute(self, statements: tuple[_Statement, ...]) -> None:
        try:
            with self._connection:
                for sql, values in statements:
                    self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise errors.StateError(
                "state-unwritable",
                f"cannot write the state file: {error}: make room on its disk and mount it "
                f"read-write",
            ) from error

    def _load(self) -> None:
        for (record,) in self._connection.execute("SELECT record FROM network"):
            network = _network(record)
            self._networks[network.id] = network
        for (record,) in self._connection.execute("SELECT record FROM endpoint"):
            self._remember(_endpoint(record))
        self._meta.update(self._connection.execute("SELECT name, value FROM meta"))


def remove(directory: pathlib.Path) -> int:
    """Delete the state file and, when nothing else is in it, its directory.

    Returns:
        How many files were deleted.
    """
    count = 0
    for name in _FILES:
        path = directory / name
        if path.exists():
            path.unlink()
            count += 1
    with contextlib.suppress(OSError):
        directory.rmdir()
    return count


async def _on(thread: concurrent.futures.Executor, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _open(directory: pathlib.Path, thread: concurrent.futures.ThreadPoolExecutor) -> State:
    path = directory / FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False)
        path.chmod(0o600)
    except (OSError, sqlite3.Error) as error:
        raise errors.StateError(
            "state-unwritable",
            f"cannot open {path}: {error}: give a writable directory with --state-dir",
        ) from error
    try:
        _prepare(connection, path)
        state = State(connection, thread)
        state._load()  # noqa: SLF001 - the other half of the constructor
    except (
        sqlite3.DatabaseError,
        msgspec.MsgspecError,
        errors.BadRequest,
        ValueError,
        TypeError,
        LookupError,
    ) as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise errors.StateError(
                "state-unwritable",
                f"cannot use {path}: {error}: another process holds it, or its disk is full or "
                f"read-only",
            ) from error
        raise errors.StateError(
            "state-corrupt",
            f"the state file {path} is damaged ({error}): stop containers on bgp-ipvlan networks, "
            f"move the file away, start again, and remove and create these networks anew",
        ) from error
    except errors.StateError:
        connection.close()
        raise
    return state


def _prepare(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    # A rollback journal (SQLite's default) with FULL: one file at rest, every commit synced.
    # A WAL would be quicker for readers beside a writer, and we have none.
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    result = connection.execute("PRAGMA quick_check").fetchone()[0]
    if result != "ok":
        raise sqlite3.DatabaseError(result)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise errors.StateError(
            "state-version",
            f"{path} was written by a newer version (schema {version}, this one knows "
            f"{VERSION}): upgrade bgp-ipvlan again, or move the file away",
        )
    with connection:
        connection.executescript(_SCHEMA)


def _encode(record: model.Network | model.Endpoint) -> bytes:
    return msgspec.json.encode(record, enc_hook=str)


def _network(record: bytes) -> model.Network:
    """Read a stored network.

    Missing keys take the defaults and unknown ones are ignored: the file of a neighbouring
    version loads.
    """
    fields = _known(msgspec.json.decode(record, type=dict[str, Any]), model.Network)
    fields["subnets"] = tuple(
        model.Subnet(
            ipaddress.ip_network(one["prefix"]),
            None if one["gateway"] is None else ipaddress.ip_address(one["gateway"]),
        )
        for one in fields["subnets"]
    )
    for name, kind in (
        ("mode", model.Mode),
        ("flag", model.Flag),
        ("advertise", model.Advertise),
    ):
        if name in fields:
            fields[name] = kind(fields[name])
    if "bgp" in fields:
        fields["bgp"] = _bgp_options(msgspec.convert(fields["bgp"], dict[str, Any]))
    return model.Network(**fields)


def _bgp_options(found: dict[str, Any]) -> model.BgpOptions:
    fields = _known(found, model.BgpOptions)
    for name, read in (
        ("communities", int),
        ("large_communities", _large_community),
        ("next_hops", ipaddress.ip_address),
    ):
        if name in fields:
            fields[name] = tuple(map(read, fields[name]))
    if "start_gate" in fields:
        fields["start_gate"] = model.StartGate(fields["start_gate"])
    return model.BgpOptions(**fields)


def _large_community(found: list[int]) -> tuple[int, int, int]:
    first, second, third = map(int, found)
    return first, second, third


def _endpoint(record: bytes) -> model.Endpoint:
    fields = _known(msgspec.json.decode(record, type=dict[str, Any]), model.Endpoint)
    fields["addresses"] = tuple(map(ipaddress.ip_interface, fields["addresses"]))
    fields["ports"] = tuple(model.Port(**one) for one in fields.get("ports", ()))
    fields["driver_options"] = tuple((k, v) for k, v in fields.get("driver_options", ()))
    return model.Endpoint(**fields)


def _known(found: dict[str, Any], kind: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {key: value for key, value in found.items() if key in names}
