"""Task groups whose failure is one error, as a caller wants to see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup
from flops_protocol.errors import FlopsError


@asynccontextmanager
async def tasks() -> AsyncIterator[TaskGroup]:
    """A task group. When several of its tasks fail, the error that a person can act on is raised, and only that.

    :raises FlopsError: the first one, where there is one among the failures
    :raises BaseException: the first failure else
    """
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as failed:
        raise first(failed) from failed


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one of a group's errors, at any depth, that a person can act on; else its first."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        else:
            leaves.append(each)
    ordered = sorted(leaves, key=lambda leaf: (not isinstance(leaf, FlopsError), not isinstance(leaf, OSError)))
    return ordered[0]
