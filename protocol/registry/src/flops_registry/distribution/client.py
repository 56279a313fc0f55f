"""Requests to one registry: with what it wants to see, again where that may help, and with its refusals in words."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from flops_protocol.errors import FlopsError

from flops_registry.address import Address
from flops_registry.distribution.authority import Authority, Scope
from flops_registry.distribution.transport import (
    TRANSIENT,
    Answer,
    Body,
    ConnectionLost,
    Transient,
    Transport,
    retry_after,
)
from flops_registry.documents import MAX_DOCUMENT_BYTES

REFUSED = frozenset({401, 403})


@dataclass(frozen=True)
class Patience:
    """How often, and in which distances, something is tried that may go well the next time."""

    attempts: int = 7
    first_seconds: float = 0.2
    most_seconds: float = 10.0
    asked_seconds: float = 60.0
    """The longest pause that a registry may ask for (`Retry-After`)."""

    async def pause(self, attempt: int, asked: float | None = None) -> None:
        """Waits after so many failures (1 at least): twice as long each time, and never all builders at once."""
        seconds = min(self.first_seconds * 2 ** (attempt - 1), self.most_seconds)
        await anyio.sleep(max(seconds * random.uniform(0.5, 1.5), min(asked or 0.0, self.asked_seconds)))  # noqa: S311


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str
    """What was asked; a `Location` is relative to it."""


@dataclass
class Client:
    """One registry, as long as its transport is open."""

    address: Address
    transport: Transport
    authority: Authority
    patience: Patience = field(default_factory=Patience)

    async def request(
        self,
        method: str,
        url: str,
        scope: Scope,
        *,
        expected: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        attempts: int | None = None,
    ) -> Reply:
        """Asks until there is an answer with an expected status.

        :param attempts: fewer than the client's patience, where the caller knows better what to do after a failure
        :raises FlopsError: FLOPS-B046 when the credentials are refused, FLOPS-B041 for anything else
        :raises Transient: when `attempts` are given and used up
        """
        most = attempts or self.patience.attempts
        for attempt in range(1, most + 1):
            try:
                async with self.open(method, url, scope, expected=expected, headers=headers, body=body) as answer:
                    content = b"" if method == "HEAD" else await _whole(answer)
                    return Reply(answer.status, answer.headers, content, url)
            except (Transient, ConnectionLost) as error:
                if attempt == most:
                    if attempts is not None:
                        raise Transient(str(error), getattr(error, "asked", None)) from error
                    raise self.failed(f"{method} {url}", error, attempt) from error
                await self.patience.pause(attempt, getattr(error, "asked", None))
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        scope: Scope,
        *,
        expected: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> AsyncIterator[Answer]:
        """Asks once (and once more with what the registry wants to see); the body is the caller's to read.

        :raises Transient: when it is worth another try
        :raises ConnectionLost: likewise
        :raises FlopsError: as `request`
        """
        more = dict(headers or {})
        ours = self.address.owns(url)
        known = self.authority.header(scope) if ours else None
        async with self.transport.send(method, url, more | ({"Authorization": known} if known else {}), body) as answer:
            challenge = answer.headers.get("WWW-Authenticate", "")
            if not (ours and answer.status == 401 and challenge):
                await self._check(method, url, answer, expected)
                yield answer
                return
        fresh = await self.authority.meet(challenge, scope, known)
        if fresh is None:
            raise FlopsError("FLOPS-B046", f"{self.address} answers 401 {self.authority.standing(known)}")
        async with self.transport.send(method, url, more | {"Authorization": fresh}, body) as answer:
            await self._check(method, url, answer, expected)
            yield answer

    def failed(self, what: str, error: Exception, attempts: int) -> FlopsError:
        """The error for what went wrong every time."""
        return FlopsError("FLOPS-B041", f"{what}: {error} ({attempts} attempts)"[:1000])

    async def _check(self, method: str, url: str, answer: Answer, expected: Collection[int]) -> None:
        if answer.status in expected:
            return
        said = refusal(answer.status, b"" if method == "HEAD" else await _whole(answer))
        if answer.status in TRANSIENT:
            raise Transient(said, retry_after(answer.headers.get("Retry-After")))
        if answer.status in REFUSED:
            detail = f"{self.address} answers {said} {self.authority.standing(True)}"
            raise FlopsError("FLOPS-B046", detail[:1000])
        raise FlopsError("FLOPS-B041", f"{method} {url.partition('?')[0]}: the registry answers {said}"[:1000])


def refusal(status: int, content: bytes) -> str:
    """What a registry said no with (distribution-spec, "Error Codes"): status, codes and messages."""
    try:
        errors = json.loads(content)["errors"]
        words = [f"{error.get('code', '')}: {error.get('message', '')}".strip(": ") for error in errors]
        told = "; ".join(word for word in words if word)
    except (ValueError, KeyError, TypeError, AttributeError):
        told = " ".join(content[:200].decode(errors="replace").split())
    return f"{status} ({told})" if told else str(status)


async def _whole(answer: Answer) -> bytes:
    content = bytearray()
    async for chunk in answer.chunks():
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise FlopsError("FLOPS-B041", f"the registry answers with more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(content)
