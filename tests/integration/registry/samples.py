"""Pushes as a builder makes them, of layers with a few bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
from flops_builder.image.files import Member
from flops_builder.image.layer import Layer, write_tar
from flops_builder.image.packing import Packed, Packer
from flops_builder.publish import Layered, compose, source_inputs
from flops_builder.resolve.lock import Lock
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ImageSet, ProjectSpec
from flops_protocol.sla import Platform, Sla
from flops_registry.base import Base
from flops_registry.compression import Compression
from flops_registry.interface import Push

LOCK_KEY = "f" * 64
SLUG = "people-digits"
URL = "https://git.example.org/people/digits.git"


@dataclass(frozen=True)
class Sample:
    """A push, and what it is looked up by."""

    push: Push
    images: ImageSet
    source_key: str
    layers: dict[str, Packed]
    """By kind."""


async def sample(
    folder: Path,
    registry: str,
    *,
    compression: Compression | None = "gzip",
    url: str = URL,
    commit: str = "a" * 40,
    code: bytes = b"print('code')\n",
    runtime: bytes = b"runtime" * 1000,
    lock: str = "numpy==1.26.4\n",
    bases: Mapping[Platform, Base] | None = None,
    platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64"),
) -> Sample:
    """Two images of the platforms. `runtime` is the same for everybody, as it is in life."""
    sla = Sla.model_validate({"ml_repo_url": url, "ml_model_flavor": "sklearn", "supported_platforms": list(platforms)})
    spec = ProjectSpec(project="p", sla=sla, repository_url=url, commit=commit, submitted_at=datetime.now(UTC))
    command = BuildCommand(
        project="p",
        command="build-1",
        action="build",
        registry=registry,
        pythons=["3.11"],
        source_key=f"sha256:{'0' * 64}",
        runtime_version="1",
        deadline_seconds=60,
    )
    inputs = source_inputs(spec, command, "scratch", "1")
    command = command.model_copy(update={"source_key": inputs.key()})
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    packer = Packer(folder / "packed", compression)
    layers: dict[str, Layer] = {}
    packed: dict[str, Packed] = {}
    contents = {"code": code, "tracking": b"tracking"}
    contents |= {f"runtime-{each}": runtime + each.encode() for each in platforms}
    contents |= {f"mlenv-{each}": lock.encode() + each.encode() for each in platforms}
    for name, content in contents.items():
        kind = name.partition("-")[0]
        file = folder / hashlib.sha256(f"{name} {content!r}".encode()).hexdigest()
        digest, size = write_tar([Member(f"opt/flops/{kind}/content.py", content=content)], file)
        layers[name] = Layer(kind, digest, size)
        packed[digest] = await packer.pack(layers[name], file)
    locks = {"runtime": Lock("flwr==1.41.0\n"), "mlenv": Lock(lock), "tracking": Lock("")}
    layered = {
        each: Layered(layers[f"runtime-{each}"], layers[f"mlenv-{each}"], layers["tracking"], locks)
        for each in platforms
    }
    push, images = compose(spec, command, inputs, "3.11", LOCK_KEY, layers["code"], layered, packed, bases or {})
    by_kind = {name: packed[layer.digest] for name, layer in layers.items()}
    return Sample(push, images, command.source_key, by_kind)
