"""Scenes that the engines' contract runs on; see `tests.interop.scene`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import namespace
from tests.interop import scene as scene_

ENGINES = (scene_.EMBEDDED, scene_.ATTACHED_3, scene_.SPAWNED_3)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def standing(request: pytest.FixtureRequest) -> Iterator[scene_.Scene]:
    """A scene that is up, for all tests of a file."""
    with namespace.Lab() as lab:
        made = scene_.Scene(lab, request.param)
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
    found: scene_.Engine = request.param
    return found
