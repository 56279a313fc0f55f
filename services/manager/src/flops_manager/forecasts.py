"""Builders of plans: each is started for one plan, told what to think through, heard, and removed, whatever happens."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import anyio
import structlog
from flops_protocol.bus import Bus, Received
from flops_protocol.channels import PLAN_COMMAND
from flops_protocol.errors import FlopsError
from flops_protocol.messages.plans import BuildForecast, PlanCommand, PlanStatus
from flops_protocol.messages.project import Role

from flops_manager.engine import ActorSpec, Engine, Presence
from flops_manager.settings import Settings

INSTANCE = "builder"
REPEAT_SECONDS = 2.0
"""A command that no status answers is sent again after this; and the engine is asked whether the builder lives."""
LAST_WORDS_SECONDS = 1.0
"""What a builder that has ended said before may be on its way for so long."""
LOG_LINES = 5
ASK_AGAIN = "Ask again: what was resolved until then is kept. A build has more time."

log = structlog.get_logger(__name__)


class Forecasts:
    """What builds would do. Nothing is kept: a builder that a killed manager leaves, the next one sweeps away."""

    def __init__(self, settings: Settings, bus: Bus, engine: Engine) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self._bus = bus
        self._engine = engine
        self._asked: dict[str, _Conversation] = {}

    @property
    def running(self) -> Collection[str]:
        """The plans whose builders are wanted."""
        return tuple(self._asked)

    async def on_status(self, received: Received[PlanStatus]) -> None:
        """Takes what a builder of a plan says; of one that nobody waits for, nothing."""
        conversation = self._asked.get(received.parameters["plan"])
        if conversation is not None:
            conversation.hear(received.message)

    async def ask(self, command: PlanCommand, node: str) -> BuildForecast:
        """Has a builder on a node think a build through, within the command's deadline and the time to start.

        :raises FlopsError: FLOPS-D004 when it does not start, FLOPS-B042 when it is lost, FLOPS-B043 when it takes too
            long
        """
        plan = command.plan
        conversation = self._asked[plan] = _Conversation()
        seconds = self._settings.start_seconds + command.build.deadline_seconds
        try:
            with anyio.fail_after(seconds):
                await self._engine.deploy(self._builder(plan, node))
                return await self._talk(command, conversation)
        except TimeoutError as error:
            began = conversation.state is not None
            lines = await self._engine.logs(plan, INSTANCE, LOG_LINES)
            detail = f"the builder of the plan did not answer within {seconds:.0f} s"
            code = "FLOPS-B043" if began else "FLOPS-D004"
            raise FlopsError(code, "\n".join([detail, *lines]), hint=ASK_AGAIN) from error
        finally:
            with anyio.CancelScope(shield=True):
                await self._remove(plan)
            del self._asked[plan]

    async def _talk(self, command: PlanCommand, conversation: _Conversation) -> BuildForecast:
        quiet = False
        while True:
            news = conversation.news
            if conversation.forecast is not None:
                return conversation.forecast
            if conversation.state == "lost" or (quiet and await self._has_ended(command.plan)):
                with anyio.move_on_after(LAST_WORDS_SECONDS):
                    return await conversation.answer()
                lines = await self._engine.logs(command.plan, INSTANCE, LOG_LINES)
                raise FlopsError("FLOPS-B042", "\n".join(["the builder of the plan ended before it answered", *lines]))
            # Its answer may have been lost with a connection: told again, it says again how it stands.
            if conversation.state == "ready" or (quiet and conversation.state is not None):
                await self._send(command)
            with anyio.move_on_after(REPEAT_SECONDS) as waiting:
                await news.wait()
            quiet = waiting.cancelled_caught

    async def _send(self, command: PlanCommand) -> None:
        try:
            await self._bus.publish(PLAN_COMMAND, command, plan=command.plan)
        except FlopsError as error:
            log.warning("the command of a plan was not taken", plan=command.plan, error=str(error))

    async def _has_ended(self, plan: str) -> bool:
        there = [actor for actor in await self._engine.list(plan) if actor.presence is not Presence.EXITED]
        return not there

    async def _remove(self, plan: str) -> None:
        try:
            await self._engine.remove(plan, INSTANCE)
        except (FlopsError, OSError) as error:
            log.warning("the builder of a plan was not removed; it is swept away", plan=plan, error=str(error))

    def _builder(self, plan: str, node: str) -> ActorSpec:
        environment = self._settings.contact | {
            "FLOPS_PLAN": plan,
            "FLOPS_ROLE": Role.BUILDER.value,
            "FLOPS_INSTANCE": INSTANCE,
            "FLOPS_NODE": node,
        }
        return ActorSpec(plan, Role.BUILDER, INSTANCE, node, 0, environment)


class _Conversation:
    """What was heard of one builder."""

    def __init__(self) -> None:
        self.state: Literal["ready", "planning", "done", "lost"] | None = None
        self.forecast: BuildForecast | None = None
        self.news = anyio.Event()
        """Set when it says something; a fresh one after that."""

    def hear(self, status: PlanStatus) -> None:
        self.state = status.state
        self.forecast = status.forecast or self.forecast
        news, self.news = self.news, anyio.Event()
        news.set()

    async def answer(self) -> BuildForecast:
        """What it found, as soon as it says so."""
        while self.forecast is None:
            await self.news.wait()
        return self.forecast
