"""The documents of a registry, written and read (OCI image-spec 1.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from flops_protocol.identifiers import Digest
from flops_protocol.sla import Platform
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel, to_pascal

from flops_registry.names import TITLE

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST_TYPES = (
    INDEX_TYPE,
    MANIFEST_TYPE,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""OCI's, and Docker's, which base images still have."""
LOCKS_TYPE = "application/vnd.flops.locks.v1"
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""As much as a registry must take for a manifest (distribution-spec, "Pushing Manifests")."""


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


def digest_of(content: bytes) -> Digest:
    """OCI image-spec, descriptor.md, "Digests"."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def blob(media_type: str, content: bytes) -> Blob:
    """A blob of these bytes."""
    return Blob(media_type, digest_of(content), len(content), content)


def document(media_type: str, value: Mapping[str, Any]) -> Blob:
    """A JSON document, written in one way only."""
    return blob(media_type, json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


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
            "layers": [part.descriptor(annotations={TITLE: name}) for name, part in sorted(parts.items())],
            "subject": subject.descriptor(),
            "annotations": dict(annotations),
        },
    )
    return [*parts.values(), empty], manifest


class Document(BaseModel):
    """A document as it is read: what we do not know in it does not matter."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class PlatformName(Document):
    """What an image runs on."""

    os: str
    architecture: str

    def __str__(self) -> str:
        """As an SLA has it: `linux/amd64`."""
        return f"{self.os}/{self.architecture}"


class Descriptor(Document):
    """What points at a blob."""

    media_type: str = ""
    digest: Digest
    size: int
    annotations: dict[str, str] = {}
    platform: PlatformName | None = None
    artifact_type: str | None = None


class Index(Document):
    """The manifests of a layout, or of one image."""

    manifests: list[Descriptor]
    annotations: dict[str, str] = {}


class Manifest(Document):
    """One image for one platform, or an artifact."""

    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str] = {}
    artifact_type: str | None = None
    subject: Descriptor | None = None


class Process(Document):
    """How an image is run."""

    model_config = ConfigDict(alias_generator=to_pascal)

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    user: str | None = None
    working_dir: str | None = None


class RootFilesystem(Document):
    """The digests of the layers' uncompressed bytes, the undermost first. (Its fields are written in snake case.)"""

    model_config = ConfigDict(alias_generator=None)

    diff_ids: list[Digest] = []


class Configuration(Document):
    """An image's configuration."""

    config: Process = Process()
    rootfs: RootFilesystem = RootFilesystem()


class Listed(Document):
    """A page of a registry's repositories, or of a repository's tags (distribution-spec 1.1, "Listing Tags")."""

    repositories: list[str] | None = None
    tags: list[str] | None = None


class _Pointing(Document):
    manifests: list[Descriptor] = []
    layers: list[Descriptor] = []
    config: Descriptor | None = None


D = TypeVar("D", bound=Document)


def read(content: bytes, model: type[D]) -> D:
    """A document of a kind.

    :raises ValueError: when it is too big, or something else
    """
    if len(content) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{len(content)} bytes are too many for a document")
    return model.model_validate_json(content)


class Parts(NamedTuple):
    """What a document points at and needs; not its subject, which it only speaks of."""

    documents: list[Descriptor]
    """The manifests of an index."""
    blobs: list[Descriptor]
    """Configuration and layers of a manifest."""


def parts(content: bytes) -> Parts:
    """What an index or a manifest points at.

    :raises ValueError: when it is neither
    """
    found = read(content, _Pointing)
    return Parts(found.manifests, [*([found.config] if found.config else []), *found.layers])
