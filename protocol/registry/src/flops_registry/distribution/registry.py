"""A registry over HTTP, as builder, manager and engines see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import ImageReference, ImageSet, Role
from pydantic import ValidationError

from flops_registry.distribution.authority import Scope
from flops_registry.distribution.book import BlobBook
from flops_registry.distribution.client import Client
from flops_registry.distribution.download import download
from flops_registry.distribution.pushing import Pusher
from flops_registry.distribution.upload import Uploader
from flops_registry.documents import (
    LOCKS_TYPE,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Manifest,
    digest_of,
    parts,
    read,
)
from flops_registry.failures import from_os
from flops_registry.interface import OnBytes, Push, Pushed, nobody
from flops_registry.names import (
    IMAGE_KEY,
    LOCK_DIGEST,
    LOCK_KEY,
    PYTHON,
    SOURCE_KEY,
    TITLE,
    image_tag,
    lock_tag,
    source_tag,
)
from flops_registry.together import together
from flops_registry.uses import UseBook

AT_ONCE = 6
DOCUMENTS = {"Accept": ", ".join(MANIFEST_TYPES)}


@dataclass(frozen=True)
class DistributionRegistry:
    """One registry, as long as its client's transport is open."""

    client: Client
    book: BlobBook | None = None
    uses: UseBook | None = None

    @property
    def compressed(self) -> bool:
        """See `Registry.compressed`."""
        return True

    async def find(self, slug: str, source_key: Digest) -> ImageSet | None:
        """See `Registry.find`. A tag only leads to a manifest; whether it is the one is what its annotations say."""
        learner_at, aggregator_at = f"{slug}/{Role.LEARNER}", f"{slug}/{Role.AGGREGATOR}"
        learner = await self.tagged(learner_at, source_tag(source_key))
        if learner is None:
            return None
        index, digest = learner
        about = index.annotations
        key = about.get(IMAGE_KEY, "")
        if about.get(SOURCE_KEY) != source_key or not key:
            return None
        aggregator = await self.tagged(aggregator_at, image_tag(key))
        if aggregator is None:
            return None
        other, other_digest = aggregator
        if other.annotations.get(IMAGE_KEY) != key or other.annotations.get(SOURCE_KEY) != source_key:
            return None
        try:
            images = ImageSet(
                image_key=key,
                learner=self._reference(learner_at, digest, index),
                aggregator=self._reference(aggregator_at, other_digest, other),
                python=about.get(PYTHON, ""),
                lock_digest=about.get(LOCK_DIGEST, ""),
                lookup="found",
            )
        except ValidationError:
            return None  # written by another version of the mesh: it is built anew
        # Noted first: nobody tidies away what is being looked at.
        await self._note(key)
        if await self._whole(learner_at, index) and await self._whole(aggregator_at, other):
            return images
        return None

    async def find_locks(self, slug: str, lock_key: str) -> Mapping[str, str] | None:
        """See `Registry.find_locks`."""
        repository = f"{slug}/{Role.LEARNER}"
        content = await self.named(repository, lock_tag(lock_key))
        if content is None:
            return None
        try:
            manifest = read(content, Manifest)
            if manifest.artifact_type != LOCKS_TYPE or manifest.annotations.get(LOCK_KEY) != lock_key:
                return None
            return {
                layer.annotations[TITLE]: (await self.content(repository, layer.digest)).decode()
                for layer in manifest.layers
            }
        except (ValueError, KeyError):
            return None  # as if it were not there

    async def push(self, push: Push, on_bytes: OnBytes = nobody) -> Pushed:
        """See `Registry.push`. What was brought before a failure is in nothing's way: no tag leads to it, and the next
        push finds it there.
        """
        try:
            pushed = await Pusher(Uploader(self.client), self.book, push, on_bytes).run()
        except OSError as error:
            raise from_os(error, self.client.address) from error
        for key in {about[IMAGE_KEY] for _, about in push.entries if IMAGE_KEY in about}:
            await self._note(key)
        return pushed

    async def resolve(self, repository: str, tag: str | None) -> Digest | None:
        """See `Registry.resolve`."""
        content = await self.named(repository, tag or "latest")
        return None if content is None else digest_of(content)

    async def manifest(self, repository: str, digest: Digest) -> bytes:
        """See `Registry.manifest`."""
        content = await self.named(repository, digest)
        if content is None:
            raise FlopsError("FLOPS-B041", f"{self.client.address}: {repository}@{digest} is not there")
        return self._compared(digest, content)

    async def content(self, repository: str, digest: Digest) -> bytes:
        """See `Registry.content`."""
        url = self.client.address.url(repository, f"blobs/{digest}")
        reply = await self.client.request("GET", url, self._scope(repository), expected={200})
        return self._compared(digest, reply.content)

    async def blob(self, repository: str, blob: Descriptor, scratch: Path, on_bytes: OnBytes = nobody) -> Path:
        """See `Registry.blob`."""
        target = scratch / blob.digest.replace(":", "-")
        try:
            return await download(self.client, repository, blob, target, on_bytes)
        except OSError as error:
            raise from_os(error, target) from error

    async def tagged(self, repository: str, tag: str) -> tuple[Index, Digest] | None:
        """The index that a tag leads to, and its digest; None when there is none."""
        content = await self.named(repository, tag)
        if content is None:
            return None
        try:
            return read(content, Index), digest_of(content)
        except ValueError:
            return None

    async def named(self, repository: str, reference: str) -> bytes | None:
        """A manifest by tag or digest; None when it is not there."""
        url = self.client.address.url(repository, f"manifests/{reference}")
        reply = await self.client.request("GET", url, self._scope(repository), expected={200, 404}, headers=DOCUMENTS)
        return reply.content if reply.status == 200 else None

    async def _note(self, image_key: Digest) -> None:
        if self.uses is not None:
            await anyio.to_thread.run_sync(self.uses.note, image_key)

    async def _whole(self, repository: str, index: Index) -> bool:
        """Whether every manifest of an index is there, and all that they point at."""
        missing: list[Digest] = []
        seen: set[Digest] = set()

        async def manifest(descriptor: Descriptor) -> None:
            content = await self.named(repository, descriptor.digest)
            if content is None or digest_of(content) != descriptor.digest:
                missing.append(descriptor.digest)
                return
            fresh = [blob for blob in parts(content).blobs if blob.digest not in seen]
            seen.update(blob.digest for blob in fresh)
            await together([partial(blob_there, blob) for blob in fresh], AT_ONCE)

        async def blob_there(blob: Descriptor) -> None:
            if not await Uploader(self.client).has(repository, blob.digest):
                missing.append(blob.digest)

        try:
            await together([partial(manifest, descriptor) for descriptor in index.manifests], AT_ONCE)
        except ValueError:
            return False
        return not missing

    def _compared(self, digest: Digest, content: bytes) -> bytes:
        if digest_of(content) != digest:
            raise FlopsError("FLOPS-B041", f"{self.client.address}: {digest} has other bytes than its digest says")
        return content

    def _reference(self, repository: str, digest: Digest, index: Index) -> ImageReference:
        platforms = sorted(str(each.platform) for each in index.manifests if each.platform is not None)
        return ImageReference.model_validate(
            {
                "registry": str(self.client.address),
                "repository": repository,
                "digest": digest,
                "platforms": platforms,
            }
        )

    def _scope(self, repository: str) -> Scope:
        return Scope(self.client.address.name(repository))
