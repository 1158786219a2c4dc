"""`bgp-ipvlan cleanup`: files that a daemon which was killed has left."""

from __future__ import annotations

from bgp_ipvlan import ownership
from lab import agent, namespace


def test_the_file_of_a_gobgpd_of_ours_goes() -> None:
    """It has passwords in it; what else is in the folder stays."""
    with namespace.Lab() as lab:
        host = lab.host("a")
        folder = host.root / "run" / "bgp-ipvlan"
        folder.mkdir(parents=True, exist_ok=True)
        ours, other = folder / ownership.GOBGPD_FILE, folder / "notes"
        for path in (ours, other):
            path.write_text("secret")

        agent.Agent(host).run("cleanup")

        assert not ours.exists()
        assert other.exists()
