"""Scenes that the engines' contract runs on; see `tests.interop.scene`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import namespace, newgobgp, process, require
from tests.interop import scene as scene_

ENGINES = (scene_.EMBEDDED, scene_.ATTACHED_3, scene_.SPAWNED_3, scene_.ATTACHED_4)


_SECOND_LOOK = {
    "test_engine_neighbors": ("gobgp-spawned-3", "gobgp-attached-4"),
    "test_engine_learning": ("gobgp-spawned-3", "gobgp-attached-4"),
    "test_gobgp_engine": ("gobgp-attached-4",),
    "test_gobgp_api": ("3-multi", "4-single"),
}
"""What is the same for all gobgpds is standing for one of them, and for `make soak` for all."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those for `make soak`."""
    for item in items:
        if isinstance(item, pytest.Function):
            others = _SECOND_LOOK.get(item.module.__name__.rpartition(".")[2], ())
            if any(name in item.name for name in others):
                item.add_marker(pytest.mark.soak)


def there(engine: scene_.Engine) -> scene_.Engine:
    """An engine whose gobgpd is on this machine; fetches the newer one if nobody did."""
    if engine is scene_.ATTACHED_4:
        try:
            newgobgp.ensure(lambda _line: None)
        except (namespace.LabError, process.CommandError) as error:
            if require.in_ci():
                pytest.fail(str(error), pytrace=False)
            pytest.skip(f"the newer GoBGP could not be fetched: {error}")
    return engine


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def standing(request: pytest.FixtureRequest) -> Iterator[scene_.Scene]:
    """A scene that is up, for all tests of a file."""
    with namespace.Lab() as lab:
        made = scene_.Scene(lab, there(request.param))
        made.up()
        yield made


@pytest.fixture
def scene(standing: scene_.Scene) -> scene_.Scene:
    """The same, as new: whatever the test before did has been undone."""
    standing.ready()
    return standing


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> scene_.Engine:
    """For tests that make a scene of their own."""
    return there(request.param)
