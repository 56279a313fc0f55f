"""The life of a process around its work: settings, log, signals, exit code."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import anyio
import structlog
from anyio.abc import TaskStatus
from pydantic import BaseModel, ValidationError

from flops_protocol.errors import FlopsError
from flops_protocol.process.log_lines import LineCollector

FAILED, MISCONFIGURED = 1, 2
"""Exit codes."""

Settings = TypeVar("Settings", bound=BaseModel)
Work = Callable[[anyio.Event], Awaitable[None]]
"""Works until the event is set, then says goodbye."""

log = structlog.get_logger()


def configure_log(lines: LineCollector | None = None) -> None:
    """Has the log go to stderr, one JSON document a line, and to `lines` where they are given."""

    def collect(_logger: Any, _method: str, event: Any) -> Any:
        if lines is not None:
            lines.add("mesh", str(event))
        return event

    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            collect,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING)


def read_settings(settings: type[Settings]) -> Settings:
    """The settings that the environment gives; ends the process with each variable that is wrong."""
    try:
        return settings()
    except ValidationError as error:
        configure_log()
        mistakes = [f"FLOPS_{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()]
        log.error("the settings have mistakes", mistakes=mistakes)  # noqa: TRY400 - it is all said
        raise SystemExit(MISCONFIGURED) from None


def serve(work: Work) -> None:
    """Runs `work` until it returns; SIGTERM and SIGINT ask it to. A `FlopsError` is logged and ends the process."""
    try:
        anyio.run(_run, work)
    except* FlopsError as errors:
        log.error("the process ends", errors=list(_sentences(errors)))  # noqa: TRY400 - it is all said
        raise SystemExit(FAILED) from None


async def _run(work: Work) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        # Listening first: a signal that comes while the work begins is an order, too.
        await group.start(_wait_for_signal, stop)
        await work(stop)
        group.cancel_scope.cancel()


async def _wait_for_signal(stop: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()


def _sentences(group: BaseExceptionGroup[FlopsError]) -> Iterator[str]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _sentences(error)
        else:
            yield str(error)
