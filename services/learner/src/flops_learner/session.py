"""One life of the ML worker: data loaded, joined, answering, until the training ends or the worker does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup
from flops_federation.adapters.grpc_client import Invitation, LastAnswer, join
from flops_federation.adapters.options import StreamOptions
from flops_federation.errors import JoinRefusedError, PeerLostError
from flops_federation.parcels import Parcel
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import Endpoint

from flops_learner.desk import Desk
from flops_learner.learning import Instructions, WorkerEndedError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two attempts to reach the aggregator."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Ticket:
    """As whom the learner joins; `info` is what the aggregator is told: counts, never rows."""

    learner: str
    token: str
    epoch: int
    info: dict[str, Any]


class Session:
    """Stays with the aggregator through its restarts, with the same worker and data.

    An instruction that has begun is carried out to its end, also when the stream breaks meanwhile: stopping the code
    half-way would mean a new worker, and loading the data again.
    """

    def __init__(
        self,
        desk: Desk,
        instructions: Instructions,
        ticket: Ticket,
        on_joined: Callable[[], None],
        options: StreamOptions,
    ) -> None:
        self._desk = desk
        self._instructions = instructions
        self._ticket = ticket
        self._on_joined = on_joined
        self._options = options
        self._turn = anyio.Lock()
        self._ended: WorkerEndedError | None = None

    async def run(self) -> str:
        """Answers until the aggregator says goodbye; returns its reason.

        :raises WorkerEndedError: when the worker is gone, after that was answered
        :raises FlopsError: FLOPS-T012 when the aggregator does not take this learner
        """
        refusal: FlopsError | None = None
        reason = ""
        async with anyio.create_task_group() as group:
            try:
                reason = await self._stay(group)
            except FlopsError as error:
                # Raised again behind the task group, which would wrap it.
                refusal = error
            group.cancel_scope.cancel()
        if (failure := self._ended or refusal) is not None:
            raise failure
        return reason

    async def _stay(self, group: TaskGroup) -> str:
        pause = FIRST_PAUSE

        def joined() -> None:
            nonlocal pause
            pause = FIRST_PAUSE
            self._on_joined()

        async def handle(parcel: Parcel) -> Parcel:
            return await self._handle(group, parcel)

        while True:
            endpoint = await self._desk.endpoint()
            try:
                reason = await join(self._invitation(endpoint), handle, on_joined=joined, options=self._options)
            except PeerLostError as error:
                log.warning("no stream to the aggregator", reason=str(error))
            except JoinRefusedError as error:
                raise FlopsError(
                    "FLOPS-T012", f"the aggregator does not take {self._ticket.learner}: {error}"
                ) from error
            else:
                return reason or "left"
            if self._ended is not None:
                return "left"
            # A new aggregator says where it is; until then, the old one may only have been out of reach.
            with anyio.move_on_after(pause):
                await self._desk.endpoint(other_than=endpoint)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _handle(self, group: TaskGroup, parcel: Parcel) -> Parcel:
        answers: list[Parcel] = []
        done = anyio.Event()

        async def carry_out() -> None:
            async with self._turn:
                if self._ended is None:
                    answer, self._ended = await self._instructions.answer(parcel)
                    answers.append(answer)
            done.set()

        group.start_soon(carry_out)
        await done.wait()
        if not answers:
            # The worker ended in an instruction before this one.
            await anyio.sleep_forever()
        if self._ended is not None:
            raise LastAnswer(answers[0])
        return answers[0]

    def _invitation(self, endpoint: Endpoint) -> Invitation:
        ticket = self._ticket
        return Invitation(
            endpoint.host, endpoint.port, ticket.learner, ticket.token, ticket.epoch, endpoint.certificate, ticket.info
        )
