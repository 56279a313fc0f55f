"""What distribution-spec 1.1 lets a registry do and Debian's does not: keep half a chunk, list referrers, ask to wait.

As much of a registry as a blob and a manifest need, in this process, so that a test sees every request.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class ConformingRegistry:
    """One that a test looks into."""

    url: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    referrers: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    """What `Content-Range` said, request by request."""
    authorizations: list[tuple[str, str | None]] = field(default_factory=list)
    """Who was shown what: host and header."""
    busy: list[tuple[int, str | None]] = field(default_factory=list)
    """The next answers: status and `Retry-After`."""
    drop_after: list[int] = field(default_factory=list)
    """The next chunks that break off after so many bytes."""
    storage: str | None = None
    """Where blobs are redirected to."""

    @web.middleware
    async def _watch(self, request: web.Request, handler) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        self.authorizations.append((request.host, request.headers.get("Authorization")))
        if self.busy:
            status, after = self.busy.pop(0)
            return web.Response(status=status, headers={"Retry-After": after} if after else {})
        return await handler(request)

    def _location(self, session: str) -> dict[str, str]:
        size = len(self.uploads[session])
        return {"Location": f"/v2/a/b/blobs/uploads/{session}?state={size}", "Range": f"0-{max(0, size - 1)}"}

    async def _head_blob(self, request: web.Request) -> web.StreamResponse:
        content = self.blobs.get(request.match_info["digest"])
        if content is None:
            return web.Response(status=404)
        if self.storage and request.method == "GET":
            return web.Response(status=307, headers={"Location": f"{self.storage}/raw/{request.match_info['digest']}"})
        return web.Response(body=content)

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.blobs[request.match_info["digest"]])

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        session = uuid.uuid4().hex
        self.uploads[session] = bytearray()
        return web.Response(status=202, headers=self._location(session))

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers=self._location(request.match_info["session"]))

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        session = request.match_info["session"]
        content = self.uploads[session]
        said = request.headers["Content-Range"]
        self.ranges.append(said)
        if int(said.partition("-")[0]) != len(content):
            return web.Response(status=416, headers=self._location(session))
        limit = self.drop_after.pop(0) if self.drop_after else None
        taken = 0
        async for chunk in request.content.iter_chunked(4096):
            if limit is not None and taken + len(chunk) > limit:
                content += chunk[: limit - taken]
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            content += chunk
            taken += len(chunk)
        return web.Response(status=202, headers=self._location(session))

    async def _finish(self, request: web.Request) -> web.StreamResponse:
        content = bytes(self.uploads.pop(request.match_info["session"]) + await request.read())
        digest = request.query["digest"]
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "it is another"}]}, status=400)
        self.blobs[digest] = content
        return web.Response(status=201)

    async def _put_manifest(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        for name in (digest, request.match_info["reference"]):
            self.manifests[name] = (request.headers["Content-Type"], content)
        document = json.loads(content)
        subject = document.get("subject")
        if subject is None:
            return web.Response(status=201)
        entry = {"mediaType": document["mediaType"], "digest": digest, "size": len(content)}
        self.referrers.setdefault(subject["digest"], {})[digest] = entry | {"artifactType": document["artifactType"]}
        return web.Response(status=201, headers={"OCI-Subject": subject["digest"]})

    async def _get_manifest(self, request: web.Request) -> web.StreamResponse:
        kind, content = self.manifests.get(request.match_info["reference"], ("", b""))
        return web.Response(body=content, headers={"Content-Type": kind}) if kind else web.Response(status=404)

    async def _get_referrers(self, request: web.Request) -> web.StreamResponse:
        found = list(self.referrers.get(request.match_info["digest"], {}).values())
        return web.json_response({"schemaVersion": 2, "manifests": found})


@asynccontextmanager
async def conforming_registry() -> AsyncIterator[ConformingRegistry]:
    """One on a port of its own, while the block runs."""
    registry = ConformingRegistry()
    application = web.Application(middlewares=[registry._watch], client_max_size=64 * 1024 * 1024)
    name = r"/v2/{name:[a-z/-]+?}"
    application.router.add_routes(
        [
            web.get(name + "/blobs/{digest:sha256:[0-9a-f]+}", registry._head_blob),
            web.get("/raw/{digest}", registry._raw),
            web.post(name + "/blobs/uploads/", registry._begin),
            web.get(name + "/blobs/uploads/{session}", registry._status),
            web.patch(name + "/blobs/uploads/{session}", registry._patch),
            web.put(name + "/blobs/uploads/{session}", registry._finish),
            web.put(name + "/manifests/{reference}", registry._put_manifest),
            web.get(name + "/manifests/{reference}", registry._get_manifest),
            web.get(name + "/referrers/{digest}", registry._get_referrers),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield registry
    finally:
        await runner.cleanup()
