"""Starts Mosquitto where it is on the PATH, else the embedded broker."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous {anonymous}
persistence false
max_queued_messages 0
set_tcp_nodelay true
{user}
{options}
"""
IOTCORE = """\
id = 0

[router]
id = 0
max_connections = 200
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def available(kind: str) -> bool:
    """Whether a broker of this kind (`mosquitto`, `iotcore`) can run here."""
    if kind == "mosquitto":
        return shutil.which("mosquitto", path=_path()) is not None
    return importlib.util.find_spec("iotcore") is not None


def _path() -> str:
    # Debian installs it where the PATH of a plain user does not look.
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@dataclass
class Broker:
    """A broker process that a test may kill, hang and start again; always empty after a start."""

    kind: str
    folder: Path
    port: int
    options: str = ""
    """More lines for `mosquitto.conf`."""
    anonymous: bool = True
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        log = (self.folder / f"{self.kind}.log").open("ab")
        with log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a test broker may outlive one event loop
                self._command(), stdout=log, stderr=log, stdin=subprocess.PIPE
            )
        with anyio.fail_after(10):
            while not await self._listens():
                if self._process.poll() is not None:
                    text = (self.folder / f"{self.kind}.log").read_text()
                    raise RuntimeError(f"{self.kind} ended with {self._process.returncode}: {text}")
                await anyio.sleep(0.01)

    async def kill(self) -> None:
        """SIGKILL: nothing is saved, nobody is told."""
        assert self._process is not None
        self._process.kill()
        await anyio.to_thread.run_sync(self._process.wait)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def hang(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT after `hang`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _command(self) -> list[str]:
        configuration = self.folder / ("mosquitto.conf" if self.kind == "mosquitto" else "iotcore.toml")
        if self.kind == "mosquitto":
            text = MOSQUITTO.format(
                port=self.port,
                anonymous=str(self.anonymous).lower(),
                # As root it would otherwise become user mosquitto, who may not read the test's folder.
                user="user root" if os.geteuid() == 0 else "",
                options=self.options,
            )
            configuration.write_text(text)
            return [shutil.which("mosquitto", path=_path()) or "mosquitto", "-c", str(configuration)]
        configuration.write_text(IOTCORE.format(port=self.port))
        start = "import sys; from iotcore import IotCoreBroker; IotCoreBroker(config_path=sys.argv[1]).run_forever()"
        return [sys.executable, "-c", start, str(configuration)]

    async def _listens(self) -> bool:
        try:
            stream = await anyio.connect_tcp("127.0.0.1", self.port)
        except OSError:
            return False
        await stream.aclose()
        return True


@asynccontextmanager
async def run(
    folder: Path,
    kind: str | None = None,
    *,
    options: str = "",
    anonymous: bool = True,
    files: Mapping[str, str] | None = None,
) -> AsyncIterator[Broker]:
    """A broker of the kind (default: the best there is) that is gone when the block is left.

    `files` are written into the folder first; in `options`, `{folder}` stands for it.
    """
    chosen = kind or ("mosquitto" if available("mosquitto") else "iotcore")
    for name, text in (files or {}).items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o600)
    broker = Broker(chosen, folder, free_port(), options.replace("{folder}", str(folder)), anonymous)
    await broker.start()
    try:
        yield broker
    finally:
        broker.wake()
        with anyio.CancelScope(shield=True):
            await broker.kill()
