"""The steps of one build, in their order."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import uv
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import BuildPhase
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform

from flops_builder.assembly import Assembly, Part, guest
from flops_builder.dependencies.imports import missing_imports, with_offer
from flops_builder.engine.interface import Engine
from flops_builder.engine.recipe import find_recipe
from flops_builder.engine.smoke import smoke_in_engine
from flops_builder.failing import tasks
from flops_builder.grounding import Ground, ground
from flops_builder.image.bytecode import PROCESSES, Compiler, find_python
from flops_builder.image.environment import Workshop
from flops_builder.image.files import code_members
from flops_builder.image.layer import Layer, LayerCache, write_tar
from flops_builder.image.registry import Registry
from flops_builder.image.runtime import find_runtime
from flops_builder.outcome import Outcome
from flops_builder.plan import Brought, Plan, make_plan
from flops_builder.publish import Layered, compose, lock_title, source_inputs
from flops_builder.report import Meter
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import Lock, LockStore, lock_key
from flops_builder.resolve.relax import Relaxation, Resolution
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target, Uv
from flops_builder.sdist.sandbox import Limits
from flops_builder.settings import BuilderSettings
from flops_builder.smoke import SmokeRound, SmokeTester
from flops_builder.source.checkout import Checkout, check_out
from flops_builder.sourcing import all_there, sources, wheelhouse

MACHINES: dict[str, Platform] = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}


@dataclass
class Job:
    """The steps of one build, and what they have brought so far."""

    spec: ProjectSpec
    command: BuildCommand
    settings: BuilderSettings
    meter: Meter
    registry: Registry
    work: Path
    smoke_tester: SmokeTester
    engine: Engine | None = None
    """For what cannot be assembled."""
    ground: Ground = field(default_factory=Ground)
    repairs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    installed: int = 0
    locks: dict[Platform, Lock] = field(default_factory=dict)
    mlenv: dict[Platform, Layer] = field(default_factory=dict)
    runtime: dict[Platform, Part] = field(default_factory=dict)
    tracking: dict[Platform, Part] = field(default_factory=dict)

    async def run(self) -> Outcome:
        """All of it.

        :raises FlopsError: as `build`
        """
        checkout = await self._check_out()
        plan = await self._plan(checkout)
        assembly, python = await self._assembly(plan)
        assembly = replace(assembly, guest=(*assembly.guest, *self.ground.files(self.work)))
        async with tasks() as group:
            for target in plan.targets:
                group.start_soon(self._runtime, assembly, target)
            resolution = await self._resolve(plan, assembly, python)
            for target, lock in resolution.locks.items():
                group.start_soon(self._environment, checkout, plan, assembly, target, lock, python)
        code = await anyio.to_thread.run_sync(self._code_layer, checkout)
        return await self._publish(plan, assembly, code)

    async def _check_out(self) -> Checkout:
        self.meter.at(BuildPhase.CLONE, 0, self.spec.repository_url)
        checkout = await check_out(
            self.spec.repository_url,
            self.spec.commit,
            self.spec.sla.ml_repo_subdir,
            self.work,
            self.settings,
            lambda fraction: self.meter.at(BuildPhase.CLONE, fraction * 0.9),
        )
        self.meter.at(
            BuildPhase.CLONE, 1, f"{checkout.files} files", bytes_done=checkout.bytes, bytes_total=checkout.bytes
        )
        return checkout

    async def _plan(self, checkout: Checkout) -> Plan:
        self.meter.at(BuildPhase.CHECK, 0)
        planned = partial(make_plan, self.spec, checkout, self.command.pythons, self.settings.glibc)
        subdir = checkout.code.relative_to(checkout.tree).as_posix()
        recipe = await anyio.to_thread.run_sync(find_recipe, checkout.tree, subdir)
        if recipe is not None and not self.settings.engine_builds:
            self.warnings.append(f"{recipe.file} does not count: this builder is set to use no engine")
            recipe = None
        # An engine takes minutes: what reading tells comes first.
        early = (
            Brought(recipe.file, self.command.pythons[0], frozenset()) if recipe is not None and recipe.own else None
        )
        plan = await anyio.to_thread.run_sync(planned, early)
        if recipe is not None:
            self.warnings += [f"{recipe.file} counts; not read: {', '.join(recipe.ignored)}"] if recipe.ignored else []
            platforms = [target.platform for target in plan.targets]
            self.ground = await ground(
                self.settings, self.engine, recipe, checkout.tree, platforms, plan.python, self.work, self._line
            )
            plan = await anyio.to_thread.run_sync(planned, self.ground.brought)
        self.meter.log(
            f"{plan.declaration.file}: {len(plan.declaration.requirements)} requirements, Python {plan.python}"
        )
        self.repairs += [str(each) for each in plan.repairs]
        self.warnings += plan.warnings
        self.meter.log(*self.repairs, *self.warnings)
        self.meter.at(BuildPhase.CHECK, 1, f"Python {plan.python}")
        return plan

    async def _assembly(self, plan: Plan) -> tuple[Assembly, Path | None]:
        cache = self.settings.cache_dir
        index = site_index(os.environ, cache)
        tool = Uv(index, self.settings.index_seconds, uv.find_uv_bin())
        if plan.python == f"{sys.version_info.major}.{sys.version_info.minor}":
            python: Path | None = Path(sys.executable)
        else:
            python = await find_python(plan.python, tool.binary, index.environment, self.work)
        compiler = (
            Compiler(python, plan.python, cache / "bytecode", anyio.CapacityLimiter(PROCESSES)) if python else None
        )
        if python is None:
            lacking = "byte code" if self.ground.platforms else "smoke round and no byte code"
            self.warnings.append(f"no {lacking}: this machine has no Python {plan.python}")
        elif all(target.platform != host_platform() for target in plan.targets):
            self.warnings.append(f"no smoke round: {host_platform()} is not among the platforms")
        runtime = await anyio.to_thread.run_sync(find_runtime, self.settings.runtime_wheels, self.work / "wheels")
        layers, locks = LayerCache(cache / "layers"), LockStore(cache / "locks", self.settings.lock_hours)
        ml_tool = replace(tool, index=index.with_options(plan.declaration.options))
        assembly = Assembly(
            workshop=Workshop(tool, layers, cache, compiler),
            resolver=Resolver(tool, locks, self.work / "resolve"),
            ml_workshop=Workshop(ml_tool, layers, cache, compiler),
            ml_resolver=Resolver(ml_tool, locks, self.work / "resolve"),
            runtime=runtime,
            guest=guest(),
        )
        return assembly, python

    async def _resolve(self, plan: Plan, assembly: Assembly, python: Path | None) -> Resolution:
        """A lock for each platform: those that this commit was built with before, where the registry has them."""
        self.meter.at(BuildPhase.RESOLVE, 0)
        known = None if self.ground.own else await self.registry.find_locks(self._lock_key(plan))
        titles = {target: lock_title(target.platform, "mlenv") for target in plan.targets}
        locks = {target: Lock(known[title]) for target, title in titles.items() if title in known} if known else {}
        if len(locks) == len(titles) and await anyio.to_thread.run_sync(all_there, locks.values(), self.settings):
            resolution = Resolution(locks)
            self.meter.log("the locks are those of an earlier build of this commit")
        else:
            limits = (*plan.declaration.constraints, *self.ground.constraints)
            request = Request(plan.requirements, limits, plan.targets, plan.declaration.off)
            house = wheelhouse(self.settings, plan, assembly, python, host_platform(), self.work, self._line)
            building = sources(self.settings, plan, assembly, house, self.engine, self.work)
            resolution = await Relaxation(JointResolver(assembly.ml_resolver, request), building).resolve()
            resolution = replace(resolution, locks=self.ground.joined(resolution.locks))
            self.warnings += house.warnings
            self.meter.log(*house.warnings)
        self.locks = {target.platform: lock for target, lock in resolution.locks.items()}
        self.repairs += [str(each) for each in resolution.repairs]
        self.warnings += resolution.warnings
        self.meter.log(*(str(each) for each in resolution.repairs), *resolution.warnings)
        for target, lock in resolution.locks.items():
            self.meter.at(BuildPhase.RESOLVE, 1, f"{len(lock.versions)} packages for {target}")
        return resolution

    async def _environment(
        self, checkout: Checkout, plan: Plan, assembly: Assembly, target: Target, lock: Lock, python: Path | None
    ) -> None:
        """Layers 2 and 4 of one platform, with the smoke round where the platform is ours."""
        async with tasks() as group:
            group.start_soon(self._tracking, assembly, lock, target)
            below = self.ground.platforms.get(target.platform)
            here = (python is not None or below is not None) and target.platform == host_platform()
            self.meter.at(BuildPhase.INSTALL, 0, f"{len(lock.versions)} packages for {target}")
            environment = await assembly.environment(lock, target, self._line) if here else None
            self.installed += 1
            self.meter.at(BuildPhase.INSTALL, self.installed / len(self.locks))
            if environment is not None and below is not None:
                group.start_soon(self._smoke_in_engine, below.image, target, environment.folder, checkout)
            elif environment is not None and python is not None:
                group.start_soon(self._smoke, python, environment.folder, checkout, plan)
            self.mlenv[target.platform] = await assembly.environment_layer(lock, target, environment)
            self._layer_done()

    async def _tracking(self, assembly: Assembly, lock: Lock, target: Target) -> None:
        flavor = self.spec.sla.ml_model_flavor
        self.tracking[target.platform] = await assembly.tracking_part(lock, flavor, target, self._line)
        self._layer_done()

    async def _runtime(self, assembly: Assembly, target: Target) -> None:
        self.runtime[target.platform] = await assembly.runtime_part(target)
        self._layer_done()

    async def _smoke(self, python: Path, environment: Path, checkout: Checkout, plan: Plan) -> None:
        file = plan.declaration.file
        missing = await anyio.to_thread.run_sync(missing_imports, environment, plan.imports, file)
        self.warnings += missing
        self.meter.log(*missing)
        memory = self.spec.sla.resource_constraints.memory_limit_bytes
        scratch = self.work / "smoke"
        await anyio.Path(scratch).mkdir()
        smoke = SmokeRound(
            python=python,
            environment=environment,
            code=checkout.code,
            scratch=scratch,
            seconds=self.settings.smoke_seconds,
            memory_bytes=memory or self.settings.smoke_memory_bytes,
        )
        self.meter.at(BuildPhase.SMOKE, 0)
        try:
            smoked = await self.smoke_tester.run(smoke, lambda line: self.meter.log(line, stream="code"))
        except FlopsError as error:
            raise with_offer(error, file) from error
        if smoked.in_network:
            self.warnings.append(f"the smoke round could use the network: this machine says {smoked.in_network}")
        self.meter.at(BuildPhase.SMOKE, 1, f"{smoked.arrays} parameter arrays")

    async def _smoke_in_engine(self, image: str, target: Target, environment: Path, checkout: Checkout) -> None:
        """The smoke round of an environment that stands on an image of the engine's."""
        memory = self.spec.sla.resource_constraints.memory_limit_bytes or self.settings.smoke_memory_bytes
        limits = Limits(
            self.settings.smoke_seconds, memory, self.settings.wheel_processes, self.settings.wheel_file_bytes
        )
        scratch = self.work / "smoke"
        await anyio.Path(scratch).mkdir()
        assert self.engine is not None  # noqa: S101 - it has built the image
        self.meter.at(BuildPhase.SMOKE, 0)
        arrays = await smoke_in_engine(
            self.engine, image, target.platform, environment, checkout.code, limits, scratch, self._line
        )
        self.meter.at(BuildPhase.SMOKE, 1, f"{arrays} parameter arrays")

    def _code_layer(self, checkout: Checkout) -> Layer:
        digest, size = write_tar(code_members(checkout.code, checkout.tree), self.work / "code.tar")
        return Layer("code", digest, size)

    async def _publish(self, plan: Plan, assembly: Assembly, code: Layer) -> Outcome:
        platforms = {}
        files = {code.digest: self.work / "code.tar"}
        for name, lock in self.locks.items():
            runtime, tracking = self.runtime[name], self.tracking[name]
            locks = {"runtime": runtime.lock, "mlenv": lock, "tracking": tracking.lock}
            platforms[name] = Layered(runtime.layer, self.mlenv[name], tracking.layer, locks)
            files |= {layer.digest: assembly.workshop.layers.path(layer.digest) for layer in platforms[name].layers}
            if below := self.ground.platforms.get(name):
                saved = below.saved
                config = saved.configuration.get("config") or {}
                platforms[name] = replace(
                    platforms[name], locks=locks | {"base": below.lock}, base=saved.layers, below=config
                )
                files |= saved.files
        inputs = source_inputs(self.spec, self.command, self.settings.base_image, self.settings.builder_version)
        push = compose(self.spec, self.command, inputs, plan.python, self._lock_key(plan), code, platforms, files)
        total = code.size + sum(layer.size for each in platforms.values() for layer in each.layers)
        self.meter.at(BuildPhase.PUSH, 0, push.images.learner.repository, bytes_done=0, bytes_total=total)
        pushed = await self.registry.push(push)
        self.meter.at(BuildPhase.PUSH, 1, f"{pushed.bytes} bytes were new", bytes_done=total, bytes_total=total)
        self.meter.finish(push.images.image_key)
        return Outcome(
            images=push.images,
            repairs=self.repairs,
            warnings=self.warnings,
            bytes_pushed=pushed.bytes,
            seconds=self.meter.seconds,
            phase_seconds=self.meter.phase_seconds,
        )

    def _lock_key(self, plan: Plan) -> str:
        """The same for every build of this commit that asks for the same packages on the same platforms."""
        return lock_key(
            self.spec.repository_url,
            self.spec.commit,
            [str(each) for each in plan.targets],
            [each.text for each in (*plan.requirements, *plan.declaration.constraints)],
        )

    def _layer_done(self) -> None:
        platforms = len(set(self.spec.sla.supported_platforms))
        done = [*self.mlenv.values(), *(part.layer for part in (*self.runtime.values(), *self.tracking.values()))]
        size = sum(layer.size for layer in done)
        self.meter.at(BuildPhase.LAYERS, len(done) / (3 * platforms), f"{len(done)} layers", bytes_done=size)

    def _line(self, line: str) -> None:
        if line.strip():
            self.meter.log(line.rstrip(), stream="code")


def host_platform() -> Platform:
    """The platform of this machine."""
    return MACHINES.get(platform.machine(), "linux/amd64")
