"""The builder as a process: one project, from `ready` until it is stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import anyio
import structlog
from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.channels import BUILD_COMMAND, BUILD_COMPLETED, BUILDER_ERRORS, BUILDER_STATUS, SPEC
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages.actors import BuildCompleted, BuilderState, BuilderStatus
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ErrorReport, ProjectSpec, ProjectStage
from flops_protocol.process.start import configure_log, read_settings, serve

from flops_builder.adapters.mqtt import connect
from flops_builder.build import build
from flops_builder.handlers import Wishes
from flops_builder.outcome import Outcome
from flops_builder.planning import plan
from flops_builder.report import Report
from flops_builder.settings import BuilderSettings
from flops_builder.telling import Telling

KIND = "builder"
FAREWELL_SECONDS = 2.0
MAX_NOTES = 200

Build = Callable[[ProjectSpec, BuildCommand, BuilderSettings, Report], Awaitable[Outcome]]

log = structlog.get_logger()


def builder_status(
    settings: BuilderSettings,
    state: BuilderState,
    *,
    command: str | None = None,
    outcome: Outcome | None = None,
    error: ErrorBody | None = None,
) -> BuilderStatus:
    """What the builder says of itself."""
    return BuilderStatus(
        project=settings.project,
        instance=settings.instance,
        state=state,
        command=command,
        since=datetime.now(UTC),
        images=outcome.images if outcome else None,
        repairs=outcome.repairs[:MAX_NOTES] if outcome else [],
        warnings=outcome.warnings[:MAX_NOTES] if outcome else [],
        error=error,
    )


async def run(settings: BuilderSettings, bus: Bus, *, stop: anyio.Event | None = None, build: Build = build) -> None:
    """Builds what it is told to, until a stop command comes or `stop` is set; then it says `stopped`.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    wishes = Wishes()
    if stop is not None:
        wishes.stopped = stop
    bus.on(SPEC, wishes.on_spec, project=settings.project)
    bus.on(BUILD_COMMAND, wishes.on_command, project=settings.project)
    async with anyio.create_task_group() as group:
        await group.start(bus.run)
        await _say(bus, builder_status(settings, BuilderState.READY))
        log.info("ready", project=settings.project, instance=settings.instance)
        group.start_soon(_work, settings, bus, wishes, build)
        await wishes.stopped.wait()
        group.cancel_scope.cancel()
        with anyio.move_on_after(FAREWELL_SECONDS, shield=True):
            await _say(bus, builder_status(settings, BuilderState.STOPPED))


async def _work(settings: BuilderSettings, bus: Bus, wishes: Wishes, build: Build) -> None:
    done: str | None = None
    while True:
        spec, command = await wishes.next(done)
        done = command.command
        await _build_once(settings, bus, spec, command, build)


async def _build_once(
    settings: BuilderSettings, bus: Bus, spec: ProjectSpec, command: BuildCommand, build: Build
) -> None:
    """One command from `building` to `succeeded` or `failed`."""
    await _say(bus, builder_status(settings, BuilderState.BUILDING, command=command.command))
    telling = Telling(bus, settings.project, settings.instance)
    outcome: Outcome | None = None
    error: FlopsError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(telling.run)
        try:
            outcome = await build(spec, command, settings, telling)
        except FlopsError as failure:
            error = failure
        except Exception as failure:
            log.exception("the build broke")
            error = FlopsError("FLOPS-P010", f"{type(failure).__name__}: {failure}"[:1000])
        group.cancel_scope.cancel()
    await telling.flush()
    if outcome is not None:
        await _say(bus, builder_status(settings, BuilderState.SUCCEEDED, command=command.command, outcome=outcome))
        completed = BuildCompleted(
            project=settings.project,
            images=outcome.images,
            seconds=outcome.seconds,
            phase_seconds=outcome.phase_seconds,
            bytes_pushed=outcome.bytes_pushed,
            repairs=outcome.repairs[:MAX_NOTES],
            warnings=outcome.warnings[:MAX_NOTES],
        )
        await bus.publish(BUILD_COMPLETED, completed, project=settings.project)
        log.info("built", seconds=round(outcome.seconds, 1), image=outcome.images.image_key)
    if error is not None:
        status = builder_status(settings, BuilderState.FAILED, command=command.command, error=error.body)
        report = ErrorReport(
            project=settings.project,
            instance=settings.instance,
            stage=ProjectStage.BUILDING,
            fatal=True,
            error=error.body,
            log_tail=list(telling.tail),
        )
        await bus.publish(BUILDER_ERRORS, report, project=settings.project)
        await _say(bus, status)
        log.info("failed", error=str(error))


async def _say(bus: Bus, status: BuilderStatus) -> None:
    await bus.publish(BUILDER_STATUS, status, project=status.project)


def main() -> None:
    """Runs the builder that this process's environment describes, until it is told to stop or gets SIGTERM."""
    settings = read_settings(BuilderSettings)
    configure_log()
    if settings.plan is not None:
        serve(partial(plan, settings, settings.plan))
        return
    identity = Identity(KIND, settings.instance, settings.project)
    testament = Testament(BUILDER_STATUS, builder_status(settings, BuilderState.LOST), {"project": settings.project})
    bus = connect(settings.broker, identity, testament, settings.credential_file)
    serve(lambda stop: run(settings, bus, stop=stop))
