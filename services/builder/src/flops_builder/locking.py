"""The locks of a build: those that this commit was built with before, where the registry has them; else resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from flops_protocol.messages.project import ProjectSpec
from flops_registry.interface import Registry
from flops_registry.names import repository_slug
from packaging.version import InvalidVersion, Version

from flops_builder.conda.lock import CondaLock
from flops_builder.conda.way import resolve_either
from flops_builder.dependencies.declaration import Requirement
from flops_builder.dependencies.repairs import imported
from flops_builder.grounding import Ground
from flops_builder.history import Kind
from flops_builder.image.environment import Workshop
from flops_builder.plan import Plan
from flops_builder.publish import lock_title
from flops_builder.resolve.explain import place
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import Lock, lock_key
from flops_builder.resolve.relax import Relaxation, Resolution
from flops_builder.resolve.sources import Sources
from flops_builder.sourcing import all_there
from flops_builder.tools import Tools

AGAIN = "the locks are those of an earlier build of this commit"


async def locks_for(
    spec: ProjectSpec,
    plan: Plan,
    registry: Registry,
    tools: Tools,
    sources: Sources | None,
    on_line: Callable[..., None],
    *,
    gpus: bool,
    ground: Ground | None = None,
) -> Resolution:
    """A lock for each platform of a plan.

    :param sources: builds what has no wheel, or foresees that; None: that is switched off
    :param on_line: takes what people may want to know of it
    :param gpus: whether the learners' nodes have some
    :param ground: what an engine made below; what that has is in the locks, and not installed again
    :raises FlopsError: FLOPS-B022, FLOPS-B023, FLOPS-B025 to FLOPS-B029, FLOPS-B040, FLOPS-B050 to FLOPS-B053;
        FLOPS-B001 to FLOPS-B008 for a package in a repository
    """
    ground = ground or Ground()
    known = None
    if not ground.own:  # what an image of the repository's own brings is known by itself only
        known = await registry.find_locks(repository_slug(spec.repository_url), key_of_locks(spec, plan, gpus=gpus))
    if known is not None and all(lock_title(target.platform, "mlenv") in known for target in plan.targets):
        locks = {target: Lock(known[lock_title(target.platform, "mlenv")]) for target in plan.targets}
        there = await anyio.to_thread.run_sync(all_there, locks.values(), tools.ml_workshop)
        if there and (again := tools.conda.known(locks)) is not None:
            moved = _moved(plan.requirements, CondaLock.seen_by_python(locks[plan.targets[0]]))
            return replace(again, warnings=moved, again=True)
    request = Request(
        plan.requirements,
        (*plan.declaration.constraints, *ground.constraints),
        plan.targets,
        plan.declaration.off,
        gpus=gpus,
        locked=plan.declaration.locked,
        imported=frozenset(each.name for each in plan.requirements if imported(each.name, plan.imports)),
    )
    pypi = Relaxation(JointResolver(tools.ml_resolver, request), sources).resolve
    conda = None if plan.conda is None else partial(tools.conda.resolve, plan.conda, plan.targets, sources)
    because = None if plan.conda is None else plan.conda.because
    resolution = await resolve_either(pypi, conda, because, on_line, hint=plan.could_be_conda)
    warnings = (*resolution.warnings, *(() if sources is None else sources.warnings))
    return replace(resolution, locks=ground.joined(resolution.locks), warnings=warnings)


def _moved(requirements: Sequence[Requirement], lock: Lock) -> tuple[str, ...]:
    """Which pins an earlier build has moved: its repairs are told again, as far as its lock shows them."""
    versions = lock.versions
    return tuple(
        f"{place(each)} is {each.name}=={versions[each.name]}, as in an earlier build of this commit"
        for each in requirements
        if each.exact is not None and each.name in versions and not _same(versions[each.name], each.exact)
    )


def _same(locked: str, pinned: str) -> bool:
    """Whether a locked version is the pinned one, or its build for the CPU."""
    try:
        return Version(locked) == Version(pinned) or Version(Version(locked).public) == Version(pinned)
    except InvalidVersion:  # it comes from a URL
        return True


def key_of_locks(spec: ProjectSpec, plan: Plan, *, gpus: bool) -> str:
    """The same for every build of this commit that asks for the same packages on the same platforms."""
    specs = [] if plan.declaration.conda is None else [each.text for each in plan.declaration.conda.specs]
    return lock_key(
        spec.repository_url,
        spec.commit,
        [str(each) for each in plan.targets],
        [each.text for each in (*plan.requirements, *plan.declaration.constraints)] + specs,
        *(["gpus"] if gpus else []),
    )


async def kind_of(resolution: Resolution, workshop: Workshop, guest: Sequence[tuple[str, Path]]) -> Kind:
    """Which builds this one is like, by what lies in the cache."""
    kept = [await workshop.kept("mlenv", lock, target, guest) for target, lock in resolution.locks.items()]
    return "kept" if all(kept) else "new"
