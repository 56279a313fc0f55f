"""Meets a registry's challenges: basic authentication, and tokens for what is about to be done."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from flops_protocol.errors import FlopsError

from flops_registry.address import Address
from flops_registry.distribution import challenge
from flops_registry.distribution.credentials import Credentials
from flops_registry.distribution.transport import TRANSIENT, Transient, Transport, retry_after

DEFAULT_SECONDS = 60.0
"""How long a token counts that does not say (distribution's token specification)."""
EARLY_SECONDS = 10.0
MAX_TOKEN_BYTES = 256 * 1024


@dataclass(frozen=True)
class Scope:
    """What is about to be done: where, and whether it writes. `mounted_from` is read on the way."""

    repository: str
    writes: bool = False
    mounted_from: str | None = None
    deletes: bool = False

    def words(self) -> list[str]:
        """As tokens name it."""
        if not self.repository:
            return ["registry:catalog:*"]
        actions = "pull,delete" if self.deletes else "pull,push" if self.writes else "pull"
        own = f"repository:{self.repository}:{actions}"
        return [own, *([f"repository:{self.mounted_from}:pull"] if self.mounted_from else [])]


@dataclass
class Authority:
    """What we may show to one registry."""

    address: Address
    transport: Transport
    credentials: Credentials | None
    _basic: bool = False
    _tokens: dict[Scope, tuple[str, float]] = field(default_factory=dict)

    def header(self, scope: Scope) -> str | None:
        """What is known to be wanted, without another question."""
        if self._basic and self.credentials is not None:
            return self.credentials.basic
        token, until = self._tokens.get(scope, ("", 0.0))
        return f"Bearer {token}" if token and time.monotonic() < until else None

    async def meet(self, header: str, scope: Scope, shown: str | None) -> str | None:
        """What a challenge is met with; None when we have nothing, or nothing but what was shown in vain.

        :raises ConnectionLost: when the token service does not answer
        :raises Transient: when it may do so the next time
        :raises FlopsError: FLOPS-B046 when it refuses, or the token would travel in the clear
        """
        wanted = challenge.read(header)
        if wanted is None:
            return None
        if wanted.scheme == "basic":
            if self.credentials is None or shown == self.credentials.basic:
                return None
            if not self.credentials.user:
                return None
            self._basic = True
            return self.credentials.basic
        asked = wanted.parameters.get("scope", "").split()
        token, seconds = await self._token(wanted, asked or scope.words())
        fresh = f"Bearer {token}"
        if fresh == shown:
            return None
        self._tokens[scope] = token, time.monotonic() + max(1.0, seconds - EARLY_SECONDS)
        return fresh

    def standing(self, shown: object) -> str:
        """For people: with which credentials."""
        if self.credentials is None:
            return "and there are no credentials for it"
        return f"to {self.credentials.user or 'the identity token'}" if shown else "and wants other credentials"

    async def _token(self, wanted: challenge.Challenge, scopes: Sequence[str]) -> tuple[str, float]:
        realm = wanted.realm
        if urlsplit(realm).scheme not in {"http", "https"}:
            raise FlopsError("FLOPS-B041", f"{self.address} sends to {realm[:200]!r} for a token, which is no address")
        if self.address.secure and not realm.startswith("https:"):
            raise FlopsError(
                "FLOPS-B046", f"{self.address} sends to {realm[:200]} for a token: anybody could read along"
            )
        service = {"service": wanted.parameters["service"]} if "service" in wanted.parameters else {}
        body, headers = None, {}
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}"
        if self.credentials is not None and self.credentials.identity_token:
            # OAuth 2 (RFC 6749, section 6), as Docker's registries have it.
            form = {"grant_type": "refresh_token", "refresh_token": self.credentials.identity_token}
            form |= service | {"client_id": "flops-mesh", "scope": " ".join(scopes)}
            method, url, body = "POST", realm, urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            method, url = "GET", url + urlencode([*service.items(), *(("scope", scope) for scope in scopes)])
            if self.credentials is not None:
                headers["Authorization"] = self.credentials.basic
        async with self.transport.send(method, url, headers, body) as answer:
            content = bytearray()
            async for chunk in answer.chunks():
                content += chunk
                if len(content) > MAX_TOKEN_BYTES:
                    break
            if answer.status in TRANSIENT:
                raise Transient(f"{realm} answers {answer.status}", retry_after(answer.headers.get("Retry-After")))
            if answer.status != 200:
                detail = f"{realm} gives no token {self.standing(self.credentials)}: it answers {answer.status}"
                raise FlopsError("FLOPS-B046", detail)
        try:
            value = json.loads(bytes(content))
            token = value.get("token") or value["access_token"]
            seconds = float(value.get("expires_in") or DEFAULT_SECONDS)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FlopsError("FLOPS-B046", f"{realm} answers with no token") from error
        return str(token), seconds
