"""uv, called as a program: compile a lock, install from it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import uv
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

from flops_builder.process import Finished, run
from flops_builder.resolve.index import Index
from flops_builder.resolve.lock import yanked_line

MACHINES: dict[Platform, str] = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
YANKED = re.compile(r'(?m)^warning: `([^`=]+)==([^`]+)` is yanked(?: \(reason: "(.*)"\))?')
UNREACHABLE = re.compile(
    r"failed to fetch|connection refused|connect error|error sending request|dns error|network connectivity|timed out|"
    r"network was disabled|operation timed out|request failed after|certificate",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Target:
    """For which machine and which Python packages are meant."""

    platform: Platform
    python: str
    glibc: str

    @property
    def triple(self) -> str:
        """The platform as uv calls it: `x86_64-manylinux_2_28`."""
        return f"{MACHINES[self.platform]}-manylinux_{self.glibc.replace('.', '_')}"

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}"


class UnresolvableError(Exception):
    """Raised when uv finds no set of versions; `explanation` is its own."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation)
        self.explanation = explanation
        """What uv printed, without colours."""


@dataclass(frozen=True)
class Uv:
    """uv on this machine, with the site's index settings."""

    index: Index
    seconds: float
    binary: str = ""

    async def compile(
        self,
        requirements: Sequence[str],
        target: Target,
        folder: Path,
        *,
        constraints: Sequence[str] = (),
        excludes: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> str:
        """The lock: every package with one version, the hashes of its files, and who wants it as a comment; at its end,
        as comments too, which of them were yanked.

        `folder` takes the input files; it must exist. `excludes`: names of packages that are left out, whoever wants
        them.

        :raises UnresolvableError: when there is no such set of versions
        :raises FlopsError: FLOPS-B025 when the index does not answer, FLOPS-B040 when the disk is full
        """
        wanted, limits, lock = folder / "requirements.in", folder / "constraints.in", folder / "lock.txt"
        wanted.write_text("".join(f"{each}\n" for each in requirements))
        limits.write_text("".join(f"{each}\n" for each in constraints))
        left_out = folder / "excludes.in"
        left_out.write_text("".join(f"{each}\n" for each in excludes))
        arguments = [
            "pip",
            "compile",
            wanted.name,
            "--constraint",
            limits.name,
            "--excludes",
            left_out.name,
            "--output-file",
            lock.name,
            *self._target(target),
        ]
        arguments += ["--generate-hashes", "--no-header", *options]
        for number, file in enumerate(self.index.constraints):
            if file.is_file():
                # By a name of ours: it shows in the lock, which is the same on every machine.
                shutil.copyfile(file, folder / f"site-{number}.in")
                arguments += ["--constraint", f"site-{number}.in"]
        finished = await self._run(arguments, folder)
        if finished.returncode != 0:
            raise _failure(finished)
        taken_back = [yanked_line(*each) for each in YANKED.findall(finished.errors)]
        return "\n".join([lock.read_text().rstrip("\n"), *taken_back, ""]) if taken_back else lock.read_text()

    async def describe(self, lock: str, target: Target, folder: Path) -> str | None:
        """The lock as a pylock.toml (PEP 751), which has the sizes of the wheels; None where uv's cache does not do.

        `folder` takes the files; it must exist.
        """
        locked, described = folder / "locked.txt", folder / "pylock.toml"
        locked.write_text(lock)
        arguments = ["pip", "compile", locked.name, "--no-deps", "--offline", "--format", "pylock.toml", "--quiet"]
        try:
            finished = await self._run([*arguments, "--output-file", described.name, *self._target(target)], folder)
        except FlopsError:
            return None
        return described.read_text() if finished.returncode == 0 else None

    async def install(
        self,
        lock: str,
        target: Target,
        destination: Path,
        folder: Path,
        *,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Installs exactly what the lock says into `destination`, from wheels, checking every hash.

        :raises FlopsError: FLOPS-B025 when the index does not answer, FLOPS-B040 when the disk is full
        """
        locked = folder / "install.txt"
        locked.write_text(lock)
        arguments = [
            "pip",
            "install",
            "--requirement",
            locked.name,
            "--target",
            str(destination),
            *self._target(target),
        ]
        arguments += ["--no-deps", "--require-hashes"] if lock.strip() else ["--no-deps"]
        # Versions and hashes are given, so what lies in uv's cache needs no index.
        finished = await self._run([*arguments, "--offline"], folder)
        if finished.returncode != 0:
            finished = await self._run(arguments, folder, on_line=on_line)
        if finished.returncode != 0 and "+cpu" in lock:
            finished = await self._run([*arguments, *self.index.cpu], folder, on_line=on_line)
        if finished.returncode != 0:
            failure = _failure(finished)
            raise failure if isinstance(failure, FlopsError) else FlopsError("FLOPS-B025", failure.explanation[-800:])

    def _target(self, target: Target) -> list[str]:
        return [
            "--python", sys.executable,
            "--python-version", target.python,
            "--python-platform", target.triple,
            "--only-binary", ":all:",
        ]  # fmt: skip

    async def _run(
        self, arguments: Sequence[str], folder: Path, *, on_line: Callable[[str], None] | None = None
    ) -> Finished:
        # uv takes constraints and settings of a project that its folder lies in: the cache may well be inside of one.
        await anyio.Path(folder / "pyproject.toml").write_text("[tool.uv]\n")
        command = [self.binary or uv.find_uv_bin(), *arguments, *self.index.arguments]
        try:
            return await run(
                command, environment=self.index.environment, folder=folder, seconds=self.seconds, on_error_line=on_line
            )
        except TimeoutError as error:
            raise FlopsError("FLOPS-B025", f"no answer within {self.seconds:.0f} s") from error


def _failure(finished: Finished) -> UnresolvableError | FlopsError:
    text = finished.errors.strip()
    if "No solution found" in text:
        return UnresolvableError(text)
    if UNREACHABLE.search(text):
        return FlopsError("FLOPS-B025", _last_causes(text))
    return UnresolvableError(text)


def _last_causes(text: str) -> str:
    lines = [line.strip(" ×│╰├─▶") for line in text.splitlines() if line.strip()]
    return ": ".join(lines[:1] + lines[-2:] if len(lines) > 3 else lines)[-600:]
