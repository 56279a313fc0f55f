"""Sources fetched, without running anything of them: archives as the index settings say, repositories at one commit."""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import anyio
import httpx
from flops_protocol.errors import FlopsError

from flops_builder.resolve.index import Index
from flops_builder.sdist.unpack import ArchiveLimits, UnsafeArchiveError, unpack
from flops_builder.settings import BuilderSettings
from flops_builder.source.git import fetch, resolve_ref
from flops_builder.source.location import locate, public_url
from flops_builder.source.tree import write_tree

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
TIMEOUT_SECONDS = 30.0
UNPACKED_TIMES = 8
"""How many times as big as the archive itself its files may be together."""


@dataclass(frozen=True)
class Source:
    """A project's source, unpacked."""

    origin: str
    """Where it comes from, as the lock says it: a file's name or a URL without credentials, at one commit."""
    digest: str
    """SHA-256 of the archive; of a repository, of its address with the commit."""
    folder: Path


@dataclass(frozen=True)
class Fetcher:
    """Fetches sources into `folder`, which must be there."""

    index: Index
    settings: BuilderSettings
    folder: Path

    async def release(self, url: str, sha256: str | None) -> Source:
        """The source archive of a release that the index or a folder of `--find-links` has.

        :raises FlopsError: FLOPS-B025 when it cannot be had, FLOPS-B028 when it is not what was announced or not safe
        """
        parts = urlsplit(url)
        name = unquote(parts.path.rpartition("/")[2])
        if parts.scheme == "file":
            archive = Path(unquote(parts.path))
            digest = await anyio.to_thread.run_sync(_digest, archive)
        else:
            archive, digest = await self._download(url, name)
        _check(name, digest, sha256)
        return await self._unpacked(archive, digest, name)

    async def direct(self, name: str, url: str) -> Source:
        """What a requirement's own URL points at: an archive, or a Git repository.

        :raises FlopsError: as `release`; FLOPS-B006 when this kind of URL is not allowed, FLOPS-B001 to FLOPS-B008 of
            a repository
        """
        if url.startswith("git+"):
            return await self._repository(url.removeprefix("git+"))
        parts = urlsplit(url)
        allowed = parts.scheme == "https" or (parts.scheme == "http" and self.settings.allow_http)
        if not allowed or not parts.hostname:
            raise FlopsError(
                "FLOPS-B006", f"{name} @ {public_url(url)}: sources come over https, or git+https, git+ssh"
            )
        wanted = parse_qs(parts.fragment)
        bare = urlunsplit((parts.scheme, parts.netloc, parts.path, parts.query, ""))
        file = unquote(parts.path.rpartition("/")[2]) or "archive"
        archive, digest = await self._download(bare, file)
        _check(file, digest, wanted.get("sha256", [None])[0])
        source = await self._unpacked(archive, digest, public_url(bare))
        return _below(source, wanted.get("subdirectory", [""])[0])

    async def _repository(self, url: str) -> Source:
        address, _, fragment = url.partition("#")
        head, at, ref = address.rpartition("@")
        if not at or "/" not in head.partition("://")[2]:  # the @ of `git+ssh://git@host/…` names no ref
            head, ref = address, "HEAD"
        # A local repository may be anywhere below FLOPS_LOCAL_REPOSITORIES: `locate` says which.
        location = locate(head, self.settings.local_repositories, allow_http=self.settings.allow_http)
        place = self.folder / f"git-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        commit = ref if COMMIT.fullmatch(ref) else await resolve_ref(location, ref, place / "refs", self.settings)
        store = await fetch(location, commit, place / "store", self.settings, lambda _: None)
        tree = await write_tree(store, commit, place / "tree", self.settings)
        subdirectory = parse_qs(fragment).get("subdirectory", [""])[0]
        suffix = f"#subdirectory={subdirectory}" if subdirectory else ""
        origin = f"git+{public_url(head)}@{commit}"
        digest = hashlib.sha256(f"{origin}{suffix}".encode()).hexdigest()
        return _below(Source(origin, digest, tree.folder), subdirectory)

    async def _download(self, url: str, name: str) -> tuple[Path, str]:
        target = self.folder / hashlib.sha256(url.encode()).hexdigest()[:16]
        digest, size = hashlib.sha256(), 0
        limit = self.settings.max_source_bytes
        try:
            with anyio.fail_after(self.settings.index_seconds):
                async with (
                    self._client(url) as client,
                    client.stream("GET", url) as answer,
                    await anyio.open_file(target, "wb") as file,
                ):
                    answer.raise_for_status()
                    # The bytes as they came: unpacked, an archive would have another hash.
                    async for chunk in answer.aiter_raw():
                        size += len(chunk)
                        if size > limit:
                            raise FlopsError("FLOPS-B028", f"{name} is over {limit // 1_000_000} MB")
                        digest.update(chunk)
                        await file.write(chunk)
        except (httpx.HTTPError, TimeoutError) as error:
            raise FlopsError("FLOPS-B025", f"{name} could not be fetched: {error or type(error).__name__}") from error
        return target, digest.hexdigest()

    def _client(self, url: str) -> httpx.AsyncClient:
        environment = self.index.environment
        bundle = environment.get("SSL_CERT_FILE")
        verify = ssl.create_default_context(cafile=bundle) if bundle else True
        auth = self._credentials(url)
        return httpx.AsyncClient(
            verify=verify,
            auth=auth,
            follow_redirects=True,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept-Encoding": "identity"},
        )

    def _credentials(self, url: str) -> httpx.Auth | None:
        """Those of an index on the same host, else what the user's netrc has."""
        host = urlsplit(url).hostname
        for place in self._places():
            parts = urlsplit(place)
            if parts.hostname == host and parts.username:
                return httpx.BasicAuth(unquote(parts.username), unquote(parts.password or ""))
        home = self.index.environment.get("HOME", "/nonexistent")
        netrc = Path(self.index.environment.get("NETRC") or f"{home}/.netrc")
        return httpx.NetRCAuth(str(netrc)) if netrc.is_file() else None

    def _places(self) -> Iterator[str]:
        for argument in self.index.arguments:
            yield argument.partition("=")[2]
        for name, value in self.index.environment.items():
            if name.startswith("UV_") and "INDEX" in name:
                yield from (
                    each.partition("=")[2] if "=" in each.partition("://")[0] else each for each in value.split()
                )

    async def _unpacked(self, archive: Path, digest: str, origin: str) -> Source:
        folder = self.folder / f"source-{digest[:16]}"
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        limits = ArchiveLimits(self.settings.max_source_bytes * UNPACKED_TIMES, self.settings.max_source_files)
        try:
            project = await anyio.to_thread.run_sync(unpack, archive, folder, limits)
        except UnsafeArchiveError as error:
            raise FlopsError("FLOPS-B028", f"{origin}: {error}") from error
        return Source(origin, digest, project)


def _below(source: Source, subdirectory: str) -> Source:
    if not subdirectory:
        return source
    folder = (source.folder / subdirectory).resolve()
    if not folder.is_relative_to(source.folder.resolve()) or not folder.is_dir():
        raise FlopsError("FLOPS-B028", f"{source.origin} has no folder {subdirectory}")
    digest = hashlib.sha256(f"{source.digest} {subdirectory}".encode()).hexdigest()
    return Source(f"{source.origin}#subdirectory={subdirectory}", digest, folder)


def _check(name: str, digest: str, wanted: str | None) -> None:
    if wanted is not None and wanted.lower() != digest:
        raise FlopsError("FLOPS-B028", f"{name} has SHA-256 {digest}, not {wanted}")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
