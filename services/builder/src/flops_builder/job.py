"""The steps of one build, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import BuildPhase
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform
from flops_registry.base import Base
from flops_registry.interface import OnBytes, Registry

from flops_builder.assembly import Assembly, Part, guest
from flops_builder.conda.lock import CondaLock
from flops_builder.conda.prefix import image_environment
from flops_builder.dependencies.imports import missing_imports, with_offer
from flops_builder.dependencies.unused import unused
from flops_builder.engine.interface import Engine
from flops_builder.engine.recipe import Recipe
from flops_builder.engine.smoke import smoke_in_engine
from flops_builder.failing import tasks
from flops_builder.grounding import Ground, asked_for, counting, foreseen, ground
from flops_builder.history import History, Kind, Took
from flops_builder.image.environment import Environment
from flops_builder.image.files import code_members
from flops_builder.image.layer import Layer, write_tar
from flops_builder.image.packing import Packed, Packer
from flops_builder.image.runtime import find_runtime
from flops_builder.locking import AGAIN, key_of_locks, kind_of, locks_for
from flops_builder.outcome import Outcome
from flops_builder.plan import Plan, make_plan
from flops_builder.publish import Layered, compose, source_inputs
from flops_builder.report import Meter
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.relax import Resolution
from flops_builder.resolve.uv import Target
from flops_builder.sdist.sandbox import Limits
from flops_builder.settings import BuilderSettings
from flops_builder.smoke import SmokeRound, SmokeTester
from flops_builder.source.checkout import Checkout, check_out
from flops_builder.sourcing import sources_for
from flops_builder.tools import Tools, channels_of, host_platform, tools_for


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
    packer: Packer
    bases: Mapping[Platform, Base]
    history: History
    engine: Engine | None = None
    """For what cannot be assembled."""
    ground: Ground = field(default_factory=Ground)
    kind: Kind = "new"
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
        tools = await tools_for(plan, self.settings, self.work, self.engine)
        assembly = await self._assembly(plan, tools)
        async with tasks() as group:
            for target in plan.targets:
                group.start_soon(self._runtime, assembly, target)
            resolution = await self._resolve(plan, assembly, tools)
            for target, lock in resolution.locks.items():
                group.start_soon(self._environment, checkout, plan, assembly, target, lock, tools.python)
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
        pythons, channels = self.command.pythons, bool(channels_of(self.settings))
        make = partial(make_plan, self.spec, checkout, pythons, self.settings.glibc, channels=channels)
        recipe, told = await anyio.to_thread.run_sync(asked_for, checkout, self.settings)
        if recipe is not None:
            recipe, more = await counting(self.engine, recipe, checkout, self.spec.sla.supported_platforms)
            told = [*told, *more]
        self.warnings += told
        plan = await anyio.to_thread.run_sync(partial(make, brought=foreseen(recipe, pythons)))
        if recipe is not None:
            self.ground = await self._ground(recipe, checkout, plan)
            plan = await anyio.to_thread.run_sync(partial(make, brought=self.ground.brought))
        self.meter.log(
            f"{plan.declaration.file}: {len(plan.declaration.requirements)} requirements, Python {plan.python}"
        )
        self.repairs += [str(each) for each in plan.repairs]
        self.warnings += plan.warnings
        self.meter.log(*self.repairs, *self.warnings)
        for name, base in () if self.ground.own else self.bases.items():
            if base.python not in {None, plan.python}:
                raise FlopsError(
                    "FLOPS-B047", f"for {name} it has Python {base.python}, and {plan.python} is asked for"
                )
        self.meter.at(BuildPhase.CHECK, 1, f"Python {plan.python}")
        return plan

    async def _ground(self, recipe: Recipe, checkout: Checkout, plan: Plan) -> Ground:
        platforms = [target.platform for target in plan.targets]
        return await ground(
            self.settings,
            self.engine,
            recipe,
            checkout.tree,
            platforms,
            plan.python,
            self.bases,
            self.packer,
            self.work,
            self._line,
        )

    async def _assembly(self, plan: Plan, tools: Tools) -> Assembly:
        if tools.python is None:
            lacking = "byte code" if self.ground.platforms else "smoke round and no byte code"
            self.warnings.append(f"no {lacking}: this machine has no Python {plan.python}")
        elif all(target.platform != host_platform() for target in plan.targets):
            self.warnings.append(f"no smoke round: {host_platform()} is not among the platforms")
        runtime = await anyio.to_thread.run_sync(find_runtime, self.settings.runtime_wheels, self.work / "wheels")
        return Assembly(
            workshop=tools.workshop,
            resolver=tools.resolver,
            ml_workshop=tools.ml_workshop,
            ml_resolver=tools.ml_resolver,
            runtime=runtime,
            guest=(*guest(), *self.ground.files(self.work)),
            conda=tools.conda,
        )

    async def _resolve(self, plan: Plan, assembly: Assembly, tools: Tools) -> Resolution:
        """A lock for each platform."""
        self.meter.at(BuildPhase.RESOLVE, 0)
        sources = sources_for(plan, tools, self.settings, self.work, self._line)
        resolution = await locks_for(
            self.spec, plan, self.registry, tools, sources, self.meter.log, gpus=self.command.gpus, ground=self.ground
        )
        if resolution.again:
            self.meter.log(AGAIN)
        if assembly.conda.workshop.locks:
            self.repairs.clear()  # of what PyPI would have been asked for
        self.locks = {target.platform: lock for target, lock in resolution.locks.items()}
        first = CondaLock.seen_by_python(resolution.of(plan.targets[0].platform))
        warnings = [*resolution.warnings, *unused(plan.requirements, plan.imports, first, plan.declaration.off)]
        self.repairs += [str(each) for each in resolution.repairs]
        self.warnings += warnings
        self.meter.log(*(str(each) for each in resolution.repairs), *warnings)
        for target, lock in resolution.locks.items():
            self.meter.at(BuildPhase.RESOLVE, 1, f"{len(lock.versions)} packages for {target}")
        kind = await kind_of(resolution, assembly.ml_workshop, assembly.guest)
        self.kind = "engine" if self.ground.platforms else kind
        self.meter.expect(await anyio.to_thread.run_sync(self.history.expected, self.kind, len(self.locks)))
        return resolution

    async def _environment(
        self, checkout: Checkout, plan: Plan, assembly: Assembly, target: Target, lock: Lock, python: Path | None
    ) -> None:
        """Layers 2 and 4 of one platform, with the smoke round where the platform is ours."""
        async with tasks() as group:
            group.start_soon(self._tracking, assembly, lock, target)
            conda, below = CondaLock.read(lock), self.ground.platforms.get(target.platform)
            runnable = python is not None or conda is not None or below is not None
            here = runnable and target.platform == host_platform()
            self.meter.at(BuildPhase.INSTALL, 0, f"{len(lock.versions)} packages for {target}")
            environment = await assembly.environment(lock, target, self._line) if here else None
            self.installed += 1
            self.meter.at(BuildPhase.INSTALL, self.installed / len(self.locks))
            if environment is not None and below is not None:
                group.start_soon(self._smoke_in_engine, below.image, target, environment.folder, checkout)
            elif environment is not None and (own := environment.python or python) is not None:
                group.start_soon(self._smoke, own, environment, checkout, plan)
            self.mlenv[target.platform] = await assembly.environment_layer(lock, target, environment)
            await self._pack(assembly, self.mlenv[target.platform])

    async def _tracking(self, assembly: Assembly, lock: Lock, target: Target) -> None:
        flavor = self.spec.sla.ml_model_flavor
        self.tracking[target.platform] = await assembly.tracking_part(lock, flavor, target, self._line)
        await self._pack(assembly, self.tracking[target.platform].layer)

    async def _runtime(self, assembly: Assembly, target: Target) -> None:
        self.runtime[target.platform] = await assembly.runtime_part(target)
        await self._pack(assembly, self.runtime[target.platform].layer)

    async def _smoke(self, python: Path, environment: Environment, checkout: Checkout, plan: Plan) -> None:
        file = plan.declaration.file
        missing = await anyio.to_thread.run_sync(missing_imports, environment.folder, plan.imports, file)
        self.warnings += missing
        self.meter.log(*missing)
        memory = self.spec.sla.resource_constraints.memory_limit_bytes
        scratch = self.work / "smoke"
        await anyio.Path(scratch).mkdir()
        smoke = SmokeRound(
            python=python,
            environment=environment.folder,
            prefix=environment.prefix,
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
        packed = {code.digest: await self.packer.pack(code, self.work / "code.tar")}
        for name, lock in self.locks.items():
            runtime, tracking = self.runtime[name], self.tracking[name]
            locks = {"runtime": runtime.lock, "mlenv": lock, "tracking": tracking.lock}
            conda = CondaLock.read(lock)
            variables = {} if conda is None else image_environment(conda.python)
            if below := self.ground.platforms.get(name):
                locks["base"] = below.lock
            platforms[name] = Layered(runtime.layer, self.mlenv[name], tracking.layer, locks, variables)
            packed |= {layer.digest: await self._pack(assembly, layer) for layer in platforms[name].layers}
        inputs = source_inputs(self.spec, self.command, self.settings.base_image, self.settings.builder_version)
        key = key_of_locks(self.spec, plan, gpus=self.command.gpus)
        bases = {**self.bases, **{name: each.base for name, each in self.ground.platforms.items()}}
        push, images = compose(self.spec, self.command, inputs, plan.python, key, code, platforms, packed, bases)
        total = sum({each.digest: each.size for each in packed.values()}.values())
        total += sum(each.descriptor.size for each in push.borrowed.values())
        self.meter.at(BuildPhase.PUSH, 0, images.learner.repository, bytes_done=0, bytes_total=total)
        pushed = await self.registry.push(push, self._push_meter(total))
        self.meter.at(BuildPhase.PUSH, 1, f"{pushed.bytes} bytes were new", bytes_done=total, bytes_total=total)
        self.meter.finish(images.image_key)
        took = Took(round(self.meter.seconds, 1), self.meter.phase_seconds)
        await anyio.to_thread.run_sync(self.history.note, self.kind, len(self.locks), took)
        return Outcome(
            images=images,
            repairs=self.repairs,
            warnings=self.warnings,
            bytes_pushed=pushed.bytes,
            seconds=self.meter.seconds,
            phase_seconds=self.meter.phase_seconds,
        )

    def _push_meter(self, total: int) -> OnBytes:
        arrived = 0

        def count(more: int) -> None:
            nonlocal arrived
            arrived += more
            self.meter.at(BuildPhase.PUSH, arrived / max(1, total), bytes_done=arrived, bytes_total=total)

        return count

    async def _pack(self, assembly: Assembly, layer: Layer) -> Packed:
        packed = await self.packer.pack(layer, assembly.workshop.layers.path(layer.digest))
        self._layer_done()
        return packed

    def _layer_done(self) -> None:
        platforms = len(set(self.spec.sla.supported_platforms))
        done = [*self.mlenv.values(), *(part.layer for part in (*self.runtime.values(), *self.tracking.values()))]
        size = sum(layer.size for layer in done)
        self.meter.at(BuildPhase.LAYERS, len(done) / (3 * platforms), f"{len(done)} layers", bytes_done=size)

    def _line(self, line: str) -> None:
        if line.strip():
            self.meter.log(line.rstrip(), stream="code")
