"""Wheels for a platform that is not this machine's: built in a container of that platform, emulated where need be."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError

from flops_builder.engine.grounds import write_files
from flops_builder.engine.interface import Engine, Errand, filled
from flops_builder.resolve.lock import Lock
from flops_builder.sdist.sandbox import Ended
from flops_builder.sdist.wheelhouse import BACKEND, SOURCE_DATE_EPOCH, Recipe, Wheelhouse, failure

ROOM = "/build"
"""Where a build lies in its container: always the same, so that the same source gives the same bytes."""


@dataclass(frozen=True)
class EngineBench:
    """One build: what it needs is installed here, without running any of it; the backend runs in a container."""

    engine: Engine
    image: str
    """What the container is made of, by name (`filled`)."""
    house: Wheelhouse
    recipe: Recipe
    room: Path

    async def prepare(self, lock: Lock) -> None:
        """See `Bench.prepare`."""
        requires = self.room / "requires"
        await anyio.Path(requires).mkdir(exist_ok=True)
        if lock.text.strip():
            await self.house.resolver.uv.install(lock.text, self.house.target, requires, self.room)

    async def hook(self, hook: str) -> object:
        """See `Bench.hook`."""
        platform = self.house.target.platform
        self.house.on_line(f"{self.recipe.title}: its backend runs in the engine, for {platform}")
        image = await self._image()
        files = self.room / "files.tar"
        await anyio.to_thread.run_sync(self._pack, files)
        result, paths = f"{ROOM}/out/{hook}.json", json.dumps(self.recipe.system.paths)
        inner = ["python3", "-I", f"{ROOM}/backend.py", result, hook, self.recipe.system.backend, paths]
        inner += [f"{ROOM}/out"] if hook == "wheel" else []
        errand = Errand(
            image,
            platform,
            tuple(inner),
            self.house.limits,
            files,
            f"{ROOM}/out",
            f"{ROOM}/source",
            self._environment(),
        )
        done = await self.engine.run(errand, self.room, self.house.on_line)
        if done.over:
            raise FlopsError("FLOPS-B027", f"{self.recipe.title}: while it was built for {platform}, {done.over}")
        output = self.room / "out"
        try:
            answer: object = json.loads(await anyio.Path(output / f"{hook}.json").read_text())
        except (FileNotFoundError, ValueError):
            raise failure(self.recipe.title, Ended(done.returncode, done.lines, "")) from None
        for wheel in output.glob("*.whl"):
            await anyio.Path(wheel).rename(self.room / "output" / wheel.name)
        return answer

    async def _image(self) -> str:
        """The image's ID for the platform: a name may stand for another one in the engine just now."""
        context = self.room / "context.tar"
        target = self.house.target
        image = filled(self.image, target.python, target.platform)
        await anyio.to_thread.run_sync(write_files, {"Dockerfile": f"FROM {image}\n".encode()}, context)
        return await self.engine.build(context, "Dockerfile", target.platform, self.house.on_line)

    def _environment(self) -> tuple[str, ...]:
        mapped = f"-g0 -ffile-prefix-map={ROOM}=."
        return (
            f"FLOPS_BUILD_REQUIRES={ROOM}/requires",
            f"SOURCE_DATE_EPOCH={SOURCE_DATE_EPOCH}",
            "PYTHONHASHSEED=0",
            "PYTHONDONTWRITEBYTECODE=1",
            f"CFLAGS={mapped}",
            f"CXXFLAGS={mapped}",
        )

    def _pack(self, target: Path) -> None:
        def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            return member

        root = ROOM.lstrip("/")
        with tarfile.open(target, "w") as tar:
            for folder in (root, f"{root}/out"):
                made = tarfile.TarInfo(folder)
                made.type, made.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(made)
            backend = BACKEND.read_bytes()
            member = tarfile.TarInfo(f"{root}/backend.py")
            member.size = len(backend)
            tar.addfile(member, io.BytesIO(backend))
            tar.add(self.recipe.source.folder, f"{root}/source", filter=owned)
            tar.add(self.room / "requires", f"{root}/requires", filter=owned)


def engine_bench(engine: Engine, image: str) -> Callable[[Wheelhouse, Recipe, Path], EngineBench]:
    """What a `Wheelhouse` for another platform builds on."""

    def bench(house: Wheelhouse, recipe: Recipe, room: Path) -> EngineBench:
        return EngineBench(engine, image, house, recipe, room)

    return bench
