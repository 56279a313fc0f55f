"""The order of a push: blobs, then the manifests that need them, and the tags by which they are found at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import Role

from flops_registry.distribution.book import BlobBook
from flops_registry.distribution.referrers import SUBJECT, add_to_fallback
from flops_registry.distribution.upload import Source, Uploader
from flops_registry.documents import Blob, Manifest, parts, read
from flops_registry.interface import OnBytes, Push, Pushed
from flops_registry.names import (
    IMAGE_KEY,
    LOCK_KEY,
    REFERENCE,
    ROLE,
    SOURCE_KEY,
    image_tag,
    lock_tag,
    source_tag,
    split_reference,
)
from flops_registry.together import together

BLOBS_AT_ONCE = 3
MANIFESTS_AT_ONCE = 6


@dataclass
class Pusher:
    """One push."""

    uploader: Uploader
    book: BlobBook | None
    what: Push
    on_bytes: OnBytes
    bytes: int = 0
    blobs: int = 0
    skipped: list[Digest] = field(default_factory=list)
    _sources: dict[Digest, Source] = field(default_factory=dict)

    async def run(self) -> Pushed:
        """All of it.

        :raises FlopsError: FLOPS-B041, FLOPS-B046
        """
        documents = {each.digest: each for each in self.what.documents}
        places = _places(self.what)
        wanted: dict[Digest, list[str]] = {}
        manifests: dict[str, dict[Digest, Blob]] = {}
        for top, repository in places:
            for manifest in _manifests(top, documents):
                manifests.setdefault(repository, {})[manifest.digest] = manifest
                for blob in parts(manifest.content).blobs:
                    if repository not in wanted.setdefault(blob.digest, []):
                        wanted[blob.digest].append(repository)
        self._sources = await anyio.to_thread.run_sync(_sources, self.what, documents)
        # What is big goes first: it is what the others are waited with.
        order = sorted(wanted, key=lambda digest: -self._size(digest))
        await together([partial(self._bring, digest, wanted[digest]) for digest in order], BLOBS_AT_ONCE)
        tops = {top.digest for top, _ in places}
        below = [
            partial(self._put, repository, manifest, manifest.digest)
            for repository, found in manifests.items()
            for manifest in found.values()
            if manifest.digest not in tops
        ]
        await together(below, MANIFESTS_AT_ONCE)
        await self._name(places)
        return Pushed(self.bytes, self.blobs, self.skipped)

    async def _bring(self, digest: Digest, repositories: list[str]) -> None:
        """One blob, into all repositories that need it: into the first, and from there into the others."""
        name = self.uploader.client.address.name
        moved = False
        elsewhere = await self._elsewhere(digest)
        for repository in repositories:
            if await self.uploader.take(repository, digest, elsewhere) is None:
                await self.uploader.upload(repository, await self._source(digest), self.on_bytes)
                moved = True
            elsewhere = [name(repositories[0])]
        if self.book:
            await anyio.to_thread.run_sync(self.book.note, digest, name(repositories[0]))
        if moved:
            self.bytes += self._size(digest)
            self.blobs += 1
        else:
            self.skipped.append(digest)

    async def _elsewhere(self, digest: Digest) -> list[str]:
        """Where else in this registry the blob may be, by the registry's own names."""
        found = []
        if self.book and (known := await anyio.to_thread.run_sync(self.book.where, digest)):
            found.append(known)
        borrowed = self.what.borrowed.get(digest)
        if borrowed is not None and borrowed.registry == self.uploader.client.address.origin:
            found.append(borrowed.repository)
        return found

    async def _source(self, digest: Digest) -> Source:
        if digest in self._sources:
            return self._sources[digest]
        return Source(digest, self._size(digest), await self.what.borrowed[digest].fetch())

    def _size(self, digest: Digest) -> int:
        if digest in self._sources:
            return self._sources[digest].size
        return self.what.borrowed[digest].descriptor.size

    async def _put(self, repository: str, manifest: Blob, reference: str) -> bool:
        """Puts a manifest; whether the registry lists it as a referrer by itself."""
        client = self.uploader.client
        url = client.address.url(repository, f"manifests/{reference}")
        headers = {"Content-Type": manifest.media_type}
        scope = self.uploader.scope(repository)
        reply = await client.request("PUT", url, scope, expected={201}, headers=headers, body=manifest.content)
        return SUBJECT in reply.headers

    async def _name(self, places: list[tuple[Blob, str]]) -> None:
        """Tags and lists. What a lookup begins with comes last: when it is there, everything is."""
        unlisted: dict[tuple[str, Digest], list[Blob]] = {}
        last: list[tuple[str, Blob, str]] = []
        for (top, about), (_, repository) in zip(self.what.entries, places, strict=True):
            subject = _subject(top)
            listed = await self._put(repository, top, top.digest)
            if subject is not None and not listed:
                unlisted.setdefault((repository, subject), []).append(top)
            last += [(repository, top, tag) for tag in _tags(about, artifact=subject is not None)]
        for (repository, subject), artifacts in unlisted.items():
            await add_to_fallback(self.uploader.client, repository, subject, artifacts)
        for repository, top, tag in sorted(last, key=lambda each: each[2].startswith("source-")):
            await self._put(repository, top, tag)


def _places(push: Push) -> list[tuple[Blob, str]]:
    """Each entry with its repository. An artifact lies where its subject does (distribution-spec, "Referrers")."""
    own = {
        top.digest: split_reference(annotations[REFERENCE])[0]
        for top, annotations in push.entries
        if _subject(top) is None
    }
    return [
        (top, own.get(_subject(top) or top.digest, split_reference(annotations[REFERENCE])[0]))
        for top, annotations in push.entries
    ]


def _tags(about: Mapping[str, str], *, artifact: bool) -> Iterator[str]:
    if LOCK_KEY in about:
        yield lock_tag(about[LOCK_KEY])
    if artifact:
        return  # it is found through its subject
    yield split_reference(about[REFERENCE])[1]
    if about.get(ROLE) == Role.LEARNER:
        yield source_tag(about[SOURCE_KEY])
    elif IMAGE_KEY in about:
        yield image_tag(about[IMAGE_KEY])


def _manifests(top: Blob, documents: Mapping[Digest, Blob]) -> Iterator[Blob]:
    for below in parts(top.content).documents:
        yield from _manifests(documents[below.digest], documents)
    yield top


def _sources(push: Push, documents: Mapping[Digest, Blob]) -> dict[Digest, Source]:
    files = {digest: Source(digest, file.stat().st_size, file) for digest, file in push.files.items()}
    return files | {each.digest: Source(each.digest, each.size, each.content) for each in documents.values()}


def _subject(top: Blob) -> Digest | None:
    if "subject" not in json.loads(top.content):
        return None
    subject = read(top.content, Manifest).subject
    return subject.digest if subject else None
