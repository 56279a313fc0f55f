"""Starts Debian's `docker-registry` (distribution 2.8) with a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from tests.brokers.process import free_port

USER, PASSWORD = "builder", "secret"
HTPASSWD = f"{USER}:$2b$05$W7EutasdAnVcWwvYnH40RuKbZG3nKM6VNCNH1CF6740ZhnmR1YW.K\n"
"""The password, as bcrypt has it: the only kind that the registry takes."""


def program() -> str:
    """The registry's program. Without it a test is skipped, save in CI, which installs it."""
    found = shutil.which("docker-registry", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = "there is no docker-registry on this machine (Debian: apt-get install docker-registry)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@dataclass
class RegistryServer:
    """A registry that a test may stop and start again; what it holds stays."""

    folder: Path
    port: int
    scheme: str
    settings: Mapping[str, Any]
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """As files with credentials call it."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://{self.host}"

    @property
    def data(self) -> Path:
        """Where it keeps things."""
        return self.folder / "data"

    def blob(self, digest: str) -> Path:
        """Where it keeps a blob."""
        encoded = digest.removeprefix("sha256:")
        return self.data / "docker/registry/v2/blobs/sha256" / encoded[:2] / encoded / "data"

    def link(self, repository: str, digest: str) -> Path:
        """What says that a repository has a blob."""
        encoded = digest.removeprefix("sha256:")
        return self.data / "docker/registry/v2/repositories" / repository / "_layers/sha256" / encoded / "link"

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        configuration = self.folder / "config.yml"
        configuration.write_text(yaml.safe_dump(self.settings))
        with (self.folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it may outlive one event loop
                [program(), "serve", str(configuration)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        with anyio.fail_after(15):
            while not await self._listens():
                if self._process.poll() is not None:
                    raise RuntimeError((self.folder / "registry.log").read_text())
                await anyio.sleep(0.01)

    async def stop(self) -> None:
        """Kills it."""
        if self._process is not None:
            self._process.kill()
            await anyio.to_thread.run_sync(self._process.wait)
            self._process = None

    async def _listens(self) -> bool:
        try:
            stream = await anyio.connect_tcp("localhost", self.port)
        except OSError:
            return False
        await stream.aclose()
        return True


@asynccontextmanager
async def run(folder: Path, **settings: Any) -> AsyncIterator[RegistryServer]:
    """A registry that is gone when the block is left. `settings`: sections of its configuration file."""
    program()
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    port = free_port()
    http = {"addr": f"localhost:{port}"} | settings.pop("http", {})
    document = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http,
        **settings,
    }
    server = RegistryServer(folder, port, "https" if "tls" in http else "http", document)
    await server.start()
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop()


@asynccontextmanager
async def with_password(folder: Path) -> AsyncIterator[RegistryServer]:
    """One that wants `USER` and `PASSWORD`."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    await anyio.Path(folder / "htpasswd").write_text(HTPASSWD)
    async with run(folder, auth={"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}) as server:
        yield server
