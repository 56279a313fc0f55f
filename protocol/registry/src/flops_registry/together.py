"""Several things at once, of which one failure is the failure of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio


async def together(calls: Iterable[Callable[[], Awaitable[object]]], at_once: int) -> None:
    """Runs all of them, so many at a time. The first failure ends the others, and is raised as it is."""
    limiter = anyio.CapacityLimiter(at_once)

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        async with limiter:
            await call()

    try:
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(run, call)
    except BaseExceptionGroup as failed:
        raise _first(failed) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
