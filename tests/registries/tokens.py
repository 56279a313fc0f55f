"""A token service as registries send to (distribution's "token" scheme): signs what those it knows ask for."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.registries.process import PASSWORD, USER

SERVICE, ISSUER = "test-registry", "test-issuer"


@dataclass
class TokenService:
    """Where it listens, and what it was asked for."""

    url: str = ""
    seconds: int = 300
    """How long its tokens count."""
    asked: list[list[str]] = field(default_factory=list)
    refuse: bool = False
    hidden: set[str] = field(default_factory=set)
    """Repositories that nobody gets a token for."""
    _authority: trustme.CA = field(default_factory=trustme.CA)

    def settings(self, folder: Path) -> dict[str, Any]:
        """The `auth` section of a registry that trusts it."""
        folder.mkdir(parents=True, exist_ok=True)
        bundle = folder / "tokens.pem"
        self._authority.cert_pem.write_to_path(str(bundle))
        return {
            "token": {"realm": self.url, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)},
        }

    async def answer(self, request: web.Request) -> web.Response:
        """A token for the scopes of a query or a form."""
        values = request.query if request.method == "GET" else await request.post()
        scopes = [scope for value in values.getall("scope", []) for scope in str(value).split()]
        self.asked.append(scopes)
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = request.headers.get("Authorization") == basic or values.get("refresh_token") == "refresh-me"
        if self.refuse or not known:
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if name not in self.hidden:
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        return web.json_response({"token": self._sign(access), "expires_in": self.seconds})

    def _sign(self, access: list[dict[str, Any]]) -> str:
        leaf = self._authority.issue_cert("tokens.example.org")
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "jti": uuid.uuid4().hex, "access": access}
        claims |= {"iat": now, "nbf": now - 5, "exp": now + self.seconds}
        chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
        return jwt.encode(claims, leaf.private_key_pem.bytes(), algorithm="ES256", headers={"x5c": chain})


@asynccontextmanager
async def token_service() -> AsyncIterator[TokenService]:
    """One on a port of its own, while the block runs."""
    service = TokenService()
    application = web.Application()
    application.router.add_get("/token", service.answer)
    application.router.add_post("/token", service.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        yield service
    finally:
        await runner.cleanup()
