"""Locks for a target, from the requirements as they were read and repaired."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7

from flops_builder.resolve.built import BuiltWheel, with_origins
from flops_builder.resolve.lock import Lock, LockStore, lock_key
from flops_builder.resolve.uv import Target, UnresolvableError, Uv

WHEEL_NAME = re.compile(r"([^/\"]+\.whl)")


@dataclass(frozen=True)
class Resolver:
    """Resolves with uv, and keeps what it has found."""

    uv: Uv
    store: LockStore
    folder: Path
    """Scratch."""
    _asked: dict[str, anyio.Lock] = field(default_factory=dict)
    """What the index was asked in this build, for whatever target: its answers lie in uv's cache, and are fresh."""

    async def lock(
        self,
        requirements: Sequence[str],
        target: Target,
        *,
        constraints: Sequence[str] = (),
        excludes: Sequence[str] = (),
        options: Sequence[str] = (),
        wheels: Sequence[BuiltWheel] = (),
    ) -> Lock:
        """The lock of these requirements. `wheels`: what was built here, and counts beside what the index has.

        :raises UnresolvableError: when there is none
        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        built = tuple(f"wheel {each.sha256} {each.origin}" for each in wheels)
        key = self.key(requirements, target, constraints, (*options, *(f"!{each}" for each in excludes), *built))
        known = await anyio.to_thread.run_sync(self.store.get, key)
        if known is not None:
            return known
        refusal = await anyio.to_thread.run_sync(self.store.get_refusal, key)
        if refusal is not None:
            raise UnresolvableError(refusal)
        folder = await self._scratch()
        options = (*options, *_find_links(wheels))
        compiled = partial(self.uv.compile, requirements, target, folder, constraints=constraints, excludes=excludes)
        question = lock_key(requirements, options)
        asked = question in self._asked
        async with self._asked.setdefault(question, anyio.Lock()):
            try:
                text = await _offline_first(compiled, options) if asked else await compiled(options=options)
            except UnresolvableError as error:
                if error.lasting:
                    await anyio.to_thread.run_sync(self.store.put_refusal, key, error.explanation)
                raise
        lock = Lock(with_origins(text, wheels))
        await anyio.to_thread.run_sync(self.store.put, key, lock)
        return lock

    async def sources(
        self,
        requirements: Sequence[str],
        names: Sequence[str],
        target: Target,
        constraints: Sequence[str],
        wheels: Sequence[BuiltWheel],
    ) -> str:
        """A `pylock.toml` with the source archives of the packages that are named.

        :raises UnresolvableError: when there is none
        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        folder = await self._scratch()
        options = _find_links(wheels)
        return await self.uv.compile(
            requirements, target, folder, constraints=constraints, options=options, sources=names, pylock=True
        )

    async def wheel(self, requirement: str, target: Target) -> str:
        """The file name of the wheel that is taken for a requirement by itself; empty when there is none.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        folder = await self._scratch()
        try:
            text = await self.uv.compile([requirement], target, folder, options=("--no-deps",), pylock=True)
        except UnresolvableError:
            return ""
        found = WHEEL_NAME.search(text)
        return found.group(1) if found else ""

    async def _scratch(self) -> Path:
        folder = self.folder / uuid7()
        await anyio.Path(folder).mkdir(parents=True)
        return folder

    def key(
        self, requirements: Sequence[str], target: Target, constraints: Sequence[str] = (), options: Sequence[str] = ()
    ) -> str:
        """Everything that a lock depends on, the state of the index left out."""
        return lock_key(requirements, str(target), target.glibc, constraints, options, self.uv.index.fingerprint)


def _find_links(wheels: Sequence[BuiltWheel]) -> tuple[str, ...]:
    return tuple(f"--find-links={each.file.parent}" for each in wheels)


async def _offline_first(compiled: Callable[..., Awaitable[str]], options: Sequence[str]) -> str:
    try:
        return await compiled(options=[*options, "--offline"])
    except (UnresolvableError, FlopsError):  # what only this target needs is not in the cache
        return await compiled(options=options)
