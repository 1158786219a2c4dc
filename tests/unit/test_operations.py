"""Reload, neighbours at run time and drain, with the engine itself, which is not started."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import pathlib
from collections.abc import AsyncIterator, Callable

import pytest

from bgp_ipvlan import config, drain, errors, model, operations, state
from bgp_ipvlan.engines import embedded

ROUTER_ID = ipaddress.IPv4Address("192.0.2.1")
LEFT, RIGHT = ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("192.0.2.3")
FILE = """
[global.config]
as = 64512
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.2"
peer-as = 64513
"""
RIGHT_TOO = """
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.3"
peer-as = 64514
"""
RANGE = """
[[peer-groups]]
[peer-groups.config]
peer-group-name = "x"
[[dynamic-neighbors]]
[dynamic-neighbors.config]
prefix = "198.51.100.0/24"
peer-group = "x"
"""


class Deaf:
    """Implements `ports.EngineEvents`: nobody listens."""

    def best_paths(self, change: model.BestPaths) -> None:
        """Ignore."""

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """Ignore."""

    def synced(self) -> None:
        """Ignore."""


class Daemon:
    """What `app` puts together, as far as it is needed here."""

    def __init__(self, path: pathlib.Path, kept: state.State, **flags: object) -> None:
        self.path = path
        given = config.Flags(config_file=path, **flags)  # type: ignore[arg-type]
        loaded = config.load(given)
        settings = dataclasses.replace(loaded, router_id=loaded.router_id or ROUTER_ID)
        speaker = model.SpeakerConfig(
            local_as=settings.local_as,
            router_id=ROUTER_ID,
            neighbors=settings.neighbors,
            dynamic=settings.dynamic,
        )
        self.engine = embedded.EmbeddedEngine(speaker, Deaf())
        self.desk = operations.Operations(given, settings, state=kept, engine=self.engine)

    def neighbors(self) -> dict[str, int]:
        """The engine's: address → AS number."""
        return {str(one.address): one.remote_as for one in self.engine.neighbors()}

    def idle(self) -> set[str]:
        """Why the engine's neighbours are idle."""
        return {one.idle_reason for one in self.engine.neighbors()}


Make = Callable[..., Daemon]


@pytest.fixture
async def kept(tmp_path: pathlib.Path) -> AsyncIterator[state.State]:
    """A state file."""
    opened = await state.State.open(tmp_path / "state")
    yield opened
    await opened.close()


@pytest.fixture
async def make(tmp_path: pathlib.Path, kept: state.State) -> Make:
    """Make a daemon with such a file; again, as if it had been started again."""
    path = tmp_path / "config.toml"

    def run(text: str = FILE, **flags: object) -> Daemon:
        path.write_text(text)
        path.chmod(0o600)
        return Daemon(path, kept, **flags)

    return run


# --- reload ---------------------------------------------------------------------------------


async def test_reload(make: Make) -> None:
    """Neighbours and ranges come, change and go; what happened is told."""
    daemon = make(FILE)
    daemon.path.write_text(FILE.replace("64513", "64999") + RIGHT_TOO + RANGE)

    first = await daemon.desk.reload()
    after = daemon.neighbors()
    daemon.path.write_text(FILE.replace("64513", "64999"))
    second = await daemon.desk.reload()

    assert after == {"192.0.2.2": 64999, "192.0.2.3": 64514}
    assert daemon.neighbors() == {"192.0.2.2": 64999}
    assert (first["added"], first["changed"], first["removed"]) == (
        ["192.0.2.3", "198.51.100.0/24"],
        ["192.0.2.2"],
        [],
    )
    assert second["removed"] == ["192.0.2.3", "198.51.100.0/24"]
    assert (second["added"], second["changed"], second["needs_restart"]) == ([], [], [])
    assert first["file"] == str(daemon.path)


async def test_reload_names_what_needs_a_restart(make: Make) -> None:
    """The rest of the file counts at once; and it is named again by the next reload."""
    daemon = make(FILE)
    text = FILE.replace("as = 64512", 'as = 64512\nport = 1179\nrouter-id = "192.0.2.9"')
    daemon.path.write_text(text + RIGHT_TOO + "[ipvlan]\nmtu = 1400\nipvlan-subnet = '10.1.0.0/16'")

    found = [(await daemon.desk.reload())["needs_restart"] for _ in range(2)]

    names = [
        "--router-id 192.0.2.1 → 192.0.2.9",
        "--listen-port 179 → 1179",
        "--ipvlan-subnet none → 10.1.0.0/16",
        "--mtu none → 1400",
    ]
    assert found == [names, names]
    assert daemon.desk.settings.listen_port == 179
    assert "192.0.2.3" in daemon.neighbors()


async def test_reload_of_import_rules(make: Make) -> None:
    """They reach neighbours and ranges, and those that come later."""
    daemon = make(FILE + RANGE)
    daemon.path.write_text(FILE + RANGE + '[policy]\nimport = ["10.0.0.0/8"]')

    answer = await daemon.desk.reload()
    added = daemon.desk.add("192.0.2.3")

    rules = (model.PrefixRule(ipaddress.ip_network("10.0.0.0/8"), 8, 8),)
    assert answer["changed"] == ["192.0.2.2", "198.51.100.0/24"]
    assert daemon.desk.neighbors[LEFT].import_rules == rules
    assert daemon.desk.settings.dynamic[0].template.import_rules == rules
    assert added.import_rules == rules


async def test_reload_reads_passwords_again(make: Make, tmp_path: pathlib.Path) -> None:
    """Also those that a flag names."""
    key = tmp_path / "key"
    key.write_text("old")
    daemon = make(FILE, neighbors=(f"192.0.2.3,password-file={key}",))
    key.write_text("new")

    answer = await daemon.desk.reload()

    assert answer["changed"] == ["192.0.2.3"]
    assert daemon.desk.neighbors[RIGHT].password == "new"


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        (FILE + "[global", "config-file", "is not TOML"),
        (FILE.replace("peer-as", "peer-ass"), "unknown-key", "neighbors[0].config.peer-ass"),
        (FILE.replace("64512", "64999"), "needs-restart", "from 64512 to 64999"),
        ("global.config.as=64512\nengine.name='kernel'", "needs-restart", "embedded to kernel"),
        (FILE + RIGHT_TOO.replace("192.0.2.3", "192.0.2.2"), "bad-neighbor", "given twice"),
    ],
)
async def test_bad_reload(
    make: Make, text: str, reason: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing changes at all; the log says so, also where nobody else is told (SIGHUP)."""
    daemon = make(FILE)
    daemon.desk.add("192.0.2.9")
    before = (daemon.neighbors(), daemon.desk.settings)
    daemon.path.write_text(text)

    caplog.set_level(logging.ERROR, "bgp_ipvlan")
    with pytest.raises(errors.Error) as caught:
        await daemon.desk.reload()
    [by_command] = caplog.messages
    caplog.clear()
    daemon.desk.hang_up()
    assert daemon.desk._hang_up is not None
    await daemon.desk._hang_up

    assert caught.value.reason == reason
    assert says in str(caught.value)
    assert (daemon.neighbors(), daemon.desk.settings) == before
    assert f"not reloaded, all is as before reason={reason}" in by_command
    assert caplog.messages == [by_command], "the same for SIGHUP, and once"


async def test_reload_with_a_gobgpd_of_ours(make: Make) -> None:
    """What only gobgpd reads, when it starts, needs a restart, is named each time, and not shown."""
    daemon = make(FILE, engine="gobgp", gobgp_spawn=True)
    daemon.path.write_text(FILE + RIGHT_TOO + '[zebra.config]\nurl = "geheim"')
    before = daemon.desk.settings.gobgp

    found = [(await daemon.desk.reload())["needs_restart"] for _ in range(2)]
    daemon.path.write_text(FILE)
    back = await daemon.desk.reload()

    assert found == [[f"gobgpd's own settings in {daemon.path}"]] * 2
    assert daemon.desk.settings.gobgp == before
    assert (back["needs_restart"], back["removed"]) == ([], ["192.0.2.3"])


async def test_file_gone_at_reload(make: Make) -> None:
    """A file that was named and is gone is an error, not an empty configuration."""
    daemon = make(FILE)
    daemon.path.unlink()

    with pytest.raises(errors.ConfigError, match="No such file"):
        await daemon.desk.reload()

    assert daemon.neighbors() == {"192.0.2.2": 64513}


# --- neighbours -----------------------------------------------------------------------------


async def test_neighbors_at_run_time(make: Make) -> None:
    """Added, changed, removed; the next reload takes it all back."""
    daemon = make(FILE)

    daemon.desk.add("192.0.2.3,as=64514,password=x")
    daemon.desk.set("192.0.2.3,hold=30")
    both = dict(daemon.desk.neighbors)
    daemon.desk.remove("192.0.2.2")
    alone = daemon.neighbors()
    await daemon.desk.reload()

    assert (both[RIGHT].remote_as, both[RIGHT].password) == (64514, "x")
    assert (both[RIGHT].hold_time, both[RIGHT].keepalive) == (30, 10)
    assert both[LEFT].remote_as == 64513
    assert alone == {"192.0.2.3": 64514}
    assert daemon.neighbors() == {"192.0.2.2": 64513}


@pytest.mark.parametrize(
    ("verb", "text", "reason", "says"),
    [
        ("add", "192.0.2.2", "neighbor-exists", "neighbor set"),
        ("add", "192.0.2.3,hold=1", "bad-neighbor", "neighbor add 192.0.2.3: hold 1"),
        ("add", "fe80::1", "bad-neighbor", "link-local"),
        ("set", "192.0.2.3,hold=9", "unknown-neighbor", "there is no neighbor 192.0.2.3"),
        ("set", "198.51.100.7,hold=9", "unknown-neighbor", "the range 198.51.100.0/24"),
        ("set", "192.0.2.2,keepalive=9", "bad-neighbor", "neighbor set 192.0.2.2: keepalive 9"),
        ("remove", "192.0.2.3", "unknown-neighbor", "there is no neighbor"),
        ("remove", "tor", "bad-value", "neighbor tor: expected an address"),
    ],
)
async def test_changes_that_cannot_be(
    make: Make, verb: str, text: str, reason: str, says: str
) -> None:
    """Refused with the reason, and nothing changed."""
    daemon = make(FILE + RANGE)
    before = dict(daemon.desk.neighbors)

    with pytest.raises(errors.Error) as caught:
        getattr(daemon.desk, verb)(text)

    assert caught.value.reason == reason
    assert says in str(caught.value)
    assert daemon.desk.neighbors == before
    assert daemon.neighbors() == {"192.0.2.2": 64513}


async def test_passive_needs_a_listener(make: Make) -> None:
    """Who is to connect to us must find us listening, also one that comes later."""
    daemon = make(FILE, listen_port=0)

    with pytest.raises(errors.ConfigError, match="192.0.2.3 is to connect to us") as caught:
        daemon.desk.add("192.0.2.3,passive")

    assert caught.value.reason == "not-listening"
    assert "192.0.2.3" not in daemon.neighbors()


async def test_no_as_number(make: Make) -> None:
    """A daemon that was started without BGP cannot speak it."""
    daemon = make("")

    with pytest.raises(errors.ConfigError) as caught:
        daemon.desk.add("192.0.2.3,as=1")

    assert caught.value.reason == "no-as"


@pytest.mark.parametrize(
    ("text", "soft", "message", "reason"),
    [
        ("192.0.2.3", False, "", "unknown-neighbor"),
        ("192.0.2.2", True, "", "not-established"),
        ("192.0.2.2", False, 256 * "x", "long-message"),
        ("192.0.2.2", False, 128 * "ä", "long-message"),
    ],
)
async def test_resets_that_cannot_be(
    make: Make, text: str, soft: bool, message: str, reason: str
) -> None:
    """Each says why."""
    daemon = make(FILE)

    with pytest.raises(errors.Error) as caught:
        daemon.desk.reset(text, soft=soft, message=message)

    assert caught.value.reason == reason


# --- drain ----------------------------------------------------------------------------------


async def test_drain_with_nobody_there(make: Make, kept: state.State) -> None:
    """Without a session there is nobody to wait for; it is remembered; `undrain` ends it."""
    daemon = make(FILE)

    await daemon.desk.drain.begin(wait=3600, message="kernel update")
    assert daemon.desk.drain._task is not None
    await daemon.desk.drain._task
    done = daemon.desk.drain.progress
    remembered = kept.meta("drained")
    idle = daemon.idle()
    await daemon.desk.drain.end()

    assert done is not None
    assert (done.done, done.message) == (True, "kernel update")
    assert remembered
    assert idle == {"shutdown"}
    assert daemon.desk.drain.progress is None
    assert daemon.idle() == {""}
    assert not kept.meta("drained")


async def test_drained_over_a_restart(make: Make) -> None:
    """A daemon started again comes up shut down, whenever the other one ended."""
    first = make(FILE)
    await first.desk.drain.begin(wait=0, message="later")
    await first.desk.close()

    again = make(FILE)
    await again.desk.drain.restore()
    drained = again.desk.drain.progress
    idle = again.idle()
    again.desk.add("192.0.2.3")
    with_the_new = again.idle()
    await again.desk.drain.end()
    third = make(FILE)
    await third.desk.drain.restore()

    assert drained is not None
    assert (drained.done, drained.message) == (True, "later")
    assert idle == with_the_new == {"shutdown"}
    assert again.idle() == {""}
    assert third.desk.drain.progress is None


async def test_drain_refused(make: Make, kept: state.State) -> None:
    """A message that is too long, a wait that is none: nothing begins."""
    daemon = make(FILE)

    for wait, message in ((1.0, 256 * "x"), (-1.0, ""), (3601.0, ""), (float("nan"), "")):
        with pytest.raises(errors.BadRequest):
            await daemon.desk.drain.begin(wait=wait, message=message)
    with pytest.raises(errors.Refused, match="not drained"):
        await daemon.desk.drain.end()

    assert daemon.desk.drain.progress is None
    assert not kept.meta("drained")
    assert daemon.idle() == {""}


def test_longest_message() -> None:
    """255 octets of UTF-8 fit (RFC 9003)."""
    text = 127 * "ä" + "x"

    assert drain.check_message(text) == text
