"""Docker's API (1.41 and later) through aiodocker, for what the builder wants of an engine."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import aiodocker
import aiohttp
import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

from flops_builder.adapters.buildkit import Answers
from flops_builder.engine.interface import Done, Engine, Errand, Line

KEPT_LINES = 400
TAIL = 12
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
NO_ANSWER = 900
"""aiodocker's own status, for an engine that cannot be reached."""
CHECK_SECONDS = 10
"""What an engine has for saying that it is there."""
LABEL = "mesh.flops.build"


@dataclass(frozen=True)
class DockerEngine:
    """An engine at an address; `unix:///…`, `tcp://…` or `ssh://…`, empty: as Docker's own client finds it."""

    address: str

    async def build(
        self, context: Path, dockerfile: str, platform: Platform, on_line: Line, *, buildkit: bool = False
    ) -> str:
        """See `Engine.build`."""
        tail: deque[str] = deque(maxlen=TAIL)

        def told(line: str) -> None:
            if line.strip():
                tail.append(line.rstrip())
                on_line(line.rstrip())

        async with self._docker("building an image") as docker:
            with context.open("rb") as stream:
                try:
                    built = self._with_buildkit if buildkit else self._classic
                    image = await built(docker, stream, dockerfile, platform, told)
                except aiodocker.DockerError as error:
                    if error.status >= NO_ANSWER:
                        raise
                    lines = "\n".join([*tail, str(error.message)])
                    raise FlopsError("FLOPS-B061", f"for {platform}:\n{lines}"[:4000]) from error
        if not image:
            raise FlopsError("FLOPS-B061", f"for {platform}: the engine names no image")
        return image

    async def _classic(
        self, docker: aiodocker.Docker, context: BinaryIO, dockerfile: str, platform: Platform, on_line: Line
    ) -> str:
        image = ""
        answers = docker.images.build(
            fileobj=context,
            encoding="identity",
            path_dockerfile=dockerfile,
            platform=platform,
            forcerm=True,
            labels={LABEL: "yes"},
            stream=True,
        )
        async for answer in answers:
            for line in str(answer.get("stream", "")).splitlines():
                on_line(line)
            image = answer.get("aux", {}).get("ID", image)
        return image

    async def _with_buildkit(
        self, docker: aiodocker.Docker, context: BinaryIO, dockerfile: str, platform: Platform, on_line: Line
    ) -> str:
        """aiodocker's own call knows the classic builder only."""
        version = (await docker.version())["ApiVersion"]
        wanted = {"version": "2", "dockerfile": dockerfile, "platform": platform, "labels": json.dumps({LABEL: "yes"})}
        answers = Answers()
        async with docker.session.post(
            f"{docker.docker_host}/v{version}/build",
            params=wanted,
            data=context,
            headers={"Content-Type": "application/x-tar"},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            if response.status != HTTPStatus.OK:
                raise aiodocker.DockerError(response.status, (await response.text())[:1000])
            pending = b""
            async for chunk in response.content.iter_any():
                # Not line by line: aiohttp limits the length of a line, and one answer may be longer.
                *whole, pending = (pending + chunk).split(b"\n")
                for line in filter(None, whole):
                    for each in answers.lines(line):
                        on_line(each)
        if answers.error:
            raise aiodocker.DockerError(HTTPStatus.OK, answers.error)
        return answers.image

    async def check(self) -> None:
        """See `Engine.check`."""
        async with self._docker("asking for its version") as docker:
            try:
                with anyio.fail_after(CHECK_SECONDS):
                    await docker.version()
            except TimeoutError as error:
                place = self.address or "its usual place"
                raise FlopsError("FLOPS-B060", f"the engine at {place} says nothing for {CHECK_SECONDS} s") from error

    async def load(self, archive: Path) -> None:
        """See `Engine.load`."""
        async with self._docker("taking an image") as docker, await anyio.open_file(archive, "rb") as file:

            async def content() -> AsyncIterator[bytes]:
                while chunk := await file.read(1024 * 1024):
                    yield chunk

            async for _ in docker.images.import_image(content(), stream=True):
                pass  # it tells how far it is, and raises what the engine refuses

    async def save(self, image: str, target: Path) -> None:
        """See `Engine.save`."""
        async with (
            self._docker("exporting an image") as docker,
            docker.images.export_image(image) as content,
            await anyio.open_file(target, "wb") as file,
        ):
            async for chunk in content.iter_chunked(1024 * 1024):
                await file.write(chunk)

    async def run(self, errand: Errand, folder: Path, on_line: Line) -> Done:
        """See `Engine.run`."""
        async with self._docker("running a container") as docker:
            container = await docker.containers.create(_configuration(errand))
            try:
                if errand.files is not None:
                    with errand.files.open("rb") as files:
                        await container.put_archive("/", files)  # type: ignore[no-untyped-call]
                done = await _follow(container, errand, on_line)
                if errand.fetch is not None and done.returncode == 0:
                    archive = await container.get_archive(errand.fetch)
                    await anyio.to_thread.run_sync(lambda: archive.extractall(folder, filter="data"))
                return done
            finally:
                with anyio.CancelScope(shield=True):
                    await container.delete(force=True, v=True)

    @asynccontextmanager
    async def _docker(self, doing: str) -> AsyncIterator[aiodocker.Docker]:
        place = self.address or "its usual place"
        try:
            docker = aiodocker.Docker(url=self.address or None)
        except (ValueError, OSError) as error:
            raise FlopsError("FLOPS-B060", f"there is no engine at {place}: {error}") from error
        try:
            yield docker
        except (aiohttp.ClientError, ConnectionError) as error:
            raise FlopsError("FLOPS-B060", f"the engine at {place} does not answer: {error}") from error
        except aiodocker.DockerError as error:
            code = "FLOPS-B060" if error.status >= NO_ANSWER else "FLOPS-B061"
            raise FlopsError(code, f"{doing}: the engine at {place} says {error.message}"[:2000]) from error
        finally:
            with anyio.CancelScope(shield=True):
                await docker.close()


def _configuration(errand: Errand) -> dict[str, Any]:
    return {
        "Image": errand.image,
        "Entrypoint": [],
        "Cmd": list(errand.command),
        "User": "0",
        "WorkingDir": errand.folder,
        "Env": list(errand.environment),
        "Labels": {LABEL: "yes"},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "Memory": errand.limits.memory_bytes,
            "MemorySwap": errand.limits.memory_bytes,
            "PidsLimit": errand.limits.processes,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Ulimits": [{"Name": "fsize", "Soft": errand.limits.file_bytes, "Hard": errand.limits.file_bytes}],
        },
    }


async def _follow(container: aiodocker.containers.DockerContainer, errand: Errand, on_line: Line) -> Done:
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    ended: dict[str, int] = {}
    with anyio.move_on_after(errand.limits.seconds) as scope:
        try:
            await container.start()
        except aiodocker.DockerError as error:
            if error.status not in {400, 404}:
                raise
            return Done(127, (str(error.message),), "")  # there is no such program in the image
        pending = ""
        async for part in container.log(stdout=True, stderr=True, follow=True):
            *whole, pending = (pending + part).split("\n")
            for line in whole:
                lines.append(line.rstrip())
                on_line(line.rstrip())
        if pending:
            lines.append(pending)
        ended = await container.wait()
    if scope.cancelled_caught:
        return Done(-1, tuple(lines), f"it was not done within {errand.limits.seconds:.0f} s")
    state = (await container.show())["State"]
    over = f"it took more than {errand.limits.memory_bytes >> 20} MiB of memory" if state.get("OOMKilled") else ""
    return Done(int(ended["StatusCode"]), tuple(lines), over)


def find_engine(address: str) -> Engine | None:
    """The engine at an address; without one, that which Docker's own client would use. None: there is none."""
    if address or os.environ.get("DOCKER_HOST") or any(Path(each).is_socket() for each in SOCKETS):
        return DockerEngine(address)
    return None
