"""The documents above the layers: image configuration, manifest, index (OCI image-spec 1.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import Role
from flops_protocol.sla import Platform

from flops_builder.image.files import ROOT
from flops_builder.image.layer import MEDIA_TYPE, Layer

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
LOCK_TYPE = "application/vnd.flops.lock.v1+text"
LOCKS_TYPE = "application/vnd.flops.locks.v1"
CREATED = "1970-01-01T00:00:00Z"
"""Always the same: the time of building says nothing about what was built."""
ANNOTATION = "mesh.flops"


@dataclass(frozen=True)
class Blob:
    """A document or a file as it lies in a registry."""

    media_type: str
    digest: Digest
    size: int
    content: bytes

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """What points at it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size} | more


def blob(media_type: str, content: bytes) -> Blob:
    """A blob of these bytes."""
    return Blob(media_type, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def document(media_type: str, value: Mapping[str, Any]) -> Blob:
    """A JSON document, written in one way only."""
    return blob(media_type, json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def image(
    role: Role,
    platform: Platform,
    python: str,
    layers: Sequence[Layer],
    annotations: Mapping[str, str],
    below: Mapping[str, Any] | None = None,
) -> tuple[Blob, Blob]:
    """Configuration and manifest of one image for one platform.

    :param below: the `config` of the image that the undermost layers are of: its environment and user stay
    """
    system, _, architecture = platform.partition("/")
    below = below or {}
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    variables |= dict(each.partition("=")[::2] for each in below.get("Env") or [])
    variables |= {"FLOPS_IMAGE_ROOT": f"/{ROOT}", "FLOPS_IMAGE_PYTHON": python}
    configuration = document(
        CONFIG_TYPE,
        {
            "architecture": architecture,
            "os": system,
            "created": CREATED,
            "config": {
                "Entrypoint": ["python3", "-u", "-I", "-S", f"/{ROOT}/runtime/flops_start.py", str(role)],
                "Env": [f"{name}={value}" for name, value in variables.items()],
                "WorkingDir": f"/{ROOT}/code",
                "Labels": dict(annotations),
                **({"User": below["User"]} if below.get("User") else {}),
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
                    "mediaType": MEDIA_TYPE,
                    "digest": layer.digest,
                    "size": layer.size,
                    "annotations": {f"{ANNOTATION}.layer": layer.kind},
                }
                for layer in layers
            ],
            "annotations": dict(annotations),
        },
    )
    return configuration, manifest


def index(manifests: Mapping[Platform, Blob], annotations: Mapping[str, str]) -> Blob:
    """The index that joins the platforms of an image."""
    entries = []
    for platform, manifest in sorted(manifests.items()):
        system, _, architecture = platform.partition("/")
        entries.append(manifest.descriptor(platform={"os": system, "architecture": architecture}))
    value = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries, "annotations": dict(annotations)}
    return document(INDEX_TYPE, value)


def artifact(
    kind: str, parts: Mapping[str, Blob], subject: Blob, annotations: Mapping[str, str]
) -> tuple[list[Blob], Blob]:
    """Documents that refer to an image (image-spec, "Guidelines for Artifact Usage"): their blobs, and the manifest.

    :param parts: by their titles
    """
    empty = blob(EMPTY_TYPE, b"{}")
    manifest = document(
        MANIFEST_TYPE,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": kind,
            "config": empty.descriptor(),
            "layers": [
                part.descriptor(annotations={"org.opencontainers.image.title": name})
                for name, part in sorted(parts.items())
            ],
            "subject": subject.descriptor(),
            "annotations": dict(annotations),
        },
    )
    return [*parts.values(), empty], manifest


def lock_parts(texts: Mapping[str, str]) -> dict[str, Blob]:
    """Resolved locks as blobs, by their titles."""
    return {name: blob(LOCK_TYPE, text.encode()) for name, text in texts.items()}
