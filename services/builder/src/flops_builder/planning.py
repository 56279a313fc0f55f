"""The builder of a plan as a process: it says `ready`, is told what to think through, and says what it found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import anyio
import structlog
from flops_protocol.bus import Bus, Identity, Received, Testament
from flops_protocol.channels import PLAN_COMMAND, PLAN_STATUS
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import PlanId
from flops_protocol.messages.plans import BuildForecast, PlanCommand, PlanStatus

from flops_builder.adapters.mqtt import connect
from flops_builder.forecast import forecast
from flops_builder.settings import BuilderSettings

KIND = "builder"

log = structlog.get_logger()


def plan_status(
    settings: BuilderSettings,
    plan: PlanId,
    state: Literal["ready", "planning", "done", "lost"],
    found: BuildForecast | None = None,
) -> PlanStatus:
    """What the builder of a plan says of itself."""
    return PlanStatus(plan=plan, instance=settings.instance, state=state, since=datetime.now(UTC), forecast=found)


async def plan(settings: BuilderSettings, name: PlanId, stop: anyio.Event) -> None:
    """Connects, and works until `stop` is set.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    testament = Testament(PLAN_STATUS, plan_status(settings, name, "lost"), {"plan": name})
    bus = connect(settings.broker, Identity(KIND, settings.instance, name), testament, settings.credential_file)
    await run(settings, name, bus, stop)


async def run(settings: BuilderSettings, name: PlanId, bus: Bus, stop: anyio.Event) -> None:
    """Thinks through what it is told to, once; every time that it is told again, it says how it stands.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    status = plan_status(settings, name, "ready")
    wanted: PlanCommand | None = None
    told = anyio.Event()

    async def say(new: PlanStatus) -> None:
        nonlocal status
        status = new
        await bus.publish(PLAN_STATUS, status, plan=name)

    async def on_command(received: Received[PlanCommand]) -> None:
        nonlocal wanted
        if wanted is not None:
            await say(status)
            return
        wanted = received.message
        told.set()

    bus.on(PLAN_COMMAND, on_command, plan=name)
    async with anyio.create_task_group() as group:
        await group.start(bus.run)
        await say(status)

        async def work() -> None:
            await told.wait()
            assert wanted is not None  # noqa: S101
            await say(plan_status(settings, name, "planning"))
            await say(plan_status(settings, name, "done", await _think(settings, wanted)))

        group.start_soon(work)
        await stop.wait()
        group.cancel_scope.cancel()


async def _think(settings: BuilderSettings, command: PlanCommand) -> BuildForecast:
    """The forecast; a defect of ours is an error in it, too."""
    try:
        return await forecast(command.spec, command.build, settings)
    except Exception as failure:
        log.exception("the plan broke")
        return BuildForecast(errors=[FlopsError("FLOPS-P010", f"{type(failure).__name__}: {failure}"[:1000]).body])
