"""Wheels built from source on this machine, each once, kept by what they were made from.

A build runs in a sandbox, in a virtual environment of its own with what `[build-system]` asks for. That comes from
wheels only: nothing of a package runs while it is fetched, resolved or installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7
from uv import find_uv_bin

from flops_builder.image.bytecode import find_python
from flops_builder.resolve.built import BuiltWheel, find_wheel
from flops_builder.resolve.lock import Lock, lock_key
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target, UnresolvableError
from flops_builder.sdist.build_system import BuildSystem, BuildSystemError, read_build_system
from flops_builder.sdist.fetching import Source
from flops_builder.sdist.sandbox import Ended, Limits, OverLimitError, Sandbox
from flops_builder.sdist.wheel import BadWheelError, needs_glibc, project_of, rewrite

FORMAT = "1"
"""Part of every key: count it up when wheels are built in another way."""
BACKEND = Path(__file__).with_name("backend.py")
SOURCE_DATE_EPOCH = "315532800"
"""1 January 1980 (reproducible-builds.org): the first moment that a ZIP archive can tell."""
NO_COMPILER = re.compile(
    r"command '[^']*(?:cc|gcc|g\+\+|clang|cl\.exe|c\+\+|gfortran|ld)[^']*' failed: No such file|"
    r"unable to execute '[^']*': No such file|No such file or directory: '[^']*(?:cc|gcc|g\+\+|clang|c\+\+|gfortran)'|"
    r"No CMAKE_C(?:XX)?_COMPILER could be found|Unknown compiler\(s\)|can't find Rust compiler|cargo.*not found|"
    r"(?:gcc|g\+\+|cc|clang): (?:command )?not found|error: Microsoft Visual C"
)
NO_HEADER = re.compile(r"fatal error: (\S+): No such file")
WANTS_NETWORK = re.compile(
    r"Network is unreachable|Temporary failure in name resolution|Name or service not known|"
    r"Could not resolve host|No address associated with hostname|\[Errno (?:101|-2|-3|-5)\]|"
    r"failed to lookup address|Unable to access .*https?://|urlopen error|ConnectionError|"
    r"Failed to establish a new connection"
)
NO_MEMORY = re.compile(r"MemoryError|Cannot allocate memory|out of memory|virtual memory exhausted|bad_alloc")
NO_PROCESS = re.compile(r"Resource temporarily unavailable|can't start new thread")
TOLD_LINES = 12


@dataclass(frozen=True)
class Recipe:
    """What a wheel is made from."""

    source: Source
    title: str
    name: str
    version: str | None
    system: BuildSystem
    lock: Lock
    """Of what the build needs."""
    key: str
    """What the wheel is kept under."""


@dataclass(frozen=True)
class Wheelhouse:
    """Builds wheels for one platform."""

    folder: Path
    """The cache."""
    scratch: Path
    resolver: Resolver
    """For what a build needs: the site's own index."""
    python: Path | None
    """This machine's Python of the minor; None: it has none, and nothing can be built."""
    target: Target
    """The platform with that Python: this machine's own, save where a bench is for another."""
    limits: Limits
    on_line: Callable[[str], None]
    warnings: list[str] = field(default_factory=list)
    """What is worth telling of the builds so far."""
    bench: Callable[[Wheelhouse, Recipe, Path], Bench] | None = None
    """Where builds run; None: in a sandbox on this machine, whose `python` counts."""
    _turns: dict[str, anyio.Lock] = field(default_factory=dict)

    async def build(self, source: Source, name: str, version: str | None) -> BuiltWheel:
        """The wheel of a source, from the cache or built now.

        :param version: what the wheel has to have; None: any
        :raises FlopsError: FLOPS-B023 when nothing can be built here; FLOPS-B026, FLOPS-B027, FLOPS-B029 when building
            fails; FLOPS-B028 when the source is something else; FLOPS-B025, FLOPS-B040
        """
        recipe = await self._recipe(source, name, version)
        async with self._turns.setdefault(recipe.key, anyio.Lock()):
            wheel = await anyio.to_thread.run_sync(self._known, recipe.key) or await self._build(recipe)
        self._tell_glibc(wheel)
        return wheel

    async def known(self, source: Source, name: str, version: str | None) -> BuiltWheel | None:
        """The wheel of a source from the cache; None: it would have to be built.

        :raises FlopsError: as `build`, as far as nothing has to run for it
        """
        recipe = await self._recipe(source, name, version)
        wheel = await anyio.to_thread.run_sync(self._known, recipe.key)
        if wheel is not None:
            self._tell_glibc(wheel)
        return wheel

    async def for_python(self, minor: str) -> Wheelhouse:
        """The same with another Python of this machine."""
        if minor == self.target.python:
            return self
        uv = self.resolver.uv
        await anyio.Path(self.scratch).mkdir(parents=True, exist_ok=True)
        python = await find_python(minor, uv.binary or find_uv_bin(), uv.index.environment, self.scratch)
        return replace(self, python=python, target=replace(self.target, python=minor))

    async def _recipe(self, source: Source, name: str, version: str | None) -> Recipe:
        title = name if version is None else f"{name}=={version}"
        if self.python is None and self.bench is None:
            detail = f"{title} has to be built, and this machine has no Python {self.target.python}"
            raise FlopsError("FLOPS-B023", detail)
        try:
            system = read_build_system(source.folder)
        except BuildSystemError as error:
            raise FlopsError("FLOPS-B026", f"{title} ({source.origin}): {error}") from error
        lock = await self._lock(title, system.requires)
        key = lock_key(FORMAT, source.digest, str(self.target), lock.digest)
        return Recipe(source, title, name, version, system, lock, key)

    def _known(self, key: str) -> BuiltWheel | None:
        record = self.folder / "keys" / key
        try:
            kept = json.loads(record.read_text())
            file = find_wheel(self.folder, kept["sha256"])
            os.utime(record)
            return None if file is None else BuiltWheel(file=file, **kept)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def _keep(self, wheel: Path, key: str, name: str, version: str, origin: str) -> BuiltWheel:
        new = self.folder / f".{uuid7()}"
        new.mkdir(parents=True)
        try:
            sha256 = rewrite(wheel, new / wheel.name)
            place = self.folder / "files" / sha256
            place.mkdir(parents=True, exist_ok=True)
            (new / wheel.name).replace(place / wheel.name)
            kept = {"name": name, "version": version, "sha256": sha256, "origin": origin}
            (new / "record").write_text(json.dumps(kept))
            (self.folder / "keys").mkdir(exist_ok=True)
            (new / "record").replace(self.folder / "keys" / key)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return BuiltWheel(file=place / wheel.name, **kept)

    async def _build(self, recipe: Recipe) -> BuiltWheel:
        source, title, system = recipe.source, recipe.title, recipe.system
        self.on_line(f"{title} has no wheel: it is built from {source.origin}")
        room = self.scratch / uuid7()
        output = room / "output"
        await anyio.Path(output).mkdir(parents=True)
        try:
            build = (self.bench or SandboxBench)(self, recipe, room)
            await build.prepare(recipe.lock)
            wanted = await build.hook("requires")
            if isinstance(wanted, list) and wanted:
                await build.prepare(await self._lock(title, [*system.requires, *(str(each) for each in wanted)]))
            built = output / Path(str(await build.hook("wheel"))).name
            has = project_of(built.name, recipe.name, recipe.version)
            return await anyio.to_thread.run_sync(self._keep, built, recipe.key, recipe.name, has, source.origin)
        except BadWheelError as error:
            raise FlopsError("FLOPS-B028", f"{title} ({source.origin}): {error}") from error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(room, ignore_errors=True))

    async def _lock(self, title: str, requires: Sequence[str]) -> Lock:
        if not requires:
            return Lock("")
        try:
            return await self.resolver.lock(list(requires), self.target)
        except UnresolvableError as error:
            detail = f"what {title} needs to be built cannot be had as wheels: {error.explanation[-600:]}"
            raise FlopsError("FLOPS-B026", detail) from error

    def _tell_glibc(self, wheel: BuiltWheel) -> None:
        wanted = None if wheel.pure else needs_glibc(wheel.file)
        promised = tuple(int(part) for part in self.target.glibc.split("."))
        if wanted is not None and wanted > promised:
            self.warnings.append(
                f"{wheel.name} was built on this machine and wants glibc {wanted[0]}.{wanted[1]} of the nodes, not "
                f"{self.target.glibc}"
            )


class Bench(Protocol):
    """One build in its room."""

    async def prepare(self, lock: Lock) -> None:
        """Makes exactly what the lock says available to the backend.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        ...

    async def hook(self, hook: str) -> object:
        """What `requires` or `wheel` of the backend returns; a wheel lies in the room's `output` then.

        :raises FlopsError: FLOPS-B026, FLOPS-B027, FLOPS-B029; FLOPS-B060, FLOPS-B061 of an engine
        """
        ...


@dataclass(frozen=True)
class SandboxBench:
    """A build on this machine: a virtual environment, and the backend in the sandbox."""

    house: Wheelhouse
    recipe: Recipe
    room: Path

    async def prepare(self, lock: Lock) -> None:
        """See `Bench.prepare`."""
        python = self.house.python
        assert python is not None  # noqa: S101 - else nothing is built here
        venv = self.room / "venv"
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(venv, ignore_errors=True))
        await self.house.resolver.uv.venv(python, venv, lock.text, self.room)

    async def hook(self, hook: str) -> object:
        """See `Bench.hook`."""
        output = [str(self.room / "output")] if hook == "wheel" else []
        result = self.room / f"{hook}.json"
        interpreter = self.room / "venv" / "bin" / "python"
        backend, paths = self.recipe.system.backend, json.dumps(self.recipe.system.paths)
        command: list[str | Path] = [interpreter, "-I", BACKEND, result, hook, backend, paths, *output]
        sandbox = Sandbox(self.house.limits, self.room)
        try:
            ended = await sandbox.run(
                command, folder=self.recipe.source.folder, environment=self._environment(), on_line=self.house.on_line
            )
        except OverLimitError as error:
            raise FlopsError("FLOPS-B027", f"{self.recipe.title}: while it was built, {error}") from error
        if ended.in_network:
            told = f"builds of wheels could use the network: this machine says {ended.in_network}"
            if told not in self.house.warnings:
                self.house.warnings.append(told)
        try:
            return json.loads(await anyio.Path(result).read_text())
        except (FileNotFoundError, ValueError):
            raise failure(self.recipe.title, ended) from None

    def _environment(self) -> dict[str, str]:
        mapped = f"-g0 -ffile-prefix-map={self.recipe.source.folder}=. -ffile-prefix-map={self.room}=."
        return {
            "PATH": f"{self.room}/venv/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Paths of this build must not show in what is compiled: the same source gives the same wheel.
            "CFLAGS": mapped,
            "CXXFLAGS": mapped,
            "RUSTFLAGS": f"--remap-path-prefix={self.recipe.source.folder}=. --remap-path-prefix={self.room}=.",
        }


def failure(title: str, ended: Ended) -> FlopsError:
    """Why a backend has built nothing, by what it printed."""
    text = "\n".join(ended.tail)
    tail = "\n".join(ended.tail[-TOLD_LINES:]) or f"exit code {ended.returncode}"
    if NO_MEMORY.search(text):
        return FlopsError("FLOPS-B027", f"{title}: while it was built, memory ran out:\n{tail}")
    if NO_PROCESS.search(text):
        return FlopsError("FLOPS-B027", f"{title}: while it was built, it started too many processes:\n{tail}")
    if WANTS_NETWORK.search(text):
        return FlopsError("FLOPS-B029", f"{title}:\n{tail}")
    if NO_COMPILER.search(text):
        hint = "Install a compiler (gcc, g++) on the machine that builds, or take a version that has a wheel."
        return FlopsError("FLOPS-B026", f"{title} needs a compiler that this machine does not have:\n{tail}", hint=hint)
    if header := NO_HEADER.search(text):
        hint = f"Install the library that brings {header.group(1)}, or take a version that has a wheel."
        return FlopsError("FLOPS-B026", f"{title} needs {header.group(1)}:\n{tail}", hint=hint)
    return FlopsError("FLOPS-B026", f"{title}:\n{tail}")
