"""Base images: what stands below our layers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_protocol.sla import Platform

from flops_registry.documents import DOCKER_LAYER, LAYER_TYPE, Descriptor, Index, Manifest, parts, read
from flops_registry.interface import Borrowed, Registry
from flops_registry.names import BASE, LAYER, PYTHON
from flops_registry.opening import Access, open_registry
from flops_registry.reference import ImageName

SCRATCH = "scratch"
"""No base image: the node brings Python."""


@dataclass(frozen=True)
class Base:
    """A base image for one platform."""

    layers: tuple[Descriptor, ...]
    """The undermost first, annotated as what they are."""
    configuration: Mapping[str, Any]
    """All of it, as it is."""
    borrowed: Mapping[Digest, Borrowed]
    """Where its layers are."""

    @property
    def python(self) -> str | None:
        """The minor of its Python, where it says so: by our label, or as Docker's official images do."""
        process = self.configuration.get("config") or {}
        variables = dict(entry.partition("=")[::2] for entry in process.get("Env") or [])
        said = (process.get("Labels") or {}).get(PYTHON) or variables.get("PYTHON_VERSION", "")
        return ".".join(said.split(".")[:2]) or None


async def pinned(reference: str, access: Access | None = None) -> str:
    """A base image by digest, whatever its tag leads to tomorrow; `scratch` as it is.

    :raises FlopsError: FLOPS-B047 when there is none of that name, FLOPS-B041, FLOPS-B046 when its registry cannot be
        asked
    """
    if reference == SCRATCH:
        return reference
    name = _name(reference)
    if name.digest is not None:
        return str(name.at(name.digest))
    async with open_registry(name.registry, access) as registry:
        digest = await registry.resolve(name.repository, name.tag)
    if digest is None:
        raise FlopsError("FLOPS-B047", f"there is no {reference}")
    return str(name.at(digest))


@asynccontextmanager
async def open_base(
    reference: str, platforms: Sequence[Platform], access: Access | None, scratch: Path
) -> AsyncIterator[Mapping[Platform, Base]]:
    """A base image for each of the platforms, as long as the block runs; none for `scratch`.

    :param scratch: where its layers go when they have to be fetched
    :raises FlopsError: FLOPS-B047 when it is not there, or not for a platform
    """
    if reference == SCRATCH:
        yield {}
        return
    name = _name(await pinned(reference, access))
    async with open_registry(name.registry, access) as registry:
        try:
            yield await _read(registry, name, platforms, scratch)
        except ValueError as error:
            raise FlopsError("FLOPS-B047", f"{name}: {error}"[:1000]) from error


def _name(reference: str) -> ImageName:
    try:
        return ImageName.parse(reference)
    except ValueError as error:
        raise FlopsError("FLOPS-B047", str(error)) from error


async def _read(
    registry: Registry, name: ImageName, platforms: Sequence[Platform], scratch: Path
) -> dict[Platform, Base]:
    assert name.digest is not None  # noqa: S101 - it was pinned
    content = await registry.manifest(name.repository, name.digest)
    found: dict[str, Base] = {}
    if parts(content).documents:
        for entry in read(content, Index).manifests:
            if entry.platform is not None and str(entry.platform) in platforms and str(entry.platform) not in found:
                manifest = await registry.manifest(name.repository, entry.digest)
                found[str(entry.platform)] = await _base(registry, name, manifest, scratch)
    else:
        base = await _base(registry, name, content, scratch)
        found[f"{base.configuration.get('os')}/{base.configuration.get('architecture')}"] = base
    missing = [platform for platform in platforms if platform not in found]
    if missing:
        raise FlopsError("FLOPS-B047", f"{name} is not for {', '.join(missing)}")
    return {platform: found[platform] for platform in platforms}


async def _base(registry: Registry, name: ImageName, content: bytes, scratch: Path) -> Base:
    manifest = read(content, Manifest)
    configuration = json.loads(await registry.content(name.repository, manifest.config.digest))
    diff_ids = (configuration.get("rootfs") or {}).get("diff_ids") if isinstance(configuration, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(manifest.layers):
        raise FlopsError("FLOPS-B047", f"{name}: its configuration does not say what its layers are")
    layers = tuple(
        layer.model_copy(update={"media_type": _oci(layer.media_type), "annotations": {LAYER: BASE}})
        for layer in manifest.layers
    )
    borrowed = {
        layer.digest: Borrowed(
            layer, partial(registry.blob, name.repository, layer, scratch), name.registry, name.repository
        )
        for layer in layers
    }
    return Base(layers, configuration, borrowed)


def _oci(media_type: str) -> str:
    """OCI's name for a layer of Docker's (the bytes are the same)."""
    return f"{LAYER_TYPE}+gzip" if media_type == DOCKER_LAYER else media_type
