"""What we want of HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol


class ConnectionLost(OSError):  # noqa: N818 - it is what happened
    """Raised when a connection could not be made, broke, or said nothing for too long: asking again may help."""


TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be another one the next time."""


class Transient(Exception):  # noqa: N818 - it is what happened
    """Raised for such an answer."""

    def __init__(self, reason: str, asked: float | None = None) -> None:
        super().__init__(reason)
        self.asked = asked
        """Seconds that the other side wants us to wait."""


def retry_after(header: str | None) -> float | None:
    """Seconds of a `Retry-After` (RFC 9110, section 10.2.3); None when it has none."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


@dataclass(frozen=True)
class FilePart:
    """A part of a file as a request's body."""

    file: Path
    start: int
    length: int


Body = bytes | FilePart


class Answer(Protocol):
    """The head of an answer, whose body can be read once."""

    @property
    def status(self) -> int:
        """HTTP's status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Whatever case a name is asked in."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it comes.

        :raises ConnectionLost: when it ends before it is whole
        """
        ...


class Transport(Protocol):
    """Sends requests. Follows redirects of GET and HEAD; takes no `Authorization` to another host with it."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> AbstractAsyncContextManager[Answer]:
        """Sends one request.

        :raises ConnectionLost: when asking again may help
        :raises FlopsError: FLOPS-B041 when it would not: the certificate is not trusted
        """
        ...
