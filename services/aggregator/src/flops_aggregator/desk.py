"""What others want of the aggregator: the project's spec and the manager's last command."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from flops_protocol.messages.commands import TrainCommand
from flops_protocol.messages.project import ProjectSpec


@dataclass(frozen=True)
class Wish:
    """A training that is wanted: the command, and the spec that it is about."""

    spec: ProjectSpec
    command: TrainCommand


class Desk:
    """Where handlers leave what came in, and the training picks it up."""

    def __init__(self) -> None:
        self.spec: ProjectSpec | None = None
        self.command: TrainCommand | None = None
        self.stop_wanted = anyio.Event()
        self._changed = anyio.Event()

    def put_spec(self, spec: ProjectSpec) -> None:
        """Takes the project's spec."""
        self.spec = spec
        self._change()

    def put_command(self, command: TrainCommand) -> None:
        """Takes a command; the same one twice is one."""
        if command.action == "stop":
            self.stop_wanted.set()
        else:
            self.command = command
        self._change()

    async def wish(self) -> Wish:
        """Waits until there is something to train."""
        while self.spec is None or self.command is None:
            await self._changed.wait()
        return Wish(self.spec, self.command)

    async def changed(self) -> None:
        """Waits until something came in."""
        await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
