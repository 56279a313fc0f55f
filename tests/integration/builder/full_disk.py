"""Run by test_full_disk in a process of its own: one build where there is too little room. Prints the error as JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import anyio
from flops_builder.build import build
from flops_builder.settings import BuilderSettings
from flops_protocol.errors import FlopsError
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec

from tests.integration.builder.bench import Recorder


def main() -> None:
    """Builds what stdin says, with files of at most `file_bytes`."""
    order = json.load(sys.stdin)
    spec, command = ProjectSpec.model_validate(order["spec"]), BuildCommand.model_validate(order["command"])
    settings = BuilderSettings(cache_dir=Path(order["cache"]), runtime_wheels=Path(order["wheels"]))
    if order["file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"],) * 2)
    try:
        anyio.run(build, spec, command, settings, Recorder())
    except FlopsError as error:
        print(error.body.model_dump_json())


if __name__ == "__main__":
    main()
