"""What the builder wants of a container engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flops_protocol.sla import Platform

from flops_builder.sdist.sandbox import Limits

Line = Callable[[str], None]


@dataclass(frozen=True)
class Errand:
    """One program that is run in a container without a network."""

    image: str
    platform: Platform
    command: tuple[str, ...]
    limits: Limits
    files: Path | None = None
    """A tar archive that is unpacked at the root before."""
    fetch: str | None = None
    """A folder whose files are wanted afterwards."""
    folder: str = "/"
    """Where it is run."""
    environment: tuple[str, ...] = ()
    """`NAME=value`."""


@dataclass(frozen=True)
class Done:
    """How a container ended."""

    returncode: int
    lines: tuple[str, ...]
    """What it printed."""
    over: str
    """Which limit it met; empty: none."""


class Engine(Protocol):
    """A container engine. Every method may be used by several builds at once.

    Each raises FLOPS-B060 when the engine does not answer.
    """

    async def build(
        self, context: Path, dockerfile: str, platform: Platform, on_line: Line, *, buildkit: bool = False
    ) -> str:
        """Builds an image and returns its ID.

        :param context: a tar archive
        :param dockerfile: the path in it
        :param buildkit: whether the Dockerfile takes more than the classic builder has
        :raises FlopsError: FLOPS-B061 when the build fails
        """
        ...

    async def check(self) -> None:
        """Asks whether it answers."""
        ...

    async def load(self, archive: Path) -> None:
        """Takes the images of an archive, as `docker save` has it, under the names that it gives them."""
        ...

    async def save(self, image: str, target: Path) -> None:
        """Writes an image as an archive, as `docker save` has it."""
        ...

    async def run(self, errand: Errand, folder: Path, on_line: Line) -> Done:
        """Runs a program to its end; what is fetched comes into `folder`. Nothing of the container is left."""
        ...


def filled(image: str, python: str, platform: Platform) -> str:
    """The name of an image for a Python minor and a platform."""
    return image.replace("{python}", python).replace("{arch}", platform.rpartition("/")[2])
