"""What a learner is to do, and where the aggregator is: what came in on the bus."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from flops_protocol.messages.actors import AggregatorState, AggregatorStatus, Endpoint
from flops_protocol.messages.commands import LearnCommand, LearnerAssignment
from flops_protocol.messages.project import ProjectSpec

_SERVES = frozenset({AggregatorState.WAITING, AggregatorState.TRAINING})


@dataclass(frozen=True)
class Wish:
    """What this learner is to do: the command, its own assignment in it, and the project's spec."""

    spec: ProjectSpec
    command: LearnCommand
    assignment: LearnerAssignment


class Desk:
    """Where handlers leave what came in, and the learner picks it up."""

    def __init__(self, learner: str) -> None:
        self.stop_wanted = anyio.Event()
        self._learner = learner
        self._spec: ProjectSpec | None = None
        self._command: LearnCommand | None = None
        self._aggregator: AggregatorStatus | None = None
        self._changed = anyio.Event()

    def put_spec(self, spec: ProjectSpec) -> None:
        """Takes the project's spec."""
        self._spec = spec
        self._change()

    def put_command(self, command: LearnCommand) -> None:
        """Takes a command that names this learner; one that does not is for others."""
        mine = [item for item in command.assignments if item.learner == self._learner]
        if command.action == "stop":
            if mine or not command.assignments:
                self.stop_wanted.set()
        elif mine:
            self._command = command
        self._change()

    def put_aggregator(self, status: AggregatorStatus) -> None:
        """Takes what the aggregator says of itself."""
        self._aggregator = status
        self._change()

    async def wish(self) -> Wish:
        """Waits until there is something to do."""
        while self._spec is None or self._command is None:
            await self._changed.wait()
        mine = next(item for item in self._command.assignments if item.learner == self._learner)
        return Wish(self._spec, self._command, mine)

    async def endpoint(self, other_than: Endpoint | None = None) -> Endpoint:
        """Waits until an aggregator listens; at another place than `other_than`, if that is given."""
        while True:
            status = self._aggregator
            if status is not None and status.state in _SERVES and status.endpoint not in {None, other_than}:
                assert status.endpoint is not None  # noqa: S101 - the line above says so
                return status.endpoint
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
