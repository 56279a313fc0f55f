"""Puts the manager together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

import anyio
import structlog
from anyio import Event, create_task_group, move_on_after
from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.channels import SERVICE_STATUS
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import ServiceStatus
from flops_protocol.messages.project import EventName
from flops_protocol.process.start import configure_log, read_settings, serve
from flops_registry.uses import UseBook

from flops_manager.adapters.git import GitResolver
from flops_manager.adapters.mqtt import connect
from flops_manager.adapters.process_engine import ProcessEngine
from flops_manager.adapters.process_engine.engine import ProcessEngineOptions
from flops_manager.adapters.registry import RegistryLookup
from flops_manager.announce import announcer, spec
from flops_manager.engine import Engine
from flops_manager.execute import Executor
from flops_manager.forecasts import Forecasts
from flops_manager.handlers import Broken, Handlers
from flops_manager.nodes import Nodes
from flops_manager.outbox import Pump
from flops_manager.plan import Planner
from flops_manager.project.log import Details, Draft
from flops_manager.project.policy import Policy
from flops_manager.reconcile import Reconciler
from flops_manager.repository import Allowed
from flops_manager.requests import Desk
from flops_manager.settings import Settings
from flops_manager.store.store import Store
from flops_manager.sweep import sweep

KIND = "manager"
FAREWELL_SECONDS = 2.0
ALIVE_SECONDS = 10.0
PAUSE_SECONDS = 30.0
"""A manager that was away longer than this gives its projects the time back."""

log = structlog.get_logger(__name__)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def service_status(settings: Settings, state: str) -> ServiceStatus:
    """What the manager says of itself: `up`, `down` when it was asked to stop; its last will says `lost`."""
    links = {"mlflow": settings.tracking_uri} if settings.tracking_uri else {}
    return ServiceStatus.model_validate(
        {
            "kind": KIND,
            "instance": settings.instance,
            "state": state,
            "since": now(),
            "version": version("flops-manager"),
            "links": links,
        }
    )


async def run(settings: Settings, bus: Bus, *, stop: Event | None = None, engine: Engine | None = None) -> None:
    """Manages projects until `stop` is set, then says goodbye; when it is cancelled, its last will speaks.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at the start
    """
    engine = engine or process_engine(settings)
    store = await Store.open(settings.state_dir / "manager.sqlite", announcer(bus, settings.tracking_uri), now)
    try:
        await _run(settings, bus, store, engine, stop or Event())
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()


def process_engine(settings: Settings) -> ProcessEngine:
    """The engine of this machine."""
    return ProcessEngine(
        ProcessEngineOptions(
            node=settings.node,
            folder=settings.engine_dir,
            data=settings.data_dir,
            cache=settings.cache_dir,
            builder_command=settings.builder_command,
            grace_seconds=settings.grace_seconds,
            access=settings.access,
        )
    )


async def _run(settings: Settings, bus: Bus, store: Store, engine: Engine, stop: Event) -> None:
    policy = Policy(
        secret=await store.secret(),
        actor_restarts=settings.actor_restarts,
        builder_restarts=settings.builder_restarts,
        start_seconds=settings.start_seconds,
        lost_seconds=settings.lost_seconds,
    )
    nodes = Nodes(engine, bus, settings.scan_seconds)
    resolver = GitResolver(settings)
    images = RegistryLookup(settings.registry, settings.access, UseBook(settings.cache_dir / "images"))
    executor = Executor(settings, policy, store, bus, engine, nodes, resolver, images, now)
    reconciler = Reconciler(executor, policy, now, settings.reconcile_seconds)
    pump = Pump(store, bus)
    allowed = Allowed(settings.local_repositories, http=settings.allow_http)
    desk = Desk(store, allowed, settings.tracking_uri, reconciler.wake)
    forecasts = Forecasts(settings, bus, engine)
    planner = Planner(settings, store, nodes, resolver, images, forecasts, now)
    broken = Broken()
    handlers = Handlers(bus, store, desk, planner, reconciler.wake, now, broken)

    async def connected() -> None:
        pump.refresh()
        reconciler.listening()

    bus.on_connect(connected)
    await _give_time_back(store, now)
    if await store.moved("tracking", settings.tracking_uri):
        await store.say_again(lambda state: spec(bus, state, settings.tracking_uri))
    async with create_task_group() as group:
        async with create_task_group() as work:
            handlers.register(work)
            await group.start(bus.run)
            await bus.publish(SERVICE_STATUS, service_status(settings, "up"), kind=KIND, instance=settings.instance)
            log.info("managing", broker=settings.broker, instance=settings.instance, projects=len(store.live))
            work.start_soon(broken.watch)
            work.start_soon(engine.run)
            work.start_soon(nodes.run)
            work.start_soon(pump.run)
            work.start_soon(reconciler.run)
            work.start_soon(_stay_alive, store)
            work.start_soon(sweep, store, engine, lambda: forecasts.running, settings.reconcile_seconds)
            await stop.wait()
            work.cancel_scope.cancel()
        await _say_goodbye(settings, bus, store, engine, nodes, pump)
        group.cancel_scope.cancel()


async def _say_goodbye(settings: Settings, bus: Bus, store: Store, engine: Engine, nodes: Nodes, pump: Pump) -> None:
    if settings.stop_actors_on_exit:
        # Taken down, not lost: at the next start they are missing, and started again.
        async with create_task_group() as group:
            for actor in await engine.list():
                group.start_soon(partial(engine.remove, actor.project, actor.instance, keep_state=True))
    await store.alive(now())
    with move_on_after(FAREWELL_SECONDS):
        try:
            await pump.flush()
            await nodes.farewell()
            await bus.publish(SERVICE_STATUS, service_status(settings, "down"), kind=KIND, instance=settings.instance)
        except FlopsError as error:
            log.warning("the goodbye was not taken", error=str(error))


async def _give_time_back(store: Store, clock: Callable[[], datetime]) -> None:
    """The time that the manager was away does not count against the deadlines of its projects."""
    last = await store.alive(clock())
    away = (clock() - last).total_seconds() if last is not None else 0.0
    if away <= PAUSE_SECONDS:
        return
    text = f"The mesh was away for {away:.0f} s, which do not count against deadlines"
    for project in store.live:
        await store.change(
            project, lambda _: [Draft(EventName.NOTICE, text, details=Details(paused_seconds=away))], operation="pause"
        )


async def _stay_alive(store: Store) -> None:
    while True:
        await anyio.sleep(ALIVE_SECONDS)
        await store.alive(now())
        await store.prune()


def main() -> None:
    """Runs the manager that this process's environment describes, until SIGTERM or SIGINT."""
    settings = read_settings(Settings)
    configure_log()
    instance = {"kind": KIND, "instance": settings.instance}
    testament = Testament(SERVICE_STATUS, service_status(settings, "lost"), instance)
    identity = Identity(KIND, settings.instance)
    bus = connect(settings, identity, testament)
    serve(lambda stop: run(settings, bus, stop=stop))
