"""What the builder does with each message. A handler only notes what is wanted; `app` does it."""

from __future__ import annotations

import anyio
from flops_protocol.bus import Received
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec


class Wishes:
    """What the manager wants, as far as it is known."""

    def __init__(self) -> None:
        self.spec: ProjectSpec | None = None
        self.command: BuildCommand | None = None
        self.stopped = anyio.Event()
        """Set when the builder is to end."""
        self._news = anyio.Event()

    async def on_spec(self, received: Received[ProjectSpec]) -> None:
        """Takes what was asked for."""
        self.spec = received.message
        self._news.set()

    async def on_command(self, received: Received[BuildCommand]) -> None:
        """Takes a wish; the same one again changes nothing."""
        if received.message.action == "stop":
            self.stopped.set()
        elif self.command is None or self.command.command != received.message.command:
            self.command = received.message
            self._news.set()

    async def next(self, done: str | None) -> tuple[ProjectSpec, BuildCommand]:
        """Waits for a command other than `done`, and for the spec that belongs to it."""
        while self.spec is None or self.command is None or self.command.command == done:
            self._news = anyio.Event()
            await self._news.wait()
        return self.spec, self.command
