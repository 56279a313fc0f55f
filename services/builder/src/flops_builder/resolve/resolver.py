"""Locks for a target, from the requirements as they were read and repaired."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7

from flops_builder.resolve.lock import Lock, LockStore, lock_key
from flops_builder.resolve.uv import Target, UnresolvableError, Uv


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
    ) -> Lock:
        """The lock of these requirements.

        :raises UnresolvableError: when there is none
        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        key = self.key(requirements, target, constraints, (*options, *(f"!{each}" for each in excludes)))
        known = await anyio.to_thread.run_sync(self.store.get, key)
        if known is not None:
            return known
        refusal = await anyio.to_thread.run_sync(self.store.get_refusal, key)
        if refusal is not None:
            raise UnresolvableError(refusal)
        folder = anyio.Path(self.folder / uuid7())
        await folder.mkdir(parents=True)
        compiled = partial(
            self.uv.compile, requirements, target, Path(folder), constraints=constraints, excludes=excludes
        )
        question = lock_key(requirements, options)
        asked = question in self._asked
        async with self._asked.setdefault(question, anyio.Lock()):
            try:
                lock = Lock(await _offline_first(compiled, options) if asked else await compiled(options=options))
            except UnresolvableError as error:
                await anyio.to_thread.run_sync(self.store.put_refusal, key, error.explanation)
                raise
        await anyio.to_thread.run_sync(self.store.put, key, lock)
        return lock

    def key(
        self, requirements: Sequence[str], target: Target, constraints: Sequence[str] = (), options: Sequence[str] = ()
    ) -> str:
        """Everything that a lock depends on, the state of the index left out."""
        return lock_key(requirements, str(target), target.glibc, constraints, options, self.uv.index.fingerprint)


async def _offline_first(compiled: Callable[..., Awaitable[str]], options: Sequence[str]) -> str:
    try:
        return await compiled(options=[*options, "--offline"])
    except (UnresolvableError, FlopsError):  # what only this target needs is not in the cache
        return await compiled(options=options)
