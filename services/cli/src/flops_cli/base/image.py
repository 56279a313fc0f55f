"""A base image for several platforms, from packages to a registry."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_protocol.sla import Platform
from flops_registry.compression import MEDIA_TYPES, Compression, compress
from flops_registry.documents import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Blob, document, index
from flops_registry.interface import Push
from flops_registry.names import BASE, LAYER, PYTHON, REFERENCE
from flops_registry.opening import Access, open_registry
from flops_registry.reference import ImageName
from flops_registry.together import together

from flops_cli.base import debian, rootfs

CREATED = "1970-01-01T00:00:00Z"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Wish:
    """What a base image is made of."""

    platforms: Sequence[Platform]
    packages: Sequence[str]
    sources: Sequence[Path]
    epoch: int = 0
    """No file is younger: seconds since 1970 (reproducible-builds.org, SOURCE_DATE_EPOCH)."""
    compression: Compression = "gzip"


@dataclass(frozen=True)
class Made:
    """A base image in a registry."""

    reference: str
    """By digest, as `FLOPS_BASE_IMAGE` takes it."""
    python: str | None
    bytes: int
    """Of all layers."""


@dataclass(frozen=True)
class _Layer:
    diff_id: Digest
    digest: Digest
    size: int
    media_type: str
    file: Path
    python: str | None


async def make(wish: Wish, name: ImageName, access: Access, tell: Callable[[str], None]) -> Made:
    """Makes it, and puts it where `name` says.

    :raises FlopsError: FLOPS-B048 when it cannot be made, FLOPS-B040, FLOPS-B041, FLOPS-B046 when it is not taken
    """
    layers: dict[Platform, _Layer] = {}
    with tempfile.TemporaryDirectory(prefix="flops-base-") as folder:
        async with open_registry(name.registry, access) as registry:
            compression = wish.compression if registry.compressed else None

            async def layer(platform: Platform) -> None:
                tell(f"{platform}: unpacking {', '.join(wish.packages)}, and what they need")
                packages = Path(folder) / f"{platform.replace('/', '-')}.tar"
                await debian.unpack(platform, wish.packages, wish.sources, wish.epoch, packages)
                layers[platform] = await anyio.to_thread.run_sync(_layer, packages, wish.epoch, compression)
                tell(f"{platform}: {layers[platform].size / 1e6:.0f} MB")

            await together([partial(layer, platform) for platform in wish.platforms], len(wish.platforms))
            push, top = _push(name, {platform: layers[platform] for platform in wish.platforms}, wish)
            tell(f"pushing to {name}")
            await registry.push(push)
    python = next((each.python for each in layers.values()), None)
    return Made(str(name.at(top.digest)), python, sum(each.size for each in layers.values()))


def _layer(packages: Path, epoch: int, compression: Compression | None) -> _Layer:
    plain = packages.with_suffix(".rootfs")
    try:
        made = rootfs.write(packages, plain, epoch)
    except tarfile.TarError as error:
        raise FlopsError("FLOPS-B048", f"{debian.PROGRAM} wrote no archive: {error}") from error
    packages.unlink()
    with plain.open("rb") as stream:
        diff_id = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    if compression is None:
        return _Layer(diff_id, diff_id, plain.stat().st_size, LAYER_TYPE, plain, made.python)
    packed = plain.with_suffix(".packed")
    compressed = compress(plain, packed, compression)
    return _Layer(diff_id, compressed.digest, compressed.size, MEDIA_TYPES[compression], packed, made.python)


def _push(name: ImageName, layers: dict[Platform, _Layer], wish: Wish) -> tuple[Push, Blob]:
    documents: list[Blob] = []
    manifests: dict[Platform, Blob] = {}
    for platform, layer in layers.items():
        system, _, architecture = platform.partition("/")
        about = {"org.opencontainers.image.title": "flops base", **({PYTHON: layer.python} if layer.python else {})}
        process = {"Env": [f"PATH={PATH}", "LANG=C.UTF-8", f"SSL_CERT_FILE=/{rootfs.BUNDLE}"], "Labels": about}
        configuration = document(
            CONFIG_TYPE,
            {
                "architecture": architecture,
                "os": system,
                "created": CREATED,
                "config": process | {"Cmd": ["python3"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
                "history": [{"created": CREATED, "created_by": f"flops base {' '.join(wish.packages)}"}],
            },
        )
        descriptor = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": configuration.descriptor(),
            "layers": [descriptor | {"annotations": {LAYER: BASE}}],
        }
        manifests[platform] = document(MANIFEST_TYPE, value)
        documents += [configuration, manifests[platform]]
    top = index(manifests, {})
    reference = f"{name.repository}:{name.tag or 'latest'}" if name.repository else (name.tag or "base")
    files = {layer.digest: layer.file for layer in layers.values()}
    return Push(files=files, documents=[*documents, top], entries=[(top, {REFERENCE: reference})]), top
