"""Puts the observer together."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version

import structlog
from anyio import Event, create_task_group, move_on_after, to_thread
from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.channels import SERVICE_STATUS
from flops_protocol.messages.mesh import ServiceStatus
from flops_protocol.process.start import configure_log, read_settings, serve

from flops_observer.adapters.mqtt import connect
from flops_observer.catchup import catch_up
from flops_observer.desk import Desk
from flops_observer.handlers import Handlers
from flops_observer.settings import Settings
from flops_observer.store import Store
from flops_observer.telling import tell

KIND = "observer"
FAREWELL_SECONDS = 2.0

log = structlog.get_logger()


def service_status(settings: Settings, state: str) -> ServiceStatus:
    """What the observer says of itself: `up`, `down` when it was asked to stop; its last will says `lost`."""
    return ServiceStatus.model_validate(
        {
            "kind": KIND,
            "instance": settings.instance,
            "state": state,
            "since": datetime.now(UTC),
            "version": version("flops-observer"),
        }
    )


async def run(settings: Settings, bus: Bus, *, stop: Event | None = None) -> None:
    """Observes until `stop` is set, then says goodbye; when it is cancelled, its last will speaks.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    store = await to_thread.run_sync(
        lambda: Store(settings.state_dir / "observer.sqlite", log_lines=settings.log_lines)
    )
    with closing(store):
        desk = Desk(store)
        Handlers(desk, bus).register()
        bus.on_connect(desk.look_at_everything)
        async with create_task_group() as group:
            await group.start(bus.run)
            await bus.publish(SERVICE_STATUS, service_status(settings, "up"), kind=KIND, instance=settings.instance)
            log.info("observing", broker=settings.broker, instance=settings.instance)
            group.start_soon(catch_up, desk, bus)
            group.start_soon(tell, desk, bus)
            await (stop or Event()).wait()
            with move_on_after(FAREWELL_SECONDS):
                await bus.publish(
                    SERVICE_STATUS, service_status(settings, "down"), kind=KIND, instance=settings.instance
                )
            group.cancel_scope.cancel()


def main() -> None:
    """Runs the observer that this process's environment describes, until SIGTERM or SIGINT."""
    settings = read_settings(Settings)
    configure_log()
    identity = Identity(KIND, settings.instance)
    testament = Testament(
        SERVICE_STATUS, service_status(settings, "lost"), {"kind": KIND, "instance": settings.instance}
    )
    bus = connect(settings.broker, identity, testament, settings.credential_file)
    serve(lambda stop: run(settings, bus, stop=stop))
