"""A layout folder, tidied up: entries go, then every blob that nothing points at any more, all under the lock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio.to_thread
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import ImageSet, Role
from pydantic import ValidationError

from flops_registry.documents import INDEX_TYPE, Descriptor, Index, read
from flops_registry.failures import from_os
from flops_registry.housekeeping.interface import Removed, StoredImage
from flops_registry.layout import LayoutRegistry
from flops_registry.names import IMAGE_KEY, IMAGE_SET, REVISION, ROLE, SOURCE, SOURCE_KEY

LEFT_SECONDS = 86_400.0
"""After this time, a file that was coming in has been left by a killed builder."""


@dataclass(frozen=True)
class LayoutKeeper:
    """`Keeper` of a folder."""

    registry: LayoutRegistry

    async def images(self) -> Sequence[StoredImage]:
        """See `Keeper.images`."""
        return await anyio.to_thread.run_sync(self._images)

    async def remove(self, images: Sequence[StoredImage]) -> Removed:
        """See `Keeper.remove`."""
        try:
            return await anyio.to_thread.run_sync(self._remove, images)
        except OSError as error:
            raise from_os(error, self.registry.folder) from error

    def _images(self) -> list[StoredImage]:
        found: dict[Digest, StoredImage] = {}
        for entry in self.registry.entries():
            if entry.annotations.get(ROLE) == Role.LEARNER and (image := self._image(entry)):
                found[image.image_key] = image
        return sorted(
            found.values(), key=lambda image: image.last_used or datetime.min.replace(tzinfo=UTC), reverse=True
        )

    def _image(self, entry: Descriptor) -> StoredImage | None:
        about = entry.annotations
        try:
            images = ImageSet.model_validate_json(about[IMAGE_SET], extra="ignore")
            index = read(self.registry.read_document(entry.digest), Index)
            made = datetime.fromtimestamp(self.registry.path(entry.digest).stat().st_mtime, UTC)
        except (KeyError, ValidationError, ValueError, OSError):
            return None
        reached = self.registry.reachable([images.learner.digest, images.aggregator.digest])
        return StoredImage(
            slug=images.learner.repository.rpartition("/")[0],
            image_key=images.image_key,
            source_key=about.get(SOURCE_KEY, ""),
            source=index.annotations.get(SOURCE, ""),
            commit=index.annotations.get(REVISION, ""),
            platforms=tuple(images.learner.platforms),
            bytes=sum(self._size(digest) for digest in reached),
            last_used=self.registry.uses.last(images.image_key) or made,
        )

    def _remove(self, images: Sequence[StoredImage]) -> Removed:
        if not images:
            return Removed()
        with self.registry.locked():
            known = {image.image_key: image for image in self._images()}
            # One that was found by somebody since it was chosen is about to be used.
            gone = [image for image in images if known.get(image.image_key) == image]
            keys = {image.image_key for image in gone}
            kept = [
                entry
                for entry in self.registry.raw_entries()
                if (entry.get("annotations") or {}).get(IMAGE_KEY) not in keys
            ]
            self.registry.replace_document(
                "index.json", {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": kept}
            )
            freed = self._sweep()
        for key in keys:
            self.registry.uses.forget(key)
        return Removed(tuple(gone), freed)

    def _sweep(self) -> int:
        """Removes blobs that no entry leads to. A build at work brings again what it finds missing (`push`)."""
        marked = self.registry.reachable(entry.digest for entry in self.registry.entries())
        freed = 0
        for file in (self.registry.folder / "blobs" / "sha256").iterdir():
            arriving = file.name.startswith(".")
            try:
                status = file.stat()
            except FileNotFoundError:
                continue  # it was arriving, and has its name by now
            if arriving and time.time() - status.st_mtime < LEFT_SECONDS:
                continue
            if arriving or f"sha256:{file.name}" not in marked:
                # What the builder's cache has, too, is not free yet.
                freed += status.st_size if status.st_nlink == 1 else 0
                file.unlink(missing_ok=True)
        return freed

    def _size(self, digest: Digest) -> int:
        try:
            return self.registry.path(digest).stat().st_size
        except OSError:
            return 0
