"""Images in archives, as an engine exports and takes them (`docker save`, `docker load`)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_registry.names import BASE

from flops_builder.image.layer import CHUNK, Layer


@dataclass(frozen=True)
class Saved:
    """An exported image."""

    layers: tuple[Layer, ...]
    """The undermost first; uncompressed, so that a digest is a diff ID."""
    files: Mapping[Digest, Path]
    configuration: Mapping[str, Any]


def read_saved(archive: Path, folder: Path) -> Saved:
    """Takes an exported image apart; its layers come into `folder`, which must be there.

    :raises FlopsError: FLOPS-B061 when it is not what an engine exports
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            (entry,) = _json(tar, "manifest.json")
            configuration = _json(tar, entry["Config"])
            diff_ids = configuration["rootfs"]["diff_ids"]
            files: dict[Digest, Path] = {}
            layers = []
            for name, diff_id in zip(entry["Layers"], diff_ids, strict=True):
                layer, file = _layer(tar, name, folder)
                if layer.digest != diff_id:
                    raise FlopsError("FLOPS-B061", f"the engine exported {layer.digest} for the layer {diff_id}")
                layers.append(layer)
                files[layer.digest] = file
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise FlopsError("FLOPS-B061", f"what the engine exported is no image: {error}") from error
    return Saved(tuple(layers), files, configuration)


def write_archive(configuration: Mapping[str, Any], layers: Sequence[Path], name: str, target: Path) -> None:
    """Writes an image for an engine to take.

    :param layers: as they are in a registry, the undermost first
    :param name: what the engine shall call it
    """
    content = json.dumps(configuration).encode()
    config = f"{hashlib.sha256(content).hexdigest()}.json"
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    entries = json.dumps([{"Config": config, "RepoTags": [name], "Layers": names}]).encode()
    with tarfile.open(target, "w") as tar:
        for file, layer in zip(names, layers, strict=True):
            tar.add(layer, file)
        for file, text in ((config, content), ("manifest.json", entries)):
            member = tarfile.TarInfo(file)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))


def _json(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    if member is None:
        raise ValueError(f"it has no {name}")
    return json.loads(member.read())


def _layer(tar: tarfile.TarFile, name: str, folder: Path) -> tuple[Layer, Path]:
    member = tar.extractfile(name)  # follows links: equal layers lie there once
    if member is None:
        raise ValueError(f"it has no {name}")
    file = folder / hashlib.sha256(name.encode()).hexdigest()
    digest, size = hashlib.sha256(), 0
    with member, file.open("wb") as target:
        while chunk := member.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return Layer(BASE, f"sha256:{digest.hexdigest()}", size), file
