"""How this machine comes to wheels that nobody has: which platforms it builds for, with what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from flops_protocol.sla import Platform

from flops_builder.assembly import Assembly
from flops_builder.engine.interface import Engine
from flops_builder.engine.wheels import engine_bench
from flops_builder.grounding import filled
from flops_builder.plan import Plan
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.sources import Sources
from flops_builder.sdist.fetching import Fetcher
from flops_builder.sdist.sandbox import Limits
from flops_builder.sdist.wheel import find_wheel
from flops_builder.sdist.wheelhouse import Wheelhouse
from flops_builder.settings import BuilderSettings


def wheelhouse(
    settings: BuilderSettings,
    plan: Plan,
    assembly: Assembly,
    python: Path | None,
    host: Platform,
    work: Path,
    on_line: Callable[[str], None],
) -> Wheelhouse:
    """What builds wheels on this machine's own platform."""
    limits = Limits(
        settings.wheel_seconds, settings.wheel_memory_bytes, settings.wheel_processes, settings.wheel_file_bytes
    )
    return Wheelhouse(
        folder=settings.cache_dir / "wheels",
        scratch=work / "wheelhouse",
        resolver=assembly.resolver,
        python=python,
        target=plan.for_platform(host),
        limits=limits,
        on_line=on_line,
    )


def sources(
    settings: BuilderSettings, plan: Plan, assembly: Assembly, house: Wheelhouse, engine: Engine | None, work: Path
) -> Sources | None:
    """What the resolver asks for packages without a wheel; None: nothing is built here."""
    if not settings.build_wheels:
        return None
    folder = work / "sources"
    folder.mkdir()
    builders = {house.target.platform: house}
    for target in plan.targets:
        if target.platform not in builders and engine is not None and settings.engine_builds:
            image = filled(settings.engine_wheel_image, target.python, target.platform)
            builders[target.platform] = replace(house, target=target, bench=engine_bench(engine, image))
    return Sources(Fetcher(assembly.ml_resolver.uv.index, settings, folder), builders)


def all_there(locks: Iterable[Lock], settings: BuilderSettings) -> bool:
    """Whether this machine has all wheels that these locks say were built from source."""
    folder = settings.cache_dir / "wheels"
    return all(find_wheel(folder, built.sha256) for lock in locks for built in lock.built.values())
