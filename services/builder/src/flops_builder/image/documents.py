"""What an image of ours says: its configuration and manifest (OCI image-spec 1.1), and its locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import Role
from flops_protocol.sla import Platform
from flops_registry.base import Base
from flops_registry.documents import CONFIG_TYPE, MANIFEST_TYPE, Blob, Descriptor, blob, document
from flops_registry.names import LAYER

from flops_builder.image.files import ROOT
from flops_builder.image.layer import Layer
from flops_builder.image.packing import Packed

LOCK_TYPE = "application/vnd.flops.lock.v1+text"
NOT_OURS = frozenset({"Cmd", "Healthcheck", "OnBuild", "ArgsEscaped"})
"""What a base image says of what it runs itself."""
CREATED = "1970-01-01T00:00:00Z"
"""Always the same: the time of building says nothing about what was built."""


def image(
    role: Role,
    platform: Platform,
    python: str,
    layers: Sequence[Layer],
    packed: Mapping[Digest, Packed],
    annotations: Mapping[str, str],
    base: Base | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Blob, Blob]:
    """Configuration and manifest of one image for one platform.

    :param packed: each layer as it lies in the registry, by its diff ID
    :param base: what the layers stand on; None: nothing, and the node brings Python
    :param environment: further variables
    """
    system, _, architecture = platform.partition("/")
    below: Mapping[str, Any] = base.configuration if base else {}
    diff_ids = [*below.get("rootfs", {}).get("diff_ids", []), *(layer.digest for layer in layers)]
    history = [{"created": CREATED, "created_by": f"flops-builder: {layer.kind}"} for layer in layers]
    configuration = document(
        CONFIG_TYPE,
        {
            **{name: below[name] for name in ("variant", "os.version", "os.features") if name in below},
            "architecture": architecture,
            "os": system,
            "created": CREATED,
            "config": _how_to_run(role, python, annotations, below.get("config") or {}, environment),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            # Of a base image that does not tell its history, the image's would not tell the number of layers.
            "history": [*below.get("history", []), *history] if base is None or below.get("history") else [],
        },
    )
    manifest = document(
        MANIFEST_TYPE,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": configuration.descriptor(),
            "layers": [
                *(_descriptor(layer) for layer in (base.layers if base else ())),
                *(
                    {
                        "mediaType": packed[layer.digest].media_type,
                        "digest": packed[layer.digest].digest,
                        "size": packed[layer.digest].size,
                        "annotations": {LAYER: layer.kind},
                    }
                    for layer in layers
                ),
            ],
            "annotations": dict(annotations),
        },
    )
    return configuration, manifest


def _how_to_run(
    role: Role,
    python: str,
    annotations: Mapping[str, str],
    below: Mapping[str, Any],
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """A base image's own settings (user, environment, …), save for what is run, and how that is watched."""
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    variables |= dict(entry.partition("=")[::2] for entry in below.get("Env") or [])
    variables |= {"FLOPS_IMAGE_ROOT": f"/{ROOT}", "FLOPS_IMAGE_PYTHON": python, **environment}
    kept = {name: value for name, value in below.items() if name not in NOT_OURS}
    return kept | {
        "Entrypoint": ["python3", "-u", "-I", "-S", f"/{ROOT}/runtime/flops_start.py", str(role)],
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "WorkingDir": f"/{ROOT}/code",
        "Labels": {**(below.get("Labels") or {}), **annotations},
    }


def _descriptor(layer: Descriptor) -> dict[str, Any]:
    return layer.model_dump(mode="json", by_alias=True, exclude_none=True)


def lock_parts(texts: Mapping[str, str]) -> dict[str, Blob]:
    """Resolved locks as blobs, by their titles."""
    return {name: blob(LOCK_TYPE, text.encode()) for name, text in texts.items()}
