"""The learners of this training: who is expected, who is here, what each said last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages.actors import LearnerState, LearnerStatus

from flops_aggregator.quorum import Presence, Standing

Report = Callable[[str, ErrorBody], None]
"""Called with a learner that was lost, and why."""


class Roster:
    """Brings together what the stream says of the learners and what they say of themselves on the bus."""

    def __init__(self, on_lost: Report) -> None:
        """`on_lost` is called once for every time that a learner is lost."""
        self._on_lost = on_lost
        self._standings: dict[str, Standing] = {}
        self._epochs: dict[str, int] = {}
        self._tokens: dict[str, str] = {}
        self.nodes: dict[str, str] = {}
        """The node of each learner that has said something."""
        self._changed = anyio.Event()

    def expect(self, learners: Sequence[str], tokens: dict[str, str]) -> None:
        """Who is to take part from now on, and the secret of each."""
        self._tokens = dict(tokens)
        known = self._standings
        self._standings = {name: known.get(name, Standing(name, Presence.AWAITED)) for name in learners}
        self._change()

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Everyone expected, in the order in which they were named."""
        return tuple(self._standings.values())

    @property
    def joined(self) -> list[str]:
        """Who is here."""
        return [name for name, standing in self._standings.items() if standing.presence is Presence.JOINED]

    async def changed(self) -> None:
        """Waits until something about a learner is different."""
        await self._changed.wait()

    def token_of(self, learner: str) -> str | None:
        """The secret that the learner has to show; None when there is no such learner, empty when none was given."""
        return self._tokens.get(learner, "") if learner in self._standings else None

    def entered(self, learner: str, epoch: int) -> None:
        """The learner has opened its stream."""
        if learner in self._standings:
            self._epochs[learner] = epoch
            self._set(learner, Presence.JOINED, "joined", None)

    def left(self, learner: str, reason: str, *, on_purpose: bool) -> None:
        """The learner's stream is gone. One that failed has said so already, or says so in a moment."""
        standing = self._standings.get(learner)
        if standing is None or standing.presence is not Presence.JOINED:
            return
        error = None if on_purpose else FlopsError("FLOPS-T012", f"{learner}: {reason}").body
        self._set(learner, Presence.LOST, "left" if on_purpose else "lost", error)
        if error is not None:
            self._on_lost(learner, error)

    def said(self, status: LearnerStatus, epoch: int) -> bool:
        """Takes a learner's status; returns whether its stream, if it has one, is to be closed."""
        learner = status.learner
        standing = self._standings.get(learner)
        if standing is None or epoch < self._epochs.get(learner, 0):
            return False
        self.nodes[learner] = status.node
        if status.state is LearnerState.FAILED:
            error = status.error or FlopsError("FLOPS-T007", f"{learner} failed without saying why").body
            self._set(learner, Presence.FAILED, "failed", error)
            return True
        if status.state in {LearnerState.LOST, LearnerState.STOPPED}:
            was_here = standing.presence is Presence.JOINED
            if standing.presence is not Presence.FAILED:
                self._tell_lost(standing, status.state)
            return was_here
        if standing.presence is Presence.FAILED:
            # A new life of it, or a second try of the same.
            self._set(learner, Presence.AWAITED, status.state.value, None)
        else:
            self._standings[learner] = replace(standing, doing=status.state.value)
        return False

    def _tell_lost(self, standing: Standing, state: LearnerState) -> None:
        error = FlopsError("FLOPS-T012", f"{standing.learner}: the broker says that it is {state.value}").body
        self._set(standing.learner, Presence.LOST, state.value, error)
        if standing.presence is Presence.JOINED:
            self._on_lost(standing.learner, error)

    def _set(self, learner: str, presence: Presence, doing: str, error: ErrorBody | None) -> None:
        self._standings[learner] = Standing(learner, presence, doing, error)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
