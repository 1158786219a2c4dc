"""Build step: the messages of engines/gobgp out of our .proto files."""

from __future__ import annotations

import pathlib
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "src/bgp_ipvlan/engines/gobgp/proto"


def generate(root: pathlib.Path) -> None:
    """Write `NAME_pb2.py` and its types beside each `NAME.proto`."""
    folder = root / FOLDER
    files = [str(path) for path in sorted(folder.glob("*.proto"))]
    arguments = [f"-I{folder}", f"--python_out={folder}", f"--pyi_out={folder}", *files]
    if protoc.main(["protoc", *arguments]):
        raise RuntimeError(f"protoc refused {files}")


class Messages(BuildHookInterface[Any]):
    """Called by hatchling before it packs, also for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """See the module."""
        generate(pathlib.Path(self.root))
