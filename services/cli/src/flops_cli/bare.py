"""Errors as they were raised, without the task group around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flops_protocol.errors import FlopsError


@contextmanager
def bare_errors() -> Iterator[None]:
    """Lets a FlopsError out of a task group by itself, so that a caller can catch it by its type."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = _first(group)
        if error is None:
            raise
        raise error from None


def _first(group: BaseExceptionGroup[BaseException]) -> FlopsError | None:
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, FlopsError):
            return found
    return None
