"""Which way each platform takes: assembled from wheels alone, or on top of what an engine builds, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

from flops_builder.dependencies.declaration import Requirement, requirement
from flops_builder.engine.grounds import Grounds, make_grounds
from flops_builder.engine.interface import Engine, Line
from flops_builder.engine.recipe import Recipe
from flops_builder.plan import Brought
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target
from flops_builder.settings import BuilderSettings

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


async def ground(
    settings: BuilderSettings,
    engine: Engine | None,
    recipe: Recipe,
    tree: Path,
    platforms: Sequence[Platform],
    python: str,
    work: Path,
    on_line: Line,
) -> Ground:
    """Builds what the layers stand on.

    :param python: the minor that an `apt.txt` needs below it
    :raises FlopsError: FLOPS-B060 to FLOPS-B062, with the file that asks for it
    """
    names = " and ".join(dict.fromkeys(platforms))
    if engine is None:
        raise FlopsError("FLOPS-B060", f"{recipe.why}; {names} would be built with an engine", file=recipe.file)
    base = settings.engine_base_image if settings.base_image == "scratch" else settings.base_image
    bases = {each: filled(base, python, each) for each in dict.fromkeys(platforms)}
    try:
        made = await make_grounds(engine, recipe, tree, bases, work, on_line)
    except FlopsError as error:
        if error.body.code != "FLOPS-B060":
            raise
        detail = f"{recipe.why}; {error.body.detail}"
        raise FlopsError("FLOPS-B060", detail, file=recipe.file) from error
    for platform, each in made.items():
        if not recipe.own and each.python != python:
            raise FlopsError(
                "FLOPS-B062", f"{bases[platform]} has Python {each.python}, not {python}", file=recipe.file
            )
    return Ground(made, recipe)


def filled(image: str, python: str, platform: Platform) -> str:
    """The name of an image for a Python minor and a platform."""
    return image.replace("{python}", python).replace("{arch}", platform.rpartition("/")[2])
