"""Pools and addresses, as Docker's IPAM asks for them (`--ipam-driver bgp-ipvlan`).

Docker never says whose an address is (protocol sheet, section 5): a pool and its gateway come
before their network, an address before its endpoint, and what Docker cannot tell us to release
it forgets. So what networks and endpoints of ours have is in use whatever the books say, and
what the books call given has a limit in time to get an owner. The books are on disk before the
answer. Docker's API is never called here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from bgp_ipvlan import errors, model, ownership, plan, ports
from bgp_ipvlan import state as state_
from bgp_ipvlan.docker import options, wire

log = logging.getLogger("bgp_ipvlan")

SPACE = "bgp-ipvlan"
"""The address space, local and global: being one, Docker need not look for overlaps with the
host's interfaces itself, which it would by asking again and again (sheet, section 5)."""
COMING = 60.0
"""Seconds that a pool may take to get its network, and an address its container."""
_SEARCH = 10.0
"""Seconds in which candidates for a subnet are compared with what neighbours announce."""
_RESTS = 1_024
"""Addresses of a pool whose return is remembered."""
_LENGTH = {4: "prefix-length", 6: "prefix-length6"}
"""The keys of `--ipam-opt`, by IP version."""
_TAKEN = {"connected-overlap", "own-overlap", "foreign-route", "announced-elsewhere"}
"""Reasons for which another subnet would do."""


class Core(Protocol):
    """What this needs of the rest."""

    async def check_create(self, network: model.Network, *, default_pool_accepted: bool) -> None:
        """Raise `errors.Refused` or `errors.BadRequest` if the network cannot be (D10)."""


class Driver:
    """IpamDriver, as Docker calls it.

    Args:
        state: pools, and the networks and endpoints that they are for.
        links: the host's links.
        core: what neighbours announce.
        defaults: the daemon's flags.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        state: state_.State,
        links: ports.Links,
        core: Core,
        *,
        defaults: options.Defaults,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._links = links
        self._core = core
        self._defaults = defaults
        self._clock = clock
        # Finding a subnet takes a while, in which containers want addresses of others.
        self._asking = asyncio.Lock()
        self._writing = asyncio.Lock()

    # --- pools --------------------------------------------------------------------

    async def request_pool(self, request: wire.RequestPool) -> wire.Json:
        """Give the subnet asked for, or one of `--ipvlan-subnet`.

        What is on the wires and what neighbours announce matters here only for the choice:
        CreateNetwork, which knows mode and options, refuses the rest.

        Raises:
            errors.BadRequest: `bad-subnet`, `unknown-option`, `bad-option`.
            errors.Refused: `no-pool`, `pool-in-use`, `own-overlap`.
        """
        prefix, within = wire.pool(request)
        lengths = _lengths(request.options)
        async with self._asking:
            if prefix is None:
                prefix = await self._find(6 if request.v6 else 4, lengths)
            else:
                self._check_own(prefix)
            if within is not None and not _inside(within, prefix):
                raise errors.BadRequest(
                    "bad-subnet",
                    f"--ip-range {within} is not inside subnet {prefix}: give a part of it",
                )
            pool = model.Pool(
                id=f"{SPACE}/{prefix}#{secrets.token_hex(4)}",
                prefix=prefix,
                range=within or prefix,
                since=self._clock(),
            )
            # Still there, but nobody's: see _pools.
            old = [p.id for p in self._state.pools.values() if _overlap(p.prefix, prefix)]
            async with self._writing:
                await self._state.put_pool(pool, instead_of=old)
        log.info("pool given pool=%s range=%s", pool.prefix, pool.range)
        return {"PoolID": pool.id, "Pool": str(pool.prefix), "Data": {}}

    async def release_pool(self, request: wire.PoolRef) -> wire.Json:
        """Forget it and all its addresses. Unknown ones are done already.

        So is one whose subnet has been given anew since: the id is another.
        """
        async with self._writing:
            if request.pool_id in self._state.pools:
                await self._state.remove_pool(request.pool_id)
                log.info("pool released pool=%s", request.pool_id)
        return {}

    def _check_own(self, prefix: model.Prefix) -> None:
        plan.create.check_local(_network(prefix), (), self._state.networks.values(), {})
        for pool in self._pools():
            if _overlap(pool.prefix, prefix):
                raise errors.Refused(
                    "pool-in-use",
                    f"subnet {prefix} overlaps {pool.prefix}, which another network is getting at "
                    f"this moment: choose another subnet, or try again in a minute",
                )

    def _pools(self) -> Iterator[model.Pool]:
        """The pools that have a network, or may still get it.

        One without was left by a create that Docker did not finish, or `bgp-ipvlan forget`.
        """
        for pool in self._state.pools.values():
            if self._claimed(pool) or self._lately(pool.since):
                yield pool

    def _lately(self, then: float) -> bool:
        """Less than `COMING` ago. What is in the future is not: the clock was put back."""
        return 0 <= self._clock() - then < COMING

    def _claimed(self, pool: model.Pool) -> bool:
        return any(
            subnet.prefix == pool.prefix
            for network in self._state.networks.values()
            for subnet in network.subnets
        )

    async def _find(self, version: int, lengths: Mapping[int, int]) -> model.Prefix:
        """A free part of `--ipvlan-subnet`, or all of it."""
        within = self._defaults.ipvlan_subnet(version)
        if within is None:
            raise errors.Refused(
                "no-pool",
                f"no IPv{version} subnet was given: give --subnet, or start the daemon with an "
                f"IPv{version} --ipvlan-subnet to take it from",
            )
        length = lengths.get(version, plan.pools.share(within))
        if not within.prefixlen <= length <= within.max_prefixlen:
            raise errors.BadRequest(
                "bad-option",
                f"--ipam-opt {_LENGTH[version]}={length} is not possible: use {within.prefixlen} "
                f"to {within.max_prefixlen}, since --ipvlan-subnet is {within}",
            )
        taken = await self._taken_prefixes()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SEARCH):
                for prefix in plan.pools.subnets(within, length, taken):
                    # The whole is what the administrator means, come what may: the create tells.
                    if prefix == within or not await self._elsewhere(prefix):
                        return prefix
        inside = [(p, who) for p, who in taken.items() if _overlap(p, within)]
        users = "; ".join(f"{p} {who}" for p, who in inside[:3]) or "other hosts announce them"
        raise errors.Refused(
            "pool-in-use",
            f"--ipvlan-subnet {within} of this host has no free /{length} ({users}): give another "
            f"subnet with --subnet, a longer --ipam-opt {_LENGTH[version]}, or the daemon a wider "
            f"--ipvlan-subnet",
        )

    async def _taken_prefixes(self) -> dict[model.Prefix, str]:
        """What the choice leaves out, with the words that say why."""
        links = await self._links.read()
        ours = [link.name for link in links if ownership.link_is_ours(link)]
        taken = dict.fromkeys(plan.learned.connected(links, ours), "is connected to this host")
        taken |= {pool.prefix: "is being given to a network" for pool in self._pools()}
        for network in self._state.networks.values():
            for subnet in network.subnets:
                taken[subnet.prefix] = f"is network {network.short}'s"
        return taken

    async def _elsewhere(self, prefix: model.Prefix) -> bool:
        """Whether a create with that subnet would be refused for its sake."""
        if self._defaults.parent is None:
            return False
        network = dataclasses.replace(
            _network(prefix), parent=self._defaults.parent, advertise=model.Advertise.SUBNET
        )
        try:
            await self._core.check_create(network, default_pool_accepted=True)
        except errors.Error as error:
            return error.reason in _TAKEN
        return False

    # --- addresses ----------------------------------------------------------------

    async def request_address(self, request: wire.AddressRef) -> wire.Json:
        """Give the address asked for, or one that is free.

        Raises:
            errors.BadRequest: `bad-address`.
            errors.Refused: `unknown-pool`, `pool-exhausted`, `address-in-use`,
                `address-reserved`.
        """
        wanted = wire.address(request.address)
        async with self._writing:
            pool = self._known(request.pool_id)
            if wanted is None and request.for_gateway:
                wanted = self._gateway(pool)
            if wanted is None:
                wanted = await self._choose(pool)
                pool = dataclasses.replace(pool, last=wanted)
            else:
                await self._check(pool, wanted)
            # Docker asks for gateway and --aux-address before it makes the network.
            holding = model.Holding.HELD if self._claimed(pool) else model.Holding.RESERVED
            await self._state.put_lease(pool, model.Lease(wanted, holding, self._clock()))
        log.debug("address given address=%s pool=%s as=%s", wanted, pool.prefix, holding)
        return {"Address": f"{wanted}/{pool.prefix.prefixlen}", "Data": {}}

    async def release_address(self, request: wire.AddressRef) -> wire.Json:
        """Let it rest. What is not known, or not given, is done already."""
        address = wire.address(request.address)
        async with self._writing:
            pool = self._state.pools.get(request.pool_id)
            leases = self._state.leases_of(request.pool_id)
            lease = leases.get(address) if address else None
            if pool is None or lease is None or lease.holding is model.Holding.RESTING:
                return {}
            if lease.address in self._running():
                # Docker releases after DeleteEndpoint: this is late, or that was lost, upon which
                # the audit finds out whether it lives.
                log.info("address kept address=%s reason=address-in-use", address)
                return {}
            resting = [one for one in leases.values() if one.holding is model.Holding.RESTING]
            resting.sort(key=lambda one: one.since)
            await self._state.put_lease(
                pool,
                model.Lease(lease.address, model.Holding.RESTING, self._clock()),
                without=[one.address for one in resting[: len(resting) + 1 - _RESTS]],
            )
        log.debug("address released address=%s pool=%s", address, pool.prefix)
        return {}

    def _known(self, pool_id: str) -> model.Pool:
        pool = self._state.pools.get(pool_id)
        if pool is None:
            raise errors.Refused(
                "unknown-pool",
                f"pool {pool_id} is not known to bgp-ipvlan (its state was lost?): docker network "
                f"rm the network and create it again",
            )
        return pool

    def _gateway(self, pool: model.Pool) -> model.Address | None:
        """`--gateway` of the daemon, where it fits."""
        gateway = self._defaults.gateway
        if gateway is None or not plan.pools.contains(pool.prefix, gateway):
            return None
        return gateway

    def _running(self) -> set[model.Address]:
        """The addresses of running containers."""
        return self._addresses(lambda endpoint: endpoint.joined)

    def _present(self) -> set[model.Address]:
        """Those, and of containers whose end Docker has not finished: the link may live still.

        One that has not joined yet has its address for less than `COMING` after it was given.
        """
        return self._addresses(lambda one: one.joined or self._lately(one.left))

    def _addresses(self, which: Callable[[model.Endpoint], bool]) -> set[model.Address]:
        endpoints = filter(which, self._state.endpoints.values())
        return {address.ip for endpoint in endpoints for address in endpoint.addresses}

    def _gateways(self) -> set[model.Address]:
        return {
            subnet.gateway
            for network in self._state.networks.values()
            for subnet in network.subnets
            if subnet.gateway is not None
        }

    async def _choose(self, pool: model.Pool) -> model.Address:
        leases = self._state.leases_of(pool.id)
        taken = self._present() | self._gateways()
        found = plan.pools.choose(pool, leases, taken)
        if found is not None:
            return found
        lost = plan.pools.stale(pool, leases, taken, self._clock() - COMING)
        if lost and await self._nobody_unknown():
            log.warning("address given anew address=%s reason=address-lost", lost[0].address)
            return lost[0].address
        raise errors.Refused(
            "pool-exhausted",
            f"subnet {pool.prefix} has no free address"
            + (f" in --ip-range {pool.range}" if pool.range != pool.prefix else "")
            + ": stop a container, or create a network with a larger subnet",
        )

    async def _check(self, pool: model.Pool, wanted: model.Address) -> None:
        """Refuse an address that cannot be had."""
        if not plan.pools.contains(pool.prefix, wanted):
            raise errors.BadRequest(
                "bad-address",
                f"address {wanted} is no container's in subnet {pool.prefix}: choose one inside "
                f"it, neither the first nor (IPv4) the last",
            )
        lease = self._state.leases_of(pool.id).get(wanted)
        holding = None if lease is None else lease.holding
        if holding is model.Holding.RESERVED or wanted in self._gateways():
            raise errors.Refused(
                "address-reserved",
                f"address {wanted} is the network's gateway, or was set aside with --aux-address: "
                f"choose another",
            )
        if lease is None or holding is model.Holding.RESTING:
            return
        lost = plan.pools.lost(lease, self._present(), self._clock() - COMING)
        if not (lost and await self._nobody_unknown()):
            raise errors.Refused(
                "address-in-use",
                f"address {wanted} belongs to another container, or was given to one less than "
                f"{COMING:.0f} s ago: choose another",
            )

    async def _nobody_unknown(self) -> bool:
        """Whether no slave of ours lives whose endpoint we have forgotten, with its address."""
        scan = await self._links.scan_slaves()
        known = {None, *self._state.endpoints, *self._state.networks}
        return scan.complete and known.issuperset(
            ownership.alias_identity(slave.alias) for slave in scan.slaves
        )


def _network(prefix: model.Prefix) -> model.Network:
    """A network of that subnet, to ask about."""
    return model.Network(
        id="", parent="", subnets=(model.Subnet(prefix),), advertise=model.Advertise.NONE
    )


def _lengths(given: Mapping[str, str] | None) -> dict[int, int]:
    """What `--ipam-opt` says: prefix length by IP version."""
    versions = {key: version for version, key in _LENGTH.items()}
    found = {}
    for key, value in (given or {}).items():
        if key not in versions:
            raise errors.BadRequest(
                "unknown-option", f"unknown option --ipam-opt {key} (known: {', '.join(versions)})"
            )
        if not (value.isascii() and value.isdigit()):
            raise errors.BadRequest(
                "bad-option", f"--ipam-opt {key}={value} is not possible: use a number of bits"
            )
        found[versions[key]] = int(value)
    return found


def _overlap(one: model.Prefix, other: model.Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _inside(one: model.Prefix, other: model.Prefix) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]
