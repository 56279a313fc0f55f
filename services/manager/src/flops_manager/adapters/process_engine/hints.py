"""Things that somebody may want to look at: each is told once, in the order in which it came up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T", bound=Hashable)


class Hints(Generic[T]):
    """A queue for one reader, in which nothing stands twice."""

    def __init__(self) -> None:
        """Empty."""
        self._waiting: dict[T, None] = {}
        self._wake = anyio.Event()

    def add(self, hint: T) -> None:
        """Tells the reader, if it is not going to be told anyway."""
        self._waiting[hint] = None
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Hints, for ever."""
        while True:
            while self._waiting:
                hint = next(iter(self._waiting))
                del self._waiting[hint]
                yield hint
            self._wake = anyio.Event()
            await self._wake.wait()
