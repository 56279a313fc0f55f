"""From an image reference to folders on this machine, and to the command that runs it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import ImageReference
from flops_registry.documents import Configuration, Descriptor, Index, Manifest, Process, read
from flops_registry.names import BASE, LAYER
from flops_registry.opening import Access, open_registry

from flops_manager.adapters.process_engine.folders import EngineFolder
from flops_manager.adapters.process_engine.layers import IMAGE_ROOT, BadLayerError, compose
from flops_manager.adapters.process_engine.pulling import Source

_ROOT = f"/{IMAGE_ROOT}"


@dataclass(frozen=True)
class Runnable:
    """An image that lies unpacked on this machine."""

    root: Path
    """What is `/opt/flops` in a container."""
    command: Sequence[str]
    environment: dict[str, str]
    folder: Path | None
    """Where the image wants to be run."""


GRACE_SECONDS = 3600.0


class ImageStore:
    """The images of this machine, unpacked as far as somebody needed them."""

    def __init__(self, folder: EngineFolder, access: Access | None = None) -> None:
        """Nothing is touched before the first call."""
        self._folder = folder
        self._access = access
        self._unpacking: dict[str, anyio.Lock] = {}

    async def prepare(self, image: ImageReference, platform: str) -> Runnable:
        """Unpacks an image, as far as it is not unpacked yet: its layers side by side, each one once.

        :raises FlopsError: FLOPS-D005 when it is not for this platform, FLOPS-D007 when it cannot be unpacked,
            FLOPS-B041 when the registry does not give it
        """
        try:
            async with open_registry(image.registry, self._access) as registry:
                source = Source(registry, image.repository, self._folder)
                index = read(await source.manifest(image.digest), Index)
                digest = _manifest(index, image, platform)
                manifest = read(await source.manifest(digest), Manifest)
                configuration = read(await source.content(manifest.config.digest), Configuration)
                layers = await self._unpack(source, _wanted(manifest, configuration))
            folder = self._folder
            root = await anyio.to_thread.run_sync(compose, layers, digest, folder.images, folder.new)
            await anyio.to_thread.run_sync(os.utime, root)
            return _runnable(root, configuration.config)
        except (OSError, ValueError, BadLayerError) as error:
            what = f"{image.repository}@{image.digest[:19]}"
            raise FlopsError("FLOPS-D007", f"{what}: {type(error).__name__}: {error}"[:1000]) from error

    async def _unpack(self, source: Source, layers: Mapping[Digest, Descriptor]) -> list[Path]:
        taken: dict[Digest, Path] = {}
        failures: list[Exception] = []

        async def take(diff_id: Digest, layer: Descriptor) -> None:
            # The actors of a project share most layers, and start at the same moment.
            async with self._unpacking.setdefault(diff_id, anyio.Lock()):
                try:
                    taken[diff_id] = await source.unpack(diff_id, layer)
                except (OSError, ValueError, BadLayerError, FlopsError) as error:
                    failures.append(error)

        async with anyio.create_task_group() as group:
            for diff_id, layer in layers.items():
                group.start_soon(take, diff_id, layer)
        if failures:
            raise failures[0]
        return [taken[diff_id] for diff_id in layers]


def _wanted(manifest: Manifest, configuration: Configuration) -> dict[Digest, Descriptor]:
    """The layers that we need, by their diff IDs: those of ours. What a base image has, the host has, too."""
    diff_ids = configuration.rootfs.diff_ids or [layer.digest for layer in manifest.layers]
    if len(diff_ids) != len(manifest.layers):
        raise ValueError(f"{len(manifest.layers)} layers, and {len(diff_ids)} diff IDs")
    pairs = zip(diff_ids, manifest.layers, strict=True)
    return {diff_id: layer for diff_id, layer in pairs if layer.annotations.get(LAYER) != BASE}


def prune(folder: EngineFolder, keep_seconds: float) -> None:
    """Removes images that nobody used for so long, and layers that are in no image. No actor may be running.

    One may be about to be deployed: what was touched within the hour stays.
    """
    now = time.time()
    for image in folder.images.glob("*"):
        if now - image.stat().st_mtime > keep_seconds:
            shutil.rmtree(image, ignore_errors=True)
    used = {part.resolve().parent.name for image in folder.images.glob("*") for part in image.iterdir()}
    for layer in [path for path in folder.layers.glob("*") if path.is_dir() and path.name not in used]:
        if now - layer.stat().st_mtime > GRACE_SECONDS:
            shutil.rmtree(layer, ignore_errors=True)
            layer.with_suffix(".boot").unlink(missing_ok=True)
    for file in [*folder.blobs.glob("*"), *folder.documents.glob("*")]:
        if now - file.stat().st_mtime > keep_seconds:
            file.unlink(missing_ok=True)


def _manifest(index: Index, image: ImageReference, platform: str) -> str:
    there = {str(manifest.platform): manifest.digest for manifest in index.manifests if manifest.platform is not None}
    if platform not in there:
        raise FlopsError("FLOPS-D005", f"the node is {platform}, {image.repository} is for {', '.join(sorted(there))}")
    return there[platform]


def _runnable(root: Path, process: Process) -> Runnable:
    command = [*(process.entrypoint or []), *(process.cmd or [])]
    if not command or not Path(command[0]).name.startswith("python"):
        raise BadLayerError(f"the image does not run Python, but {command}")
    variables = dict(entry.partition("=")[::2] for entry in process.env or [])
    variables.pop("PATH", None)  # The host's programs are where the host's PATH says.
    folder = process.working_dir or ""
    return Runnable(
        root=root,
        command=[_here(word, root) for word in command[1:]],
        environment={name: _here(value, root) for name, value in variables.items()},
        folder=Path(_here(folder, root)) if folder.startswith(_ROOT) else None,
    )


def _here(text: str, root: Path) -> str:
    """A path inside the image, as it is on this machine."""
    return f"{root}{text.removeprefix(_ROOT)}" if text == _ROOT or text.startswith(f"{_ROOT}/") else text
