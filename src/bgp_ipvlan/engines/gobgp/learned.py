"""What gobgpd says of its table, over changes, whole tables, its restarts and our own prefixes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator

from bgp_ipvlan import model, turns
from bgp_ipvlan.engines.gobgp import api, used

Keys = dict[model.Family, set[model.Nlri]]
_SLICE = 500


class Learned:
    """See the module.

    Args:
        table: what is used of it.
    """

    def __init__(self, table: used.Used) -> None:
        self._used = table
        self._stale: Keys = {f: set() for f in model.Family}
        """Known only from before, until somebody says that all is there again."""
        self._going: Keys = {f: set() for f in model.Family}
        """About to be forgotten."""
        self._seen: Keys | None = None
        """What the table that is being read has."""
        self._contended: Keys = {f: set() for f in model.Family}
        """Prefixes of ours that neighbours announce as well: gobgpd's best is then our own path."""

    def _heard(self, family: model.Family, keys: Collection[model.Nlri]) -> None:
        self._stale[family].difference_update(keys)
        self._going[family].difference_update(keys)

    # --- changes ---------------------------------------------------------------------------

    def rows(self, rows: Collection[api.Row]) -> None:
        """A part of the table, or what has changed in it: each prefix has exactly these paths."""
        groups: dict[tuple[model.Family, int], tuple[used.Paths, list[model.Nlri]]] = {}
        for family, key, paths in rows:
            groups.setdefault((family, id(paths)), (paths, []))[1].append(key)
        for (family, _), (paths, keys) in groups.items():
            self._set(family, paths, keys)

    def _set(self, family: model.Family, paths: used.Paths, keys: list[model.Nlri]) -> None:
        contended = self._contended[family]
        if paths:
            contended.difference_update(keys)
            if self._seen is not None:
                self._seen[family].update(keys)
        elif contended:
            # Our own path is best, as before.
            keys = [key for key in keys if key not in contended]
        self._heard(family, keys)
        self._used.take(family, paths, keys)

    def change(self, changes: Iterable[api.Change]) -> None:
        """Paths that came and paths that went, each known by its neighbour and identifier."""
        for family, key, came, gone in changes:
            if key in self._contended[family]:
                if not came:
                    continue  # our own path is best, as before
                self._contended[family].discard(key)
                kept: Iterator[model.Path] = iter(())
            elif key in self._stale[family] or key in self._going[family]:
                kept = iter(())  # from before: this gobgpd has not said it
            else:
                other = {(p.neighbor, p.path_id) for p in (*came, *gone)}
                known = self._used.known(family, key)
                kept = (p for p in known if (p.neighbor, p.path_id) not in other)
            self._heard(family, [key])
            self._used.take(family, (*kept, *came), [key])

    def contend(self, family: model.Family, key: model.Nlri, paths: used.Paths) -> None:
        """What neighbours have to say of a prefix of ours, which gobgpd holds second."""
        contended = self._contended[family]
        if not paths and key in self._stale[family]:
            return  # gobgpd has not heard all again
        if paths or key in contended:
            (contended.add if paths else contended.discard)(key)
            self._heard(family, [key])
            self._used.take(family, paths, [key])

    def settle(self, family: model.Family, key: model.Nlri, paths: used.Paths) -> None:
        """What gobgpd holds best, as it was looked up; it says so by itself only when it changes."""
        if key in self._contended[family]:
            self._set(family, paths, [key])

    # --- whole tables ------------------------------------------------------------------------

    def begin(self) -> None:
        """A whole table follows."""
        self._seen = {family: set() for family in model.Family}

    async def end(self) -> None:
        """The table is complete: what was known of this gobgpd and is not in it goes.

        What is stale may still come: gobgpd itself has not heard all again.
        """
        seen, self._seen = self._seen, None
        if seen is None:
            return
        for family, found in seen.items():
            other = (found, self._stale[family], self._contended[family])
            async for part in turns.slices(self._used.keys(family), _SLICE):
                gone = [key for key in part if not any(key in keys for keys in other)]
                if gone:
                    self._used.take(family, (), gone)

    # --- restarts ------------------------------------------------------------------------------

    def all_stale(self) -> None:
        """Note that gobgpd is gone: all there is is from before."""
        self._seen = None
        for family in model.Family:
            self._going[family].clear()
            self._stale[family].update(self._used.keys(family))

    async def flush(self) -> None:
        """What nobody has said again goes, in slices."""
        for family, stale in self._stale.items():
            self._going[family].update(stale)
            stale.clear()
        for family, going in self._going.items():
            # What is said again meanwhile leaves the set; all does when gobgpd is lost once more.
            while going:
                part = [going.pop() for _ in range(min(_SLICE, len(going)))]
                self._contended[family].difference_update(part)
                self._used.take(family, (), part)
                await asyncio.sleep(0)

    @property
    def stale(self) -> int:
        """How many prefixes are known from before only."""
        return sum(map(len, self._stale.values()))
