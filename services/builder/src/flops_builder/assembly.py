"""The layers of one image for one platform, each made as soon as what it needs is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flops_mlrepo.host import guest_files
from flops_protocol.sla import ModelFlavor

from flops_builder.conda.lock import CondaLock
from flops_builder.conda.resolver import CondaResolver
from flops_builder.image.environment import Environment, Workshop
from flops_builder.image.layer import Layer
from flops_builder.image.runtime import NOT_LOADED, Runtime
from flops_builder.image.tracking import pins, tracking_lock, tracking_requirements
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target, UnresolvableError

Line = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A layer and the lock that it was made from."""

    layer: Layer
    lock: Lock


@dataclass(frozen=True)
class Assembly:
    """Makes layers. Each method may be called for several targets at once."""

    workshop: Workshop
    resolver: Resolver
    ml_workshop: Workshop
    """The same with the indexes that the repository names: they say nothing about our own layers."""
    ml_resolver: Resolver
    runtime: Runtime
    guest: tuple[tuple[str, Path], ...]
    conda: CondaResolver
    """For ML environments that PyPI cannot serve."""

    async def runtime_part(self, target: Target) -> Part:
        """Layer 1. In the versions that were tested together, as far as they are to be had for this target.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        try:
            lock = await self.resolver.lock(
                self.runtime.requirements, target, constraints=self.runtime.constraints, excludes=NOT_LOADED
            )
        except UnresolvableError:
            lock = await self.resolver.lock(self.runtime.requirements, target, excludes=NOT_LOADED)
        return Part(await self.workshop.layer("runtime", lock, target, self.runtime.files()), lock)

    async def environment(self, lock: Lock, target: Target, on_line: Line) -> Environment:
        """The ML environment, installed.

        :raises FlopsError: FLOPS-B025, FLOPS-B040, FLOPS-B052
        """
        if (conda := CondaLock.read(lock)) is not None:
            return await self.conda.workshop.environment(conda, target, self.guest, on_line)
        return await self.ml_workshop.environment("mlenv", lock, target, self.guest, on_line)

    async def environment_layer(self, lock: Lock, target: Target, environment: Environment | None) -> Layer:
        """Layer 2.

        :raises FlopsError: FLOPS-B025, FLOPS-B040, FLOPS-B052
        """
        if (conda := CondaLock.read(lock)) is not None:
            return await self.conda.workshop.layer(conda, target, self.guest, environment)
        return await self.ml_workshop.layer("mlenv", lock, target, self.guest, environment)

    async def tracking_part(self, environment: Lock, flavor: ModelFlavor, target: Target, on_line: Line) -> Part:
        """Layer 4, in versions that fit the ML environment, without what that has.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        wanted, workshop = tracking_requirements(flavor), self.workshop
        if (conda := CondaLock.read(environment)) is not None:
            environment = conda.python_packages
            workshop = replace(workshop, compiler=(await self.conda.workshop.workshop(target)).compiler)
        try:
            resolved = await self.resolver.lock(wanted, target, constraints=pins(environment))
            lock = tracking_lock(resolved, environment)
        except UnresolvableError as error:
            on_line(f"MLflow does not fit the environment's versions; it gets its own: {error.explanation[-500:]}")
            lock = await self.resolver.lock(wanted, target)
        return Part(await workshop.layer("tracking", lock, target, ()), lock)


def guest() -> tuple[tuple[str, Path], ...]:
    """The guest's files, as they go into every ML environment."""
    return tuple(guest_files())
