"""Makes environments and layers of conda locks: the prefix, the wheels on top of it, the guest, and byte code."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
from flops_protocol.sla import Platform

from flops_builder.conda.channels import Channels
from flops_builder.conda.lock import CondaLock, CondaPackage
from flops_builder.conda.prefix import interpreter, link, prefix_members, site_packages
from flops_builder.image.bytecode import Compiler, find_python
from flops_builder.image.environment import Environment, Workshop, appearing, copy_files, link_bytecode
from flops_builder.image.layer import Layer
from flops_builder.process import run
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target

FORMAT = "1"
"""Part of every key: count it up when prefixes are made in another way."""
PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class CondaWorkshop:
    """Installs conda locks, each once."""

    wheels: Workshop
    """For what comes from PyPI."""
    channels: Channels
    compilers: anyio.CapacityLimiter
    host: Platform
    """The platform of this machine: its prefix brings the Python that makes byte code for all."""
    locks: dict[Platform, CondaLock] = field(default_factory=dict)
    """All of this build."""
    _turns: dict[str, anyio.Lock] = field(default_factory=dict)
    _compilers: dict[str, Compiler | None] = field(default_factory=dict)
    """By minor."""

    async def prefix(self, packages: Sequence[CondaPackage], target: Target) -> Path:
        """The packages of conda alone, linked. They lie in the cache: nothing may be changed there.

        :raises FlopsError: FLOPS-B040, FLOPS-B052
        """
        key = hashlib.sha256(repr((FORMAT, target.platform, packages)).encode()).hexdigest()
        place = self.wheels.folder / "environments" / f"conda-{key}"
        async with self._turns.setdefault(key, anyio.Lock()):
            if await anyio.Path(place).is_dir():
                await anyio.to_thread.run_sync(os.utime, place)
            else:
                async with appearing(place) as new:
                    await link(
                        packages, self.channels, target, new / "root", self.wheels.folder, self.wheels.uv.seconds
                    )
        return place / "root"

    async def environment(
        self,
        lock: CondaLock,
        target: Target,
        guest: Sequence[tuple[str, Path]],
        on_line: Callable[[str], None] | None = None,
    ) -> Environment:
        """The prefix with everything that belongs into it.

        :raises FlopsError: FLOPS-B025, FLOPS-B040, FLOPS-B052
        """
        workshop = await self.workshop(target)
        key = workshop.key("mlenv", Lock(FORMAT + lock.lock.text), target, guest)
        place = self.wheels.folder / "environments" / key
        if await anyio.Path(place).is_dir():
            await anyio.to_thread.run_sync(os.utime, place)
        else:
            base = await self.prefix(lock.packages, target)
            async with appearing(place) as new:
                root = new / "root"
                await anyio.to_thread.run_sync(_link_tree, base, root)
                packages = site_packages(root, lock.python)
                if lock.wheels.versions:
                    await anyio.Path(new / "wheels").mkdir()
                    await workshop.uv.install(lock.wheels.text, target, new / "wheels", new, on_line=on_line)
                    await anyio.to_thread.run_sync(_merge, new / "wheels", packages, root / "bin")
                await anyio.to_thread.run_sync(copy_files, guest, packages)
                await self._compile(workshop.compiler, root, packages)
        root = place / "root"
        return Environment("mlenv", key, site_packages(root, lock.python), root, interpreter(root, lock.python))

    async def layer(
        self, lock: CondaLock, target: Target, guest: Sequence[tuple[str, Path]], environment: Environment | None
    ) -> Layer:
        """The layer of this environment, which is installed only if the layer is not there yet.

        :raises FlopsError: as `environment`
        """
        workshop = await self.workshop(target)
        key = workshop.key("mlenv", Lock(FORMAT + lock.lock.text), target, guest)
        found = await anyio.to_thread.run_sync(workshop.layers.get, key, "mlenv")
        if found is not None:
            return found
        environment = environment or await self.environment(lock, target, guest)
        prefix, cache = environment.folder.parents[2], workshop.folder
        members = await anyio.to_thread.run_sync(lambda: list(prefix_members(prefix, cache)))
        return await anyio.to_thread.run_sync(workshop.layers.put, key, "mlenv", members)

    async def workshop(self, target: Target) -> Workshop:
        """The workshop for wheels beside conda's Python, with a compiler of its minor.

        :raises FlopsError: FLOPS-B040, FLOPS-B052
        """
        ours = self.wheels.compiler
        if ours is not None and ours.minor == target.python:
            return self.wheels
        async with self._turns.setdefault(f"python {target.python}", anyio.Lock()):
            if target.python not in self._compilers:
                python = await self._python(target)
                cache = self.wheels.folder / "bytecode"
                compiler = None if python is None else Compiler(python, target.python, cache, self.compilers)
                self._compilers[target.python] = compiler
        return replace(self.wheels, compiler=self._compilers[target.python])

    async def _python(self, target: Target) -> Path | None:
        """A Python of a minor that runs on this machine: the host's, else that of the prefix for this machine."""
        folder = self.wheels.folder
        found = await find_python(target.python, self.wheels.uv.binary, self.wheels.uv.index.environment, folder)
        here = self.locks.get(self.host)
        if found is not None or here is None or here.python != target.python:
            return found
        prefix = await self.prefix(here.packages, replace(target, platform=self.host))
        python = interpreter(prefix, here.python)
        command: list[str | Path] = [python, "-I", "-S", "-c", "import marshal, importlib.util"]
        try:
            tried = await run(command, environment={"PATH": os.defpath}, folder=folder, seconds=PROBE_SECONDS)
        except (OSError, TimeoutError):
            return None
        return python if tried.returncode == 0 else None

    async def _compile(self, compiler: Compiler | None, root: Path, packages: Path) -> None:
        # The standard library first: what is linked replaces all byte code below its folder.
        for folder in (packages.parent, packages):
            compiled: dict[str, Path] = {}
            if compiler is not None:
                compiled = await compiler.compile(folder, f"mlenv/{folder.relative_to(root).as_posix()}")
            await anyio.to_thread.run_sync(link_bytecode, compiled, folder)


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


def _merge(wheels: Path, packages: Path, programs: Path) -> None:
    """Moves installed wheels into a prefix, their programs to its own."""
    packages.mkdir(parents=True, exist_ok=True)
    for path in sorted(wheels.rglob("*")):
        relative = path.relative_to(wheels)
        if relative.name == ".lock" or (path.is_dir() and not path.is_symlink()):
            continue
        target = programs / relative.name if relative.parts[0] == "bin" else packages / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        path.rename(target)
