"""How this machine comes to wheels that nobody has: which platforms it builds for, with what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from flops_protocol.sla import Platform

from flops_builder.engine.wheels import engine_bench
from flops_builder.image.environment import Workshop
from flops_builder.plan import Plan
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.sources import Sources, WheelBuilder
from flops_builder.sdist.fetching import Fetcher
from flops_builder.sdist.foreseeing import ForeseeingHouse
from flops_builder.sdist.sandbox import Limits
from flops_builder.sdist.wheelhouse import Wheelhouse
from flops_builder.settings import BuilderSettings
from flops_builder.tools import Tools, host_platform


def sources_for(
    plan: Plan, tools: Tools, settings: BuilderSettings, work: Path, on_line: Callable[[str], None]
) -> Sources | None:
    """What the resolver asks for packages without a wheel, which are built; None: nothing is built here.

    :param work: for scratch
    """
    return _sources(_wheelhouses(plan, tools, settings, work, on_line), tools, settings, work)


def foreseen_sources(plan: Plan, tools: Tools, settings: BuilderSettings, work: Path) -> Sources | None:
    """The same, but nothing is built: what would be is known by what its source says of itself."""
    houses = _wheelhouses(plan, tools, settings, work, lambda _: None)
    foreseeing = {name: ForeseeingHouse(house, work / "foreseen") for name, house in houses.items()}
    return _sources(foreseeing, tools, settings, work)


def all_there(locks: Iterable[Lock], workshop: Workshop) -> bool:
    """Whether this machine has all wheels that these locks say were built from source."""
    return all(workshop.built(built.sha256) for lock in locks for built in lock.built.values())


def _sources(
    builders: Mapping[Platform, WheelBuilder], tools: Tools, settings: BuilderSettings, work: Path
) -> Sources | None:
    if not settings.build_wheels:
        return None
    folder = work / "sources"
    folder.mkdir()
    return Sources(Fetcher(tools.ml_resolver.uv.index, settings, folder), builders)


def _wheelhouses(
    plan: Plan, tools: Tools, settings: BuilderSettings, work: Path, on_line: Callable[[str], None]
) -> dict[Platform, Wheelhouse]:
    """One for this machine's own platform; with an engine, one for each other platform."""
    here = Wheelhouse(
        folder=tools.ml_workshop.built_wheels,
        scratch=work / "wheelhouse",
        resolver=tools.resolver,
        python=tools.python,
        target=plan.for_platform(host_platform()),
        limits=Limits(
            settings.wheel_seconds, settings.wheel_memory_bytes, settings.wheel_processes, settings.wheel_file_bytes
        ),
        on_line=on_line,
    )
    houses = {host_platform(): here}
    if tools.engine is not None:
        bench = engine_bench(tools.engine, settings.engine_wheel_image)
        for target in plan.targets:
            houses.setdefault(target.platform, replace(here, target=target, bench=bench, warnings=[]))
    return houses
