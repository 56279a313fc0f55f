"""What our layers stand on, made with an engine: each platform's image, taken apart, and what Python it has."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform
from flops_registry.base import Base
from flops_registry.documents import Descriptor
from flops_registry.interface import Borrowed
from flops_registry.names import BASE, LAYER
from packaging.utils import canonicalize_name

from flops_builder.engine.interface import Engine, Errand, Line
from flops_builder.engine.recipe import Recipe
from flops_builder.engine.saved import Saved, read_saved, write_archive
from flops_builder.failing import tasks
from flops_builder.image.layer import header
from flops_builder.image.packing import Packer
from flops_builder.resolve.lock import IN_IMAGE, Lock
from flops_builder.sdist.sandbox import Limits

LOOK = Path(__file__).with_name("look.py")
LIMITS = Limits(seconds=120, memory_bytes=1 << 30, processes=64, file_bytes=1 << 20)
VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")


@dataclass(frozen=True)
class Grounds:
    """One platform's image."""

    base: Base
    image: str
    """Its ID in the engine."""
    python: str
    folders: tuple[str, ...]
    """Where its Python finds packages."""
    packages: Mapping[str, str]
    """Their versions, by normalised name."""
    own: bool
    """Whether it is the repository's own: then its packages are the ML environment."""

    @property
    def lock(self) -> Lock:
        """Its layers, for the image key."""
        return Lock("".join(f"# {digest}\n" for digest in self.base.configuration["rootfs"]["diff_ids"]))

    @property
    def installed(self) -> Lock:
        """The packages that it brings to the ML environment."""
        packages = sorted(self.packages.items()) if self.own else ()
        return Lock("".join(f"{name}=={version}\n{IN_IMAGE}\n" for name, version in packages))

    def path_file(self) -> bytes:
        """A `.pth` file (site) that has the ML worker see the image's own packages, behind ours."""
        return "".join(f"import site; site.addsitedir({folder!r})\n" for folder in self.folders).encode()


async def make_grounds(
    engine: Engine,
    recipe: Recipe,
    tree: Path,
    bases: Mapping[Platform, str | Base],
    packer: Packer,
    work: Path,
    on_line: Line,
) -> dict[Platform, Grounds]:
    """Builds the image of each platform, one after the other: they share the engine's machine.

    :param bases: what an `apt.txt` starts from: an image by a name that the engine knows, or ours
    :param packer: for layers that are new
    :raises FlopsError: FLOPS-B060, FLOPS-B061; FLOPS-B062 when an image is not fit for our layers
    """
    found = {}
    for platform, base in bases.items():
        folder = work / f"grounds-{platform.replace('/', '-')}"
        await anyio.Path(folder).mkdir(parents=True)
        on_line(f"{platform}: the image is built with an engine, since {recipe.why}")
        found[platform] = await _grounds(engine, recipe, tree, base, platform, packer, folder, on_line)
    minors = {each.python for each in found.values()}
    if len(minors) > 1:
        raise FlopsError("FLOPS-B062", f"its Python differs between the platforms: {', '.join(sorted(minors))}")
    return found


async def _grounds(
    engine: Engine,
    recipe: Recipe,
    tree: Path,
    base: str | Base,
    platform: Platform,
    packer: Packer,
    folder: Path,
    on_line: Line,
) -> Grounds:
    context = folder / "context.tar"
    if recipe.own:
        await anyio.to_thread.run_sync(_pack, tree, context)
        dockerfile = recipe.file
    else:
        dockerfile = "Dockerfile"
        name = base if isinstance(base, str) else await _take(engine, base, folder)
        await anyio.to_thread.run_sync(write_files, {dockerfile: recipe.dockerfile(name).encode()}, context)
    try:
        image = await engine.build(context, dockerfile, platform, on_line, buildkit=recipe.buildkit)
    except FlopsError as error:
        if error.body.code != "FLOPS-B061" or error.body.file is not None:
            raise
        raise FlopsError.from_body(error.body.model_copy(update={"file": recipe.file})) from error
    saved: list[Saved] = []
    seen: list[dict[str, object]] = []

    async def take() -> None:
        archive = folder / "image.tar"
        await engine.save(image, archive)
        saved.append(await anyio.to_thread.run_sync(read_saved, archive, folder))
        await anyio.Path(archive).unlink()

    async def look() -> None:
        seen.append(await _look(engine, image, platform, recipe, folder))

    async with tasks() as group:
        group.start_soon(take)
        group.start_soon(look)
    _check_platform(saved[0], platform, recipe)
    packages = seen[0]["packages"]
    versions: dict[str, str] = {
        canonicalize_name(str(name)): str(version)
        for name, version in (packages if isinstance(packages, dict) else {}).items()
        if name and VERSION.fullmatch(str(version))
    }
    folders = seen[0]["folders"]
    return Grounds(
        base=await _base(saved[0], None if recipe.own or isinstance(base, str) else base, packer),
        image=image,
        python=str(seen[0]["python"]),
        folders=tuple(str(each) for each in folders) if isinstance(folders, list) else (),
        packages=versions,
        own=recipe.own,
    )


async def _take(engine: Engine, base: Base, folder: Path) -> str:
    """Gives the engine a base image; its name there, which is that of its bytes."""
    layers = [await base.borrowed[layer.digest].fetch() for layer in base.layers]
    digests = "".join(base.configuration["rootfs"]["diff_ids"]) + json.dumps(base.configuration)
    name = f"flops-base:{hashlib.sha256(digests.encode()).hexdigest()[:12]}"
    archive = folder / "base.tar"
    await anyio.to_thread.run_sync(write_archive, base.configuration, layers, name, archive)
    await engine.load(archive)
    await anyio.Path(archive).unlink()
    return name


async def _base(saved: Saved, below: Base | None, packer: Packer) -> Base:
    """An exported image as what our layers stand on. The layers that it has of `below` stay as they are there."""
    known: list[Descriptor] = []
    if below is not None:
        digests = below.configuration["rootfs"]["diff_ids"]
        if [layer.digest for layer in saved.layers[: len(digests)]] == digests:
            known = list(below.layers)
    new: dict[str, Borrowed] = {}
    for layer in saved.layers[len(known) :]:
        packed = await packer.pack(layer, saved.files[layer.digest])
        descriptor = Descriptor(
            media_type=packed.media_type, digest=packed.digest, size=packed.size, annotations={LAYER: BASE}
        )
        known.append(descriptor)
        new[packed.digest] = Borrowed(descriptor, _found(packed.file), "", "")
    return Base(tuple(known), saved.configuration, {**(below.borrowed if below else {}), **new})


def _found(file: Path) -> Callable[[], Awaitable[Path]]:
    async def fetch() -> Path:
        return file

    return fetch


async def _look(engine: Engine, image: str, platform: Platform, recipe: Recipe, folder: Path) -> dict[str, object]:
    """What Python the image has. Its answer is the image's own word: it is checked for its form."""
    files = folder / "look.tar"
    await anyio.to_thread.run_sync(write_files, {"opt/flops-look.py": LOOK.read_bytes()}, files)
    errand = Errand(image, platform, ("python3", "-I", "/opt/flops-look.py"), LIMITS, files)
    done = await engine.run(errand, folder, lambda _: None)
    try:
        answer = json.loads(done.lines[-1])
        if done.returncode == 0 and re.fullmatch(r"3\.(1[1-9]|[2-9][0-9])", answer["python"]):
            return dict(answer)
    except (IndexError, ValueError, KeyError, TypeError):
        pass  # whatever it was, it was no answer
    said = done.over or (done.lines[-1] if done.lines else f"exit code {done.returncode}")
    raise FlopsError("FLOPS-B062", f"python3 does not run in it ({platform}): {said[:300]}", file=recipe.file)


def _check_platform(saved: Saved, platform: Platform, recipe: Recipe) -> None:
    is_for = f"{saved.configuration.get('os')}/{saved.configuration.get('architecture')}"
    if is_for != platform:
        raise FlopsError("FLOPS-B062", f"it is for {is_for}, not for {platform}", file=recipe.file)


def write_files(files: Mapping[str, bytes], target: Path) -> None:
    """Writes a tar archive of files, with the folders that they are in."""
    with target.open("wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            tar.addfile(tarfile.TarInfo.frombuf(header(folder, tarfile.DIRTYPE, 0o755), "utf-8", "surrogateescape"))
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))


def _pack(tree: Path, target: Path) -> None:
    """The repository as a build context, always the same bytes, so that the engine's cache holds."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        return member

    with tarfile.open(target, "w") as tar:
        for path in sorted(tree.iterdir()):
            tar.add(path, path.name, filter=plain)
