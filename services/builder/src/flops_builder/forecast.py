"""What a build would do: all of it that needs no installation. The locks that it finds are there for the build."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.identifiers import uuid7
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.plans import BuildForecast, PlatformForecast
from flops_protocol.messages.plans import Repair as ToldRepair
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform
from flops_registry.opening import open_registry

from flops_builder.assembly import guest
from flops_builder.build import engine_for, from_os
from flops_builder.conda.lock import CondaLock
from flops_builder.dependencies.declaration import Repair
from flops_builder.dependencies.imports import foreseen_missing
from flops_builder.dependencies.unused import unused
from flops_builder.engine.interface import Engine
from flops_builder.engine.recipe import Recipe
from flops_builder.failing import tasks
from flops_builder.grounding import asked_for, counting, foreseen
from flops_builder.history import FIRST_SECONDS, History, Kind
from flops_builder.locking import kind_of, locks_for
from flops_builder.plan import Plan, make_plan, mistakes
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.sizes import Sizes, wheel_sizes
from flops_builder.resolve.torch import torch_class
from flops_builder.resolve.uv import Target
from flops_builder.settings import BuilderSettings
from flops_builder.source.checkout import check_out
from flops_builder.sourcing import foreseen_sources
from flops_builder.tools import Tools, channels_of, tools_for

MAX_NOTES = 200
MAX_TEXT = 2000
BYTES_PER_SECOND = 25e6
"""Of wheels on their way from an index into a layer, at a guess."""
ASSEMBLED = "every package has a wheel"
CONDA = "PyPI cannot serve it, conda's channels can"


async def forecast(spec: ProjectSpec, command: BuildCommand, settings: BuilderSettings) -> BuildForecast:
    """Thinks a build through. What it would fail with stands in `errors`, beside all that was found until then."""
    work = settings.cache_dir / "work" / uuid7()
    thinking = _Thinking(spec, command, settings, work)
    try:
        with anyio.fail_after(command.deadline_seconds):
            await anyio.Path(work).mkdir(parents=True)
            await thinking.run()
    except FlopsError as error:
        thinking.errors.append(error.body)
    except TimeoutError:
        detail = f"{command.deadline_seconds:.0f} s were given to think it through"
        hint = "Ask again: what was resolved until then is kept. A build has more time."
        thinking.errors.append(FlopsError("FLOPS-B043", detail, hint=hint).body)
    except OSError as error:
        known = from_os(error)
        if not isinstance(known, FlopsError):
            raise
        thinking.errors.append(known.body)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(work, ignore_errors=True))
    return thinking.told()


@dataclass
class _Thinking:
    """The steps of a build up to its locks, and what they have shown so far."""

    spec: ProjectSpec
    command: BuildCommand
    settings: BuilderSettings
    work: Path
    found: dict[str, Any] = field(default_factory=dict)
    repairs: list[Repair] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    platforms: list[PlatformForecast] = field(default_factory=list)
    errors: list[ErrorBody] = field(default_factory=list)
    sizes: dict[Platform, Sizes] = field(default_factory=dict)
    engine: Engine | None = None
    recipe: Recipe | None = None
    """What an engine would be asked for; none is run here."""

    def told(self) -> BuildForecast:
        """What there is to tell; what would not fit into a message is left out."""
        return BuildForecast(
            **self.found,
            repairs=[_told(each) for each in self.repairs[:MAX_NOTES]],
            warnings=[each[:MAX_TEXT] for each in self.warnings[:MAX_NOTES]],
            platforms=sorted(self.platforms, key=lambda each: each.platform),
            errors=self.errors,
        )

    async def run(self) -> None:
        """All of them.

        :raises FlopsError: as a build, up to FLOPS-B025, and FLOPS-B040
        """
        plan = await self._plan()
        if plan is None:
            return
        if self.recipe is not None and self.recipe.own:
            await self._own_image(plan)
            return
        tools = await tools_for(plan, self.settings, self.work, self.engine)
        async with open_registry(self.command.registry, self.settings.access, self.settings.blob_book) as registry:
            sources = foreseen_sources(plan, tools, self.settings, self.work)
            resolution = await locks_for(
                self.spec, plan, registry, tools, sources, lambda *_: None, gpus=self.command.gpus
            )
        if tools.conda.workshop.locks:
            self.repairs.clear()  # of what PyPI would have been asked for
        self.repairs += resolution.repairs
        self.warnings += resolution.warnings
        async with tasks() as group:
            for target, lock in resolution.locks.items():
                group.start_soon(self._platform, target, lock, tools)
        first, off = plan.targets[0], plan.declaration.off
        seen = CondaLock.seen_by_python(resolution.of(first.platform))
        self.warnings += foreseen_missing(seen, plan.imports, plan.declaration.file)
        sizes = self.sizes[first.platform].of
        self.warnings += unused(plan.requirements, plan.imports, seen, off, sizes)
        number = len(resolution.locks)
        kind = await kind_of(resolution, tools.ml_workshop, guest())
        await self._expect("engine" if self.recipe is not None else kind, number)

    async def _expect(self, kind: Kind, platforms: int) -> None:
        history = History(self.settings.cache_dir / "history")
        took = await anyio.to_thread.run_sync(history.last, kind, platforms)
        seconds = self._guess(kind) if took is None else took.seconds
        self.found |= {"kind": kind, "seconds": round(seconds, 1)}
        self.found["phase_seconds"] = {} if took is None else took.phases

    def _guess(self, kind: Kind) -> float:
        """What a build takes of which there was no other: the more is to be downloaded, the longer."""
        wheels = sum(each.known or 0 for each in self.sizes.values()) if kind == "new" else 0
        return FIRST_SECONDS[kind] + wheels / BYTES_PER_SECOND

    async def _plan(self) -> Plan | None:
        """The plan; None where reading finds a mistake, which is noted then, with all others."""
        checkout = await check_out(
            self.spec.repository_url,
            self.spec.commit,
            self.spec.sla.ml_repo_subdir,
            self.work,
            self.settings,
            lambda _: None,
        )
        pythons = self.command.pythons
        self.engine = engine_for(self.settings)
        self.recipe, told = await anyio.to_thread.run_sync(asked_for, checkout, self.settings)
        self.warnings += told
        if self.recipe is not None:
            try:
                platforms = self.spec.sla.supported_platforms
                self.recipe, more = await counting(self.engine, self.recipe, checkout, platforms)
                self.warnings += more
            except FlopsError as error:
                self.errors.append(error.body)
        brought = foreseen(self.recipe, pythons)
        try:
            make = partial(make_plan, channels=bool(channels_of(self.settings)), brought=brought)
            plan = await anyio.to_thread.run_sync(make, self.spec, checkout, pythons, self.settings.glibc)
        except FlopsError as mistake:
            declaration, found = await anyio.to_thread.run_sync(mistakes, checkout, pythons, brought)
            self.errors += [each.body for each in found or [mistake]]
            if declaration is not None:
                self.found |= {"file": declaration.file, "ignored": list(declaration.ignored)}
            return None
        self.found |= {"file": plan.declaration.file, "ignored": list(plan.declaration.ignored)}
        if brought is None:
            self.found |= {"python": plan.python, "python_why": plan.python_why}
        else:
            self.found |= {"python_why": f"{brought.file} brings it: which one shows when its image is built"}
        self.repairs += plan.repairs
        self.warnings += plan.warnings
        return plan

    async def _own_image(self, plan: Plan) -> None:
        """What the repository's own image brings, only building it shows."""
        for target in plan.targets:
            self.platforms.append(PlatformForecast(platform=target.platform, way="engine", why=self._engine_why()))
        await self._expect("engine", len(plan.targets))

    def _engine_why(self) -> str:
        if self.recipe is None:
            return ""
        if self.recipe.own:
            return f"the repository's {self.recipe.file} is built with a container engine"
        return f"the Debian packages of {self.recipe.file} are installed with a container engine"

    async def _platform(self, target: Target, lock: Lock, tools: Tools) -> None:
        scratch = anyio.Path(self.work / "sizes" / target.triple)
        await scratch.mkdir(parents=True)
        cache = self.settings.cache_dir / "sizes"
        conda = CondaLock.read(lock)
        wheels = lock if conda is None else conda.wheels
        sizes = await wheel_sizes(tools.ml_resolver.uv, wheels, target, cache, Path(scratch))
        self.sizes[target.platform] = sizes
        why = CONDA if conda is not None else "" if wheels.built else ASSEMBLED
        layer = await tools.ml_workshop.kept("mlenv", lock, target, guest())
        self.platforms.append(
            PlatformForecast(
                platform=target.platform,
                way="engine" if self.recipe is not None else "assembled" if conda is None else "conda",
                why="; ".join(
                    filter(
                        None,
                        [
                            self._engine_why(),
                            why,
                            built_from_source(wheels),
                            torch_class(wheels, gpus=self.command.gpus),
                        ],
                    )
                ),
                packages=len(wheels.versions) + (0 if conda is None else len(conda.packages)),
                wheel_bytes=sizes.known,
                unsized=sizes.unknown,
                layer_bytes=None if layer is None else layer.size,
            )
        )


def built_from_source(wheels: Lock) -> str:
    """Which packages of a lock are built from source, and from which; empty where none is."""
    built = [f"{name} {wheels.versions[name]} ({each.origin})" for name, each in sorted(wheels.built.items())]
    if not built:
        return ""
    many = f"{len(built)} packages have no wheel and are" if len(built) > 1 else "1 package has no wheel and is"
    return f"{many} built from source: {', '.join(built)}"


def _told(repair: Repair) -> ToldRepair:
    return ToldRepair(
        rule=repair.rule,
        before=repair.before,
        after=repair.after,
        why=repair.why[:MAX_TEXT],
        file=repair.file,
        line=repair.line,
    )
