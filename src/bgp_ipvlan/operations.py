"""What an operator can have done while the daemon runs: neighbours, a reload, a drain.

A change of neighbours lives until the daemon ends or the next reload, when flags, environment
and file are what counts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from bgp_ipvlan import config, drain, errors, model, ports
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

Json = dict[str, Any]
_Key = model.Address | model.Prefix
_FIXED = {
    "router_id": "--router-id",
    "listen_addresses": "--listen",
    "listen_port": "--listen-port",
    "maximum_paths": "--maximum-paths",
    "restart_time": "--restart-time",
    "accept": "--accept",
    "host_interface": "--host-interface",
    "mode": "--mode",
    "ipvlan_subnets": "--ipvlan-subnet",
    "gateway": "--gateway",
    "mtu": "--mtu",
    "table": "--table",
    "max_routes": "--max-routes",
    "plugin_socket": "--socket",
    "debug": "--debug",
    "engine": "--engine",
    "gobgp_api": "--gobgp-api",
    "gobgp_spawn": "--gobgp-spawn",
    "gobgp_command": "--gobgp-command",
}
"""What holds until the daemon is started again, and how the user knows it."""


class Operations:
    """See the module.

    Args:
        flags: as the daemon was started with; a reload looks at them again.
        settings: what came of them, with the router id in use.
        state: for the drain.
        engine: whose neighbours they are.
    """

    def __init__(
        self,
        flags: config.Flags,
        settings: config.Settings,
        *,
        state: state_.State,
        engine: ports.Engine,
    ) -> None:
        self._flags = flags
        self._engine = engine
        self._reloading = asyncio.Lock()
        self._hang_up: asyncio.Task[None] | None = None
        self.settings = settings
        """As they are in force."""
        self.neighbors: Mapping[model.Address, model.NeighborConfig] = {
            one.address: one for one in settings.neighbors
        }
        """As configured now; those from a range are not among them."""
        self.drain = drain.Drain(state, engine)

    # --- reload -------------------------------------------------------------------------

    async def reload(self) -> Json:
        """Read the file again, and files of passwords; change what can be changed.

        Returns:
            `added`, `changed` and `removed` neighbours and ranges, `needs_restart` and
            `warnings`: lists of text; and `file`.

        Raises:
            errors.ConfigError: something in it is wrong; then nothing has changed.
            errors.Refused: `needs-restart`, likewise.
            errors.EngineError: as `ports.Engine.configure`, likewise.
        """
        try:
            return await self._reload()
        except errors.Error as error:
            # Whoever asked is told as well, if anybody did.
            log.error("not reloaded, all is as before reason=%s error=%s", error.reason, error)
            raise

    async def _reload(self) -> Json:
        async with self._reloading:
            fresh = await asyncio.to_thread(config.load, self._flags)
            old = self.settings
            if fresh.local_as != old.local_as:
                raise errors.Refused(
                    "needs-restart",
                    f"the AS number cannot change from {old.local_as} to {fresh.local_as} while "
                    f"the daemon runs: systemctl restart bgp-ipvlan",
                )
            _check_engine(old, fresh)
            waiting = _waiting(old, fresh)
            before = self._all()
            self._configure(fresh.neighbors, fresh.dynamic)
            fixed = {field: getattr(old, field) for field in (*_FIXED, "gobgp")}
            self.settings = dataclasses.replace(fresh, **fixed)
            found = _differences(before, self._all())
        _log(found, waiting, fresh.warnings)
        return {
            "file": str(fresh.config_file or ""),
            **found,
            "needs_restart": waiting,
            "warnings": list(fresh.warnings),
        }

    def hang_up(self) -> None:
        """SIGHUP: a reload, with nobody to tell but the log."""
        # Kept, or it may be collected before it is done.
        self._hang_up = asyncio.create_task(self._reload_quietly(), name="reload")

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(errors.Error):  # in the log already
            await self.reload()

    async def close(self) -> None:
        """Begin nothing more."""
        if self._hang_up is not None:
            self._hang_up.cancel()
        await self.drain.close()

    # --- neighbours -----------------------------------------------------------------------

    def add(self, text: str) -> model.NeighborConfig:
        """A new neighbour, said as `--neighbor` is.

        Raises:
            errors.ConfigError: as `config.parse`; `no-as`, `no-router-id`.
            errors.Refused: `neighbor-exists`.
            errors.EngineError: as `ports.Engine.configure`.
        """
        draft = config.parse(text, "neighbor add")
        self._can_speak()
        if draft.address in self.neighbors:
            raise errors.Refused(
                "neighbor-exists",
                f"there is a neighbor {draft.address}: change it with `neighbor set`",
            )
        one = draft.complete(self.settings.local_as, self.settings.import_rules)
        self._put(one, draft)
        log.info("neighbor added neighbor=%s as=%d", one.address, one.remote_as)
        return one

    def set(self, text: str) -> model.NeighborConfig:
        """Other values for a neighbour; what is not said stays. Raises as `add` and `remove`."""
        draft = config.parse(text, "neighbor set")
        old = self._known(draft.address)
        one = draft.change(old, self.settings.local_as)
        self._put(one, draft)
        log.info("neighbor changed neighbor=%s", one.address)
        return one

    def remove(self, text: str) -> model.Address:
        """Have a neighbour no longer.

        Raises:
            errors.Refused: `unknown-neighbor`.
        """
        address = _address(text)
        self._known(address)
        self._configure(
            [one for one in self.neighbors.values() if one.address != address],
            self.settings.dynamic,
        )
        log.info("neighbor removed neighbor=%s", address)
        return address

    def reset(self, text: str, *, soft: bool, message: str) -> model.Address:
        """End a session, which comes again, or ask for its routes; see `ports.Engine.reset`."""
        address = _address(text)
        self._engine.reset(address, soft=soft, message=drain.check_message(message))
        log.info("neighbor reset neighbor=%s soft=%s", address, soft)
        return address

    def _put(self, one: model.NeighborConfig, draft: config.Draft) -> None:
        config.check_reachable(self.settings, [one])
        self._configure({**self.neighbors, one.address: one}.values(), self.settings.dynamic)
        for warning in draft.warnings:
            log.warning("%s", warning)

    def _configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: tuple[model.DynamicNeighbors, ...],
    ) -> None:
        wanted = {one.address: one for one in neighbors}
        self._engine.configure(wanted.values(), dynamic)
        self.neighbors = wanted

    def _known(self, address: model.Address) -> model.NeighborConfig:
        if address in self.neighbors:
            return self.neighbors[address]
        for found in self.settings.dynamic:
            if address in found.prefix:
                raise errors.Refused(
                    "unknown-neighbor",
                    f"{address} is no neighbor of its own but one of the range {found.prefix}: "
                    f"change the range, or `neighbor add` it",
                )
        raise errors.Refused(
            "unknown-neighbor", f"there is no neighbor {address}: see `bgp-ipvlan neighbors`"
        )

    def _can_speak(self) -> None:
        if self.settings.engine is model.EngineKind.KERNEL:
            return  # the engine says where neighbours belong
        if not self.settings.local_as:
            raise errors.ConfigError(
                "no-as", "the daemon has no AS number: start it again with --as"
            )
        if self.settings.router_id is None:
            raise errors.ConfigError(
                "no-router-id",
                "this host has no IPv4 address to use as BGP identifier: start the daemon again "
                "with --router-id",
            )

    def _all(self) -> dict[_Key, object]:
        found: dict[_Key, object] = dict(self.neighbors.items())
        return found | {one.prefix: one for one in self.settings.dynamic}


def _address(text: str) -> model.Address:
    return config.parse(text, "neighbor").address


def _check_engine(old: config.Settings, fresh: config.Settings) -> None:
    """Refuse neighbours that are meant for another engine: they may be none, or not ours to have.

    Raises:
        errors.Refused: `needs-restart`.
    """
    if fresh.engine is not old.engine or fresh.gobgp_spawn != old.gobgp_spawn:
        one, other = (
            f"{s.engine.value}{' with a gobgpd of its own' * s.gobgp_spawn}" for s in (old, fresh)
        )
        raise errors.Refused(
            "needs-restart",
            f"the engine cannot change from {one} to {other} while the daemon runs: "
            f"systemctl restart bgp-ipvlan",
        )


def _waiting(old: config.Settings, fresh: config.Settings) -> list[str]:
    """What counts from the next start on, in words."""
    found = [
        f"{flag} {_text(getattr(old, field))} → {_text(value)}"
        for field, flag in _FIXED.items()
        if (value := getattr(fresh, field)) != getattr(old, field)
        and not (field == "router_id" and value is None)
    ]
    spawned = all(one.engine is model.EngineKind.GOBGP and one.gobgp_spawn for one in (old, fresh))
    # Passwords may be among them, so no value is shown.
    if spawned and config.gobgp_differs(old, fresh):
        found.append(f"gobgpd's own settings in {fresh.config_file}")
    return found


def _differences(old: dict[_Key, object], new: dict[_Key, object]) -> dict[str, list[str]]:
    return {
        "added": [str(key) for key in new if key not in old],
        "changed": [str(key) for key, one in new.items() if key in old and old[key] != one],
        "removed": [str(key) for key in old if key not in new],
    }


def _log(found: dict[str, list[str]], waiting: list[str], warnings: Iterable[str]) -> None:
    for text in waiting:
        log.warning("reload: needs a restart: %s reason=needs-restart", text)
    for text in warnings:
        log.warning("%s", text)
    log.info("reloaded %s", " ".join(f"{word}={len(keys)}" for word, keys in found.items()))


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
