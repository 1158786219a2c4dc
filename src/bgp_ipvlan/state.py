"""What must survive us, in SQLite (D6): networks, endpoints, pools of addresses, small facts.

A change is committed before it is visible in memory, and before any handler answers. The
connection lives on a thread of its own, so that the loop never waits for a disk (D7).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pathlib
import sqlite3
import types
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from bgp_ipvlan import errors, model, records

VERSION = 2
"""Schema version (PRAGMA user_version): 2 added pools and leases, and changed nothing of 1."""
FILE = "state.db"
_FILES = (FILE, FILE + "-wal", FILE + "-shm", FILE + "-journal")

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS network (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoint (
    id TEXT PRIMARY KEY, network_id TEXT NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pool (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (
    pool_id TEXT NOT NULL, address TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (pool_id, address)
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
        self._pools: dict[str, model.Pool] = {}
        self._leases: dict[str, dict[model.Address, model.Lease]] = {}
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

    @property
    def pools(self) -> Mapping[str, model.Pool]:
        """Pools by id."""
        return types.MappingProxyType(self._pools)

    def leases_of(self, pool_id: str) -> Mapping[model.Address, model.Lease]:
        """The addresses of a pool that are not simply free."""
        return types.MappingProxyType(self._leases.get(pool_id, {}))

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
            ("REPLACE INTO network VALUES (?, ?)", (network.id, records.encode(network))),
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
                (endpoint.id, endpoint.network_id, records.encode(endpoint)),
            ),
        )

    async def remove_endpoint(self, endpoint_id: str) -> None:
        """Forget an endpoint; an unknown id is fine."""
        await self._commit(
            lambda: self._forget_endpoint(endpoint_id),
            ("DELETE FROM endpoint WHERE id = ?", (endpoint_id,)),
        )

    async def put_pool(self, pool: model.Pool, *, instead_of: Collection[str] = ()) -> None:
        """Store a pool, without any lease, and forget those whose place it takes."""

        def remember() -> None:
            for pool_id in (*instead_of, pool.id):
                self._forget_pool(pool_id)
            self._pools[pool.id] = pool

        gone = [
            statement for pool_id in (*instead_of, pool.id) for statement in _pool_deleted(pool_id)
        ]
        await self._commit(remember, *gone, _pool_put(pool))

    async def remove_pool(self, pool_id: str) -> None:
        """Forget a pool with its leases; an unknown id is fine."""
        await self._commit(lambda: self._forget_pool(pool_id), *_pool_deleted(pool_id))

    async def put_lease(
        self, pool: model.Pool, lease: model.Lease, *, without: Collection[model.Address] = ()
    ) -> None:
        """Store what an address of a pool is now, with the pool itself.

        Args:
            pool: as it is from now on.
            lease: of one of its addresses.
            without: addresses whose leases are forgotten.
        """

        def remember() -> None:
            self._pools[pool.id] = pool
            leases = self._leases.setdefault(pool.id, {})
            leases[lease.address] = lease
            for address in without:
                leases.pop(address, None)

        await self._commit(
            remember,
            _pool_put(pool),
            (
                "REPLACE INTO lease VALUES (?, ?, ?)",
                (pool.id, str(lease.address), records.encode(lease)),
            ),
            *(
                ("DELETE FROM lease WHERE pool_id = ? AND address = ?", (pool.id, str(address)))
                for address in without
            ),
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

    def _forget_pool(self, pool_id: str) -> None:
        self._pools.pop(pool_id, None)
        self._leases.pop(pool_id, None)

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
            network = records.network(record)
            self._networks[network.id] = network
        for (record,) in self._connection.execute("SELECT record FROM endpoint"):
            self._remember(records.endpoint(record))
        for (record,) in self._connection.execute("SELECT record FROM pool"):
            pool = records.pool(record)
            self._pools[pool.id] = pool
        for pool_id, record in self._connection.execute("SELECT pool_id, record FROM lease"):
            lease = records.lease(record)
            self._leases.setdefault(pool_id, {})[lease.address] = lease
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
    except (sqlite3.DatabaseError, *records.UNREADABLE) as error:
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


def _pool_put(pool: model.Pool) -> _Statement:
    return "REPLACE INTO pool VALUES (?, ?)", (pool.id, records.encode(pool))


def _pool_deleted(pool_id: str) -> tuple[_Statement, ...]:
    return (
        ("DELETE FROM lease WHERE pool_id = ?", (pool_id,)),
        ("DELETE FROM pool WHERE id = ?", (pool_id,)),
    )
