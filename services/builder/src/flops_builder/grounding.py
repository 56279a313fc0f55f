"""Which way each platform takes: assembled from wheels alone, or on top of what an engine builds, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform
from flops_registry.base import Base

from flops_builder.dependencies.choice import read_dependencies
from flops_builder.dependencies.declaration import Requirement, requirement
from flops_builder.engine.grounds import Grounds, make_grounds
from flops_builder.engine.interface import Engine, Line, filled
from flops_builder.engine.recipe import Recipe, find_recipe
from flops_builder.image.packing import Packer
from flops_builder.plan import Brought
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target
from flops_builder.settings import BuilderSettings
from flops_builder.source.checkout import Checkout

PATH_FILE = "flops_image.pth"


@dataclass(frozen=True)
class Ground:
    """What the layers of a build stand on; nothing, for most."""

    platforms: dict[Platform, Grounds] = field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def own(self) -> bool:
        """Whether the repository's own image brings the ML environment."""
        return self.recipe is not None and self.recipe.own

    @property
    def brought(self) -> Brought | None:
        """What the plan has to know of it."""
        if self.recipe is None or not self.own:
            return None
        installed = [frozenset(each.packages) for each in self.platforms.values()]
        python = next(iter(self.platforms.values())).python
        return Brought(self.recipe.file, python, frozenset.intersection(*installed))

    @property
    def constraints(self) -> tuple[Requirement, ...]:
        """The versions that the image brings, for what comes on top of it."""
        pins = {
            f"{name}=={version}"
            for each in self.platforms.values()
            for name, version in each.installed.versions.items()
        }
        return tuple(requirement(each, self.recipe.file if self.recipe else "") for each in sorted(pins))

    def joined(self, locks: Mapping[Target, Lock]) -> dict[Target, Lock]:
        """Locks of what comes on top, with what the image has: that is not installed again."""
        if not self.own:
            return dict(locks)
        joined = {}
        for target, lock in locks.items():
            below = self.platforms.get(target.platform)
            installed = below.installed if below else Lock("")
            joined[target] = Lock(installed.text + lock.without(set(installed.versions)).text)
        return joined

    def files(self, work: Path) -> tuple[tuple[str, Path], ...]:
        """What comes into the ML environment so that the ML worker sees the image's packages."""
        if not self.own:
            return ()
        lines = dict.fromkeys(line for each in self.platforms.values() for line in each.path_file().splitlines())
        file = work / PATH_FILE
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        return ((PATH_FILE, file),)


def asked_for(checkout: Checkout, settings: BuilderSettings) -> tuple[Recipe | None, list[str]]:
    """The file of a repository that asks for an engine, if one counts; and what is worth telling of such files.

    Blocks for as long as reading files takes.

    :raises FlopsError: FLOPS-B021
    """
    recipe = find_recipe(checkout.tree, checkout.code.relative_to(checkout.tree).as_posix())
    if recipe is None:
        return None, []
    if not settings.engine_builds:
        return None, [f"{recipe.file} does not count: this builder is set to use no engine"]
    return recipe, [f"{recipe.file} counts; not read: {', '.join(recipe.ignored)}"] if recipe.ignored else []


def foreseen(recipe: Recipe | None, pythons: Sequence[str]) -> Brought | None:
    """What a plan has to know of an image before it is built: an engine takes minutes, and reading tells much."""
    return Brought(recipe.file, pythons[0], frozenset()) if recipe is not None and recipe.own else None


async def counting(
    engine: Engine | None, recipe: Recipe, checkout: Checkout, platforms: Sequence[Platform]
) -> tuple[Recipe | None, list[str]]:
    """The recipe, if an engine answers; None, with a warning, where the dependency file does without one.

    A Dockerfile may be there for something else, and a machine without an engine runs no containers either.

    :raises FlopsError: FLOPS-B060 where there is no dependency file
    """
    try:
        await answering(engine, recipe, platforms)
    except FlopsError as error:
        if not await anyio.to_thread.run_sync(_has_dependencies, checkout):
            raise
        return None, [f"{recipe.file} does not count, the dependency file does: {error.body.detail}"]
    return recipe, []


def _has_dependencies(checkout: Checkout) -> bool:
    try:
        read_dependencies(checkout.tree, checkout.code.relative_to(checkout.tree).as_posix())
    except FlopsError as error:
        return error.body.code != "FLOPS-B020"
    return True


async def answering(engine: Engine | None, recipe: Recipe, platforms: Sequence[Platform]) -> Engine:
    """The engine, if it answers.

    :raises FlopsError: FLOPS-B060, with the file that asks for it
    """
    names = " and ".join(dict.fromkeys(platforms))
    if engine is None:
        raise FlopsError("FLOPS-B060", f"{recipe.why}; {names} would be built with an engine", file=recipe.file)
    try:
        await engine.check()
    except FlopsError as error:
        raise FlopsError("FLOPS-B060", f"{recipe.why}; {error.body.detail}", file=recipe.file) from error
    return engine


async def ground(
    settings: BuilderSettings,
    engine: Engine | None,
    recipe: Recipe,
    tree: Path,
    platforms: Sequence[Platform],
    python: str,
    bases: Mapping[Platform, Base],
    packer: Packer,
    work: Path,
    on_line: Line,
) -> Ground:
    """Builds what the layers stand on.

    :param python: the minor that an `apt.txt` needs below it
    :param bases: the configured base image, which an `apt.txt` starts from; none for `scratch`
    :raises FlopsError: FLOPS-B060 to FLOPS-B062, with the file that asks for it
    """
    engine = await answering(engine, recipe, platforms)
    below = {each: bases.get(each) or filled(settings.engine_base_image, python, each) for each in platforms}
    made = await make_grounds(engine, recipe, tree, below, packer, work, on_line)
    for platform, each in made.items():
        if not recipe.own and each.python != python:
            name = settings.base_image if platform in bases else below[platform]
            raise FlopsError("FLOPS-B062", f"{name} has Python {each.python}, not {python}", file=recipe.file)
    return Ground(made, recipe)
