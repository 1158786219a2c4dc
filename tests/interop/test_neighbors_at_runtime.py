"""What an operator does to a running daemon, with two BIRDs: one is meant, one must not notice."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from lab import namespace, peers
from tests.interop.rack import (
    AS,
    GLOBAL,
    LEFT,
    LEFT_AS,
    OF_LEFT,
    OF_RIGHT,
    OURS,
    RIGHT,
    RIGHT_AS,
    TO_LEFT,
    TO_RIGHT,
    US,
    Rack,
    sessions,
)


@pytest.fixture
def rack() -> Iterator[Rack]:
    """The left neighbour is in the file, the right one is not; all run."""
    with namespace.Lab() as lab:
        made = Rack(lab, GLOBAL + TO_LEFT)
        made.up()
        yield made


@pytest.fixture
def undisturbed(rack: Rack) -> Iterator[Rack]:
    """As `rack`; at the end the left neighbour has had one session and no route of it went."""
    watch = rack.host.start("ip", "monitor", "route", log="monitor.log")
    marker = ("blackhole", "198.51.100.1", "proto", "static")

    def seen() -> bool:
        for verb in ("add", "del"):
            rack.host.run("ip", "route", verb, *marker)
        return "Deleted blackhole 198.51.100.1" in watch.output()

    namespace.wait_until(seen, "the monitor to watch")
    yield rack
    # The monitor tells in order: with a new mark, all before has been shown.
    before = watch.output().count("Deleted blackhole")
    namespace.wait_until(
        lambda: seen() and watch.output().count("Deleted blackhole") > before, "all to be shown"
    )
    assert rack.left.established(US)
    assert sessions(rack.left) == 1
    assert f"Deleted {OF_LEFT}" not in watch.output()


# --- reload ---------------------------------------------------------------------------------


def test_reload_adds_and_removes(undisturbed: Rack) -> None:
    """A neighbour in the file is talked to, one out of it is told why; the other goes on."""
    rack = undisturbed
    rack.write(GLOBAL + TO_LEFT + TO_RIGHT)

    printed = rack.daemon.run("reload")
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "the right neighbour's route")
    assert f"added {RIGHT}" in printed
    peers.wait_learned(rack.right, OURS)

    rack.write(GLOBAL + TO_LEFT)
    rack.daemon.process.signal(signal.SIGHUP)
    rack.wait(lambda: OF_RIGHT not in rack.kernel(), "the right neighbour's route to go")
    rack.wait(lambda: "Peer de-configured" in rack.right.process.output(), "BIRD to be told")
    assert "reloaded added=0 changed=0 removed=1" in rack.daemon.log()


def test_reload_of_import_rules(undisturbed: Rack) -> None:
    """New rules let a route in and out again; the sessions stay."""
    rack = undisturbed
    rack.left.announce("10.4.0.0/16")
    rack.wait(lambda: "10.4.0.0/16" in rack.kernel(), "the second route")

    rack.write(f'{GLOBAL}{TO_LEFT}[policy]\nimport = ["{OF_LEFT}"]')
    rack.daemon.run("reload")
    rack.wait(lambda: "10.4.0.0/16" not in rack.kernel(), "the second route to go")
    (refused,) = rack.daemon.ask("routes")["refused"]
    shown = rack.daemon.run("routes")
    rack.write(GLOBAL + TO_LEFT)
    rack.daemon.run("reload")
    rack.wait(lambda: "10.4.0.0/16" in rack.kernel(), "the second route to be back")

    assert (refused["prefix"], refused["reason"]) == ("10.4.0.0/16", "import-policy")
    assert (refused["neighbor"], refused["as_path"]) == (LEFT, [LEFT_AS])
    (line,) = (line for line in shown.splitlines() if "10.4.0.0/16" in line)
    assert "refused" in line
    assert "import-policy" in line


def test_reload_of_a_range(undisturbed: Rack) -> None:
    """Who is in a range may connect, shown as such, and goes with the range."""
    rack = undisturbed
    group = f'[[peer-groups]]\n[peer-groups.config]\npeer-group-name = "x"\npeer-as = {RIGHT_AS}\n'
    group += '[[dynamic-neighbors]]\n[dynamic-neighbors.config]\npeer-group = "x"\n'
    rack.write(f'{GLOBAL}{TO_LEFT}{group}prefix = "192.0.2.0/24"\n')

    assert "added 192.0.2.0/24" in rack.daemon.run("reload")
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "the right neighbour's route")
    peers.wait_learned(rack.right, OURS)
    shown = rack.daemon.run("neighbors")
    assert rack.neighbor(RIGHT)["dynamic"] is True
    assert [line for line in shown.splitlines() if RIGHT in line and "from a range" in line]
    assert "the range 192.0.2.0/24" in rack.refused("neighbor", "remove", RIGHT)

    rack.write(GLOBAL + TO_LEFT)
    rack.daemon.run("reload")
    rack.wait(lambda: OF_RIGHT not in rack.kernel(), "the right neighbour's route to go")
    assert "unknown-neighbor" in rack.refused("neighbors", RIGHT)


@pytest.mark.parametrize(
    ("file", "reason", "says"),
    [
        (GLOBAL + TO_LEFT + "[global", "config-file", "config.toml is not TOML"),
        (
            GLOBAL + TO_LEFT.replace("peer-as", "peer-ass"),
            "unknown-key",
            "did you mean neighbors.config.p",
        ),
        (GLOBAL.replace(str(AS), "1") + TO_LEFT, "needs-restart", "systemctl restart"),
    ],
    ids=["not-toml", "unknown-key", "another-as"],
)
def test_bad_reload(undisturbed: Rack, file: str, reason: str, says: str) -> None:
    """Exit status 1 and one line; by SIGHUP the log has it; nothing changes."""
    rack = undisturbed
    rack.write(file)

    line = rack.refused("reload")
    rack.daemon.process.signal(signal.SIGHUP)
    rack.wait(lambda: "not reloaded, all is as before" in rack.daemon.log(), "the log to say so")

    assert line.startswith("bgp-ipvlan: ")
    assert line.endswith(f"[{reason}]")
    assert says in line
    assert [n["address"] for n in rack.daemon.ask("neighbors")["neighbors"]] == [LEFT]


def test_reload_names_what_needs_a_restart(undisturbed: Rack) -> None:
    """It is said, and the rest of the file counts."""
    rack = undisturbed
    text = GLOBAL.replace(f"{AS}\n", f"{AS}\nport = 1179\n")
    rack.write(text + TO_LEFT + TO_RIGHT)

    printed = rack.daemon.run("reload")

    assert "needs a restart: --listen-port 179 → 1179" in printed
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "the right neighbour's route")


# --- neighbours by command --------------------------------------------------------------------


def test_neighbor_add_set_remove(undisturbed: Rack) -> None:
    """Each does what it says to the one it names, until a reload takes it back."""
    rack = undisturbed
    added = json.loads(rack.daemon.run("neighbor", "add", f"{RIGHT},as={RIGHT_AS}", "--json"))
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "the right neighbour's route")
    assert added["neighbors"][0]["configured"]["hold_time"] == 9

    rack.daemon.run("neighbor", "set", f"{RIGHT},hold=6,name=new")
    rack.wait(lambda: rack.neighbor(RIGHT)["hold_time"] == 6, "a session with the new hold time")
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "its route to be back")
    assert rack.neighbor(RIGHT)["description"] == "new"
    again = sessions(rack.right)

    rack.daemon.run("neighbor", "set", f"{RIGHT},max-prefixes=7")
    assert rack.neighbor(RIGHT)["configured"]["max_prefixes"] == 7

    assert "neighbor-exists" in rack.refused("neighbor", "add", RIGHT)
    assert "hold 1" in rack.refused("neighbor", "set", f"{RIGHT},hold=1")
    assert sessions(rack.right) == again

    rack.daemon.run("neighbor", "remove", RIGHT)
    rack.wait(lambda: OF_RIGHT not in rack.kernel(), "its route to go")
    rack.wait(lambda: "Peer de-configured" in rack.right.process.output(), "BIRD to be told")
    assert "unknown-neighbor" in rack.refused("neighbor", "remove", RIGHT)

    rack.daemon.run("neighbor", "add", f"{RIGHT},as={RIGHT_AS}")
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "its route again")
    assert f"removed {RIGHT}" in rack.daemon.run("reload")
    rack.wait(lambda: OF_RIGHT not in rack.kernel(), "its route to go with the reload")


def test_password_at_run_time(undisturbed: Rack) -> None:
    """A password that only we have keeps the neighbour out, the same on both sides lets it in."""
    rack = undisturbed
    key = rack.host.directory / "key"
    key.write_text("geheim, with a comma\n")
    key.chmod(0o600)
    rack.right.stop()
    neighbor = peers.Neighbor(address=US, remote_as=AS, password="geheim, with a comma")
    rack.right = peers.Bird(
        rack.right.host,
        peers.Speaker(
            local_as=RIGHT_AS, router_id=RIGHT, neighbors=(neighbor,), originate=(OF_RIGHT,)
        ),
    )
    rack.right.start()

    rack.daemon.run("neighbor", "add", f"{RIGHT},as={RIGHT_AS},password-file={key}")
    rack.wait(lambda: OF_RIGHT in rack.kernel(), "the right neighbour's route")
    shown = rack.daemon.run("neighbors", RIGHT)

    assert rack.neighbor(RIGHT)["password"] is True
    assert "password" in shown
    for text in (shown, rack.daemon.run("neighbors", "--json"), rack.daemon.log()):
        assert "geheim" not in text


def test_neighbor_reset(rack: Rack) -> None:
    """Soft asks for the routes again, hard ends the session with the text, and it comes back."""
    before = _exports(rack.left)
    rack.daemon.run("neighbor", "reset", LEFT, "--soft")
    rack.wait(lambda: _exports(rack.left) > before, "BIRD to send its routes again")
    assert sessions(rack.left) == 1

    for number in range(2, 6):
        text = f"cable {number}"
        rack.daemon.run("neighbor", "reset", LEFT, "--message", text)
        rack.wait(lambda: sessions(rack.left) == number, "the session to come back")  # noqa: B023

        # The new connection never overtakes the Cease: BIRD would take it for a restart of ours.
        assert f'Administrative reset: "{text}"' in rack.left.process.output()
    assert "unknown-neighbor" in rack.refused("neighbor", "reset", RIGHT)


def _exports(bird: peers.Bird) -> int:
    """Routes BIRD has sent to us, again and again."""
    text = bird.ctl("show protocols all to_192_0_2_1")
    # received, rejected, filtered, ignored, accepted
    return int(text.partition("Export updates:")[2].split()[4])


def test_too_many_prefixes(rack: Rack) -> None:
    """The neighbour is left alone, status says so; a higher limit and a reset bring it back."""
    rack.daemon.run("neighbor", "set", f"{LEFT},max-prefixes=1,max-prefixes-restart=0")
    rack.left.announce("10.4.0.0/16")
    rack.wait(lambda: not rack.kernel(), "its routes to go")

    warnings = rack.warnings()
    table = rack.daemon.run("neighbors")
    rack.daemon.run("neighbor", "set", f"{LEFT},max-prefixes=2")
    rack.daemon.run("neighbor", "reset", LEFT)
    rack.wait(lambda: rack.kernel() == {OF_LEFT, "10.4.0.0/16"}, "both routes")

    (warning,) = warnings
    assert warning.startswith(f"neighbor {LEFT} is left alone")
    assert warning.endswith("[max-prefixes]")
    assert "max-prefixes" in table
    assert rack.warnings() == []


def test_routes_are_bounded(rack: Rack) -> None:
    """`--limit` holds for refused ones too, and says how many there are."""
    rack.write(f'{GLOBAL}{TO_LEFT}[policy]\nimport = ["{OF_LEFT}"]')
    rack.daemon.run("reload")
    for number in range(3):
        rack.left.announce(f"10.4.{number}.0/24")
    rack.wait(lambda: rack.neighbor(LEFT)["refused"] == 3, "three refused paths")

    found = json.loads(rack.daemon.run("routes", "--limit", "1", "--json"))
    printed = rack.daemon.run("routes", "--limit", "1")

    assert (len(found["routes"]), len(found["refused"])) == (1, 1)
    assert (found["total"], found["total_refused"]) == (2, 3)
    assert "1 more routes: --limit 2" in printed
    assert "2 more refused: --limit 3" in printed


def test_neighbor_in_detail(rack: Rack) -> None:
    """All that was agreed, and all that was asked for."""
    shown = {
        line[:18].strip(): line[18:].strip()
        for line in rack.daemon.run("neighbors", LEFT).splitlines()
    }

    assert shown["neighbor"] == LEFT
    assert shown["state"].startswith("Established for 0:")
    assert shown["AS"] == f"{LEFT_AS}, ours {AS}"
    assert (shown["router id"], shown["our address"]) == (LEFT, US)
    assert "graceful-restart" in shown["capabilities"]
    assert shown["hold time"] == "9 s agreed, 9 s configured, keepalive 3 s"
    assert shown["import"] == "all"
    assert "unknown-neighbor" in rack.refused("neighbors", "192.0.2.99")
