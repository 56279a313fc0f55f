"""An OCI image layout folder as a registry (OCI image-spec 1.1, image-layout.md).

Blobs come in by a hard link where they lie on the same disk, by a copy else, under a name of their own that is changed
when they are whole. `index.json` is replaced in one step, under a lock, after all that it points at is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest, uuid7
from flops_protocol.messages.project import ImageSet
from pydantic import ValidationError

from flops_registry.documents import (
    INDEX_TYPE,
    LOCKS_TYPE,
    MAX_DOCUMENT_BYTES,
    Blob,
    Descriptor,
    Manifest,
    digest_of,
    parts,
    read,
)
from flops_registry.failures import from_os
from flops_registry.interface import OnBytes, Push, Pushed, nobody
from flops_registry.names import IMAGE_KEY, IMAGE_SET, LOCK_KEY, REFERENCE, SOURCE_KEY, TITLE
from flops_registry.uses import UseBook

LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class LayoutRegistry:
    """A folder on this machine. It need not be there yet."""

    folder: Path

    @property
    def uses(self) -> UseBook:
        """When each image was used last."""
        return UseBook(self.folder / "used")

    @property
    def compressed(self) -> bool:
        """See `Registry.compressed`. Not on the same disk: to link a layer takes no time, to compress it seconds."""
        return False

    async def find(self, slug: str, source_key: Digest) -> ImageSet | None:
        """See `Registry.find`."""
        del slug  # a layout has one index for all repositories
        return await anyio.to_thread.run_sync(self._find, source_key)

    async def find_locks(self, slug: str, lock_key: str) -> Mapping[str, str] | None:
        """See `Registry.find_locks`."""
        del slug
        return await anyio.to_thread.run_sync(self._find_locks, lock_key)

    async def push(self, push: Push, on_bytes: OnBytes = nobody) -> Pushed:
        """See `Registry.push`. Runs to its end even when it is cancelled: it is short, and then it is whole."""
        for digest, borrowed in push.borrowed.items():
            if not await anyio.to_thread.run_sync(self._has, digest, borrowed.descriptor.size):
                push = replace(push, files={**push.files, digest: await borrowed.fetch()})
        try:
            # Cancelling must not leave it between two steps; `abandon_on_cancel` is off, so this waits for the thread.
            pushed = await anyio.to_thread.run_sync(self._push, push)
        except OSError as error:
            raise from_os(error, self.folder) from error
        on_bytes(pushed.bytes)
        return pushed

    async def resolve(self, repository: str, tag: str | None) -> Digest | None:
        """See `Registry.resolve`."""
        del repository
        entries = await anyio.to_thread.run_sync(self.entries)
        if tag is None:
            return entries[0].digest if len(entries) == 1 else None
        named = [entry.digest for entry in entries if entry.annotations.get(REFERENCE) == tag]
        return named[-1] if named else None

    async def manifest(self, repository: str, digest: Digest) -> bytes:
        """See `Registry.manifest`."""
        return await self.content(repository, digest)

    async def content(self, repository: str, digest: Digest) -> bytes:
        """See `Registry.content`."""
        del repository
        try:
            return await anyio.to_thread.run_sync(self.read_document, digest)
        except OSError as error:
            raise from_os(error, f"{self.folder}: {digest}") from error
        except ValueError as error:
            raise FlopsError("FLOPS-B041", f"{self.folder}: {error}") from error

    async def blob(self, repository: str, blob: Descriptor, scratch: Path, on_bytes: OnBytes = nobody) -> Path:
        """See `Registry.blob`. Who reads it compares its bytes with its digest."""
        del repository, scratch, on_bytes
        if not await anyio.to_thread.run_sync(self._has, blob.digest, blob.size):
            raise FlopsError("FLOPS-B041", f"{self.folder}: {blob.digest} is not there in its full size")
        return self.path(blob.digest)

    def _find(self, source_key: Digest) -> ImageSet | None:
        for entry in reversed(self.entries()):
            if entry.annotations.get(SOURCE_KEY) != source_key or IMAGE_SET not in entry.annotations:
                continue
            try:
                images = ImageSet.model_validate_json(entry.annotations[IMAGE_SET], extra="ignore")
            except ValidationError:
                continue  # written by another version of the mesh: it is built anew
            if images.image_key != entry.annotations.get(IMAGE_KEY):
                continue
            if self._take_for_use(images):
                # The folder may have been moved since.
                here = {"registry": f"oci:{self.folder}"}
                return images.model_copy(
                    update={
                        "lookup": "found",
                        "learner": images.learner.model_copy(update=here),
                        "aggregator": images.aggregator.model_copy(update=here),
                    }
                )
        return None

    def _take_for_use(self, images: ImageSet) -> bool:
        """Whether all of it is there; then its use is noted, so that nobody tidies it away from now on."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # in a folder that is read-only nobody tidies up either
                stack.enter_context(self.locked())
            whole = all(self._whole(image.digest) for image in (images.learner, images.aggregator))
            if whole:
                self.uses.note(images.image_key)
            return whole

    def _find_locks(self, lock_key: str) -> Mapping[str, str] | None:
        for entry in reversed(self.entries()):
            if entry.artifact_type != LOCKS_TYPE or entry.annotations.get(LOCK_KEY) != lock_key:
                continue
            try:
                manifest = read(self.read_document(entry.digest), Manifest)
                return {layer.annotations[TITLE]: self.path(layer.digest).read_text() for layer in manifest.layers}
            except (OSError, ValueError, KeyError):
                continue  # a part is missing: as if it were not there
        return None

    def read_document(self, digest: Digest) -> bytes:
        """A small blob's bytes, compared with their digest.

        :raises OSError: when it cannot be read
        :raises ValueError: when it is too big, or something else
        """
        path = self.path(digest)
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{digest} is too big for a document")
        content = path.read_bytes()
        if digest_of(content) != digest:
            raise ValueError(f"{digest} has other bytes than its digest says")
        return content

    def _whole(self, digest: Digest) -> bool:
        """Whether a document and everything below it is there, in its full size."""
        try:
            below = parts(self.read_document(digest))
        except (OSError, ValueError):
            return False
        return all(self._has(part.digest, part.size) for part in (*below.documents, *below.blobs)) and all(
            self._whole(part.digest) for part in below.documents
        )

    def _push(self, push: Push) -> Pushed:
        (self.folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        brought: dict[Digest, int] = {}
        skipped: list[Digest] = []
        try:
            self._bring(push, brought, skipped)
            with self.locked():
                # Another builder that failed may have taken back what we have skipped.
                self._bring(push, brought, [])
                self._write_index(push)
                for key in {about[IMAGE_KEY] for _, about in push.entries if IMAGE_KEY in about}:
                    self.uses.note(key)
        except BaseException:
            with contextlib.suppress(OSError), self.locked():
                self._take_back(brought)
            raise
        return Pushed(sum(brought.values()), len(brought), skipped)

    def _bring(self, push: Push, brought: dict[Digest, int], skipped: list[Digest]) -> None:
        for digest, file in push.files.items():
            size = file.stat().st_size
            if self._has(digest, size):
                skipped.append(digest)
            else:
                self._put(digest, partial(_link_or_copy, file))
                brought[digest] = size
        for each in push.documents:
            if self._has(each.digest, each.size):
                skipped.append(each.digest)
            else:
                self._put(each.digest, partial(_write, each.content))
                brought[each.digest] = each.size

    def _put(self, digest: Digest, write: Callable[[Path], None]) -> None:
        new = self.folder / "blobs" / "sha256" / f".{uuid7()}"
        try:
            write(new)
            new.replace(self.path(digest))
        finally:
            new.unlink(missing_ok=True)

    def _take_back(self, brought: Mapping[Digest, int]) -> None:
        for digest in brought.keys() - self.reachable(entry.digest for entry in self.entries()):
            self.path(digest).unlink(missing_ok=True)

    def reachable(self, digests: Iterable[Digest]) -> set[Digest]:
        """These documents, and everything below them."""
        reached: set[Digest] = set()
        waiting = list(digests)
        while waiting:
            digest = waiting.pop()
            if digest in reached:
                continue
            reached.add(digest)
            with contextlib.suppress(OSError, ValueError):
                below = parts(self.read_document(digest))
                waiting += [part.digest for part in below.documents]
                reached |= {part.digest for part in below.blobs}
        return reached

    def _write_index(self, push: Push) -> None:
        new_entries = [
            blob.descriptor(annotations=dict(annotations), **_artifact(blob)) for blob, annotations in push.entries
        ]
        references = {entry["annotations"][REFERENCE] for entry in new_entries}
        others = [
            entry for entry in self.raw_entries() if entry.get("annotations", {}).get(REFERENCE) not in references
        ]
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*others, *new_entries]}
        self.replace_document("oci-layout", {"imageLayoutVersion": "1.0.0"})
        self.replace_document("index.json", index)

    def replace_document(self, name: str, value: Mapping[str, Any]) -> None:
        """Replaces a file of the layout in one step."""
        new = self.folder / f".{name}-{uuid7()}"
        try:
            with new.open("w") as stream:
                json.dump(value, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.folder / name)
        finally:
            new.unlink(missing_ok=True)

    def entries(self) -> list[Descriptor]:
        """What the index points at.

        :raises FlopsError: FLOPS-B041 when it cannot be read
        """
        entries = []
        for entry in self.raw_entries():
            with contextlib.suppress(ValidationError):  # what others put there need not be readable to us
                entries.append(Descriptor.model_validate(entry))
        return entries

    def raw_entries(self) -> list[dict[str, Any]]:
        """The entries with all that others may have written into them."""
        path = self.folder / "index.json"
        try:
            index = json.loads(path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise from_os(error, path) from error
        except ValueError as error:
            raise FlopsError("FLOPS-B041", f"{path} is damaged: {error}") from error
        entries = index.get("manifests", []) if isinstance(index, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FlopsError("FLOPS-B041", f"{path} is damaged: it is no index")
        return entries

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the index, or takes blobs away, while the block runs.

        :raises FlopsError: FLOPS-B041 when somebody else has it for too long
        """
        with (self.folder / ".lock").open("w") as stream:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise FlopsError(
                            "FLOPS-B041", f"{self.folder} has been locked for {LOCK_SECONDS:.0f} s"
                        ) from error
                    time.sleep(0.02)  # in a worker thread; the lock is held for milliseconds
            yield

    def _has(self, digest: Digest, size: int) -> bool:
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def path(self, digest: Digest) -> Path:
        """Where a blob is; it may be missing."""
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _artifact(blob: Blob) -> dict[str, str]:
    kind = json.loads(blob.content).get("artifactType")
    return {} if kind is None else {"artifactType": kind}


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o444)


def _write(content: bytes, target: Path) -> None:
    target.write_bytes(content)
