"""Locks for a target, from the requirements as they were read and repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_protocol.identifiers import uuid7

from flops_builder.resolve.lock import Lock, LockStore, lock_key
from flops_builder.resolve.uv import Target, Uv


@dataclass(frozen=True)
class Resolver:
    """Resolves with uv, and keeps what it has found."""

    uv: Uv
    store: LockStore
    folder: Path
    """Scratch."""

    async def lock(
        self,
        requirements: Sequence[str],
        target: Target,
        *,
        constraints: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> Lock:
        """The lock of these requirements.

        :raises UnresolvableError: when there is none
        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        key = self.key(requirements, target, constraints, options)
        known = await anyio.to_thread.run_sync(self.store.get, key)
        if known is not None:
            return known
        folder = anyio.Path(self.folder / uuid7())
        await folder.mkdir(parents=True)
        lock = Lock(await self.uv.compile(requirements, target, Path(folder), constraints=constraints, options=options))
        await anyio.to_thread.run_sync(self.store.put, key, lock)
        return lock

    def key(
        self, requirements: Sequence[str], target: Target, constraints: Sequence[str] = (), options: Sequence[str] = ()
    ) -> str:
        """Everything that a lock depends on, the state of the index left out."""
        return lock_key(requirements, str(target), target.glibc, constraints, options, self.uv.index.fingerprint)
