"""What an image of ours says: its configuration and manifest (OCI image-spec 1.1), and its locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import Role
from flops_protocol.sla import Platform
from flops_registry.documents import CONFIG_TYPE, MANIFEST_TYPE, Blob, blob, document
from flops_registry.names import LAYER

from flops_builder.image.files import ROOT
from flops_builder.image.layer import Layer
from flops_builder.image.packing import Packed

LOCK_TYPE = "application/vnd.flops.lock.v1+text"
CREATED = "1970-01-01T00:00:00Z"
"""Always the same: the time of building says nothing about what was built."""


def image(
    role: Role,
    platform: Platform,
    python: str,
    layers: Sequence[Layer],
    packed: Mapping[Digest, Packed],
    annotations: Mapping[str, str],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Blob, Blob]:
    """Configuration and manifest of one image for one platform.

    :param packed: each layer as it lies in the registry, by its diff ID
    :param environment: further variables
    """
    system, _, architecture = platform.partition("/")
    configuration = document(
        CONFIG_TYPE,
        {
            "architecture": architecture,
            "os": system,
            "created": CREATED,
            "config": {
                "Entrypoint": ["python3", "-u", "-I", "-S", f"/{ROOT}/runtime/flops_start.py", str(role)],
                "Env": [
                    "PATH=/usr/local/bin:/usr/bin:/bin",
                    "LANG=C.UTF-8",
                    f"FLOPS_IMAGE_ROOT=/{ROOT}",
                    f"FLOPS_IMAGE_PYTHON={python}",
                    *(f"{name}={value}" for name, value in sorted(environment.items())),
                ],
                "WorkingDir": f"/{ROOT}/code",
                "Labels": dict(annotations),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created": CREATED, "created_by": f"flops-builder: {layer.kind}"} for layer in layers],
        },
    )
    manifest = document(
        MANIFEST_TYPE,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": configuration.descriptor(),
            "layers": [
                {
                    "mediaType": packed[layer.digest].media_type,
                    "digest": packed[layer.digest].digest,
                    "size": packed[layer.digest].size,
                    "annotations": {LAYER: layer.kind},
                }
                for layer in layers
            ],
            "annotations": dict(annotations),
        },
    )
    return configuration, manifest


def lock_parts(texts: Mapping[str, str]) -> dict[str, Blob]:
    """Resolved locks as blobs, by their titles."""
    return {name: blob(LOCK_TYPE, text.encode()) for name, text in texts.items()}
