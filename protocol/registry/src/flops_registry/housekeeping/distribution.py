"""A registry over HTTP, tidied up by deleting manifests; it frees their bytes by itself, later (distribution-spec 1.1,
"Content Management").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import anyio.to_thread
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import Role

from flops_registry.distribution.authority import Scope
from flops_registry.distribution.client import Client
from flops_registry.distribution.referrers import fallback_tag, list_referrers
from flops_registry.distribution.registry import DistributionRegistry
from flops_registry.documents import Index, Listed, digest_of, parts, read
from flops_registry.housekeeping.interface import Removed, StoredImage
from flops_registry.names import IMAGE_KEY, REVISION, SOURCE, SOURCE_KEY, image_tag, source_tag
from flops_registry.together import together

PAGE = 100
AT_ONCE = 6
NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
SOURCE_TAG = re.compile(r"source-[0-9a-f]{64}")
ROLES = (Role.LEARNER, Role.AGGREGATOR)


@dataclass(frozen=True)
class DistributionKeeper:
    """`Keeper` of a server."""

    registry: DistributionRegistry

    async def images(self) -> Sequence[StoredImage]:
        """See `Keeper.images`. The registry's list of repositories (which lookups never need) is read in pages."""
        found: list[StoredImage] = []
        suffix = f"/{Role.LEARNER}"
        prefix = self._client.address.name("")

        async def look(repository: str, tag: str) -> None:
            image = await self._image(repository.removesuffix(suffix), tag)
            if image is not None:
                found.append(image)

        names = await self._listed(f"{self._client.address.origin}/v2/_catalog?n={PAGE}", Scope(""), "repositories")
        ours = [name.removeprefix(prefix) for name in names if name.startswith(prefix) and name.endswith(suffix)]
        for repository in ours:
            url = self._client.address.url(repository, f"tags/list?n={PAGE}")
            tags = await self._listed(url, self._scope(repository), "tags")
            wanted = [tag for tag in tags if SOURCE_TAG.fullmatch(tag)]
            await together([partial(look, repository, tag) for tag in wanted], AT_ONCE)
        unique = {image.image_key: image for image in found}
        return sorted(unique.values(), key=lambda image: image.last_used or datetime.now(UTC), reverse=True)

    async def remove(self, images: Sequence[StoredImage]) -> Removed:
        """See `Keeper.remove`. The tag that a lookup begins with goes first: nobody finds half of an image."""
        gone = []
        for image in images:
            uses = self.registry.uses
            if uses is not None and await anyio.to_thread.run_sync(uses.last, image.image_key) != image.last_used:
                continue
            for role, tag in zip(ROLES, (source_tag(image.source_key), image_tag(image.image_key)), strict=True):
                await self._remove(f"{image.slug}/{role}", tag, image.image_key)
            if uses is not None:
                await anyio.to_thread.run_sync(uses.forget, image.image_key)
            gone.append(image)
        return Removed(tuple(gone), None if gone else 0)

    @property
    def _client(self) -> Client:
        return self.registry.client

    async def _image(self, slug: str, tag: str) -> StoredImage | None:
        learner = await self.registry.tagged(f"{slug}/{Role.LEARNER}", tag)
        if learner is None:
            return None
        index, _ = learner
        about = index.annotations
        key = about.get(IMAGE_KEY, "")
        if source_tag(about.get(SOURCE_KEY, "")) != tag or not key:
            return None
        sizes: dict[Digest, int] = {}
        await self._count(f"{slug}/{Role.LEARNER}", index, sizes)
        aggregator = await self.registry.tagged(f"{slug}/{Role.AGGREGATOR}", image_tag(key))
        if aggregator is not None:
            await self._count(f"{slug}/{Role.AGGREGATOR}", aggregator[0], sizes)
        return StoredImage(
            slug=slug,
            image_key=key,
            source_key=about[SOURCE_KEY],
            source=about.get(SOURCE, ""),
            commit=about.get(REVISION, ""),
            platforms=tuple(sorted(str(each.platform) for each in index.manifests if each.platform)),
            bytes=sum(sizes.values()),
            last_used=await self._last_used(key),
        )

    async def _last_used(self, key: Digest) -> datetime | None:
        """A registry says nothing of that. What nobody has noted ages from now on."""
        uses = self.registry.uses
        last = await anyio.to_thread.run_sync(uses.last, key) if uses else None
        if uses is not None and last is None:
            await anyio.to_thread.run_sync(uses.note, key)
        return last

    async def _count(self, repository: str, index: Index, sizes: dict[Digest, int]) -> None:
        for manifest in index.manifests:
            sizes[manifest.digest] = manifest.size
            content = await self.registry.named(repository, manifest.digest)
            if content is not None:
                sizes.update({blob.digest: blob.size for blob in parts(content).blobs})

    async def _remove(self, repository: str, tag: str, image_key: Digest) -> None:
        tagged = await self.registry.tagged(repository, tag)
        if tagged is None or tagged[0].annotations.get(IMAGE_KEY) != image_key:
            return  # somebody else was faster, or the tag leads to a newer image by now
        index, digest = tagged
        about = [each.digest for each in await list_referrers(self._client, repository, digest)]
        fallback = await self.registry.named(repository, fallback_tag(digest))
        await self._delete(repository, digest)
        for each in [*about, *([digest_of(fallback)] if fallback is not None else [])]:
            await self._delete(repository, each)
        for manifest in index.manifests:
            await self._delete(repository, manifest.digest)

    async def _delete(self, repository: str, digest: Digest) -> None:
        url = self._client.address.url(repository, f"manifests/{digest}")
        scope = Scope(self._client.address.name(repository), deletes=True)
        reply = await self._client.request("DELETE", url, scope, expected={200, 202, 404, 405})
        if reply.status == 405:
            raise FlopsError(
                "FLOPS-B041",
                f"{self._client.address} lets nobody delete (distribution: REGISTRY_STORAGE_DELETE_ENABLED)",
            )

    async def _listed(self, url: str, scope: Scope, what: str) -> list[str]:
        found: list[str] = []
        following: str | None = url
        while following is not None:
            reply = await self._client.request("GET", following, scope, expected={200, 404})
            if reply.status == 404:
                break
            listed = read(reply.content, Listed)
            found += getattr(listed, what) or []
            link = NEXT.search(reply.headers.get("Link", ""))
            following = self._client.address.join(following, link.group(1)) if link else None
        return found

    def _scope(self, repository: str) -> Scope:
        return Scope(self._client.address.name(repository))
