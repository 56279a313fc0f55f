"""An OCI image layout folder, read only: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import structlog
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import ImageReference, ImageSet
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_pascal

log = structlog.get_logger(__name__)

SOURCE_KEY = "mesh.flops.source-key"
IMAGE_KEY = "mesh.flops.image-key"
IMAGE_SET = "mesh.flops.image-set"
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""As much as a registry must take for a manifest (distribution-spec, "Pushing Manifests")."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PlatformName(_Document):
    """What an image runs on."""

    os: str
    architecture: str


class Descriptor(_Document):
    """What points at a blob."""

    digest: Digest
    size: int
    annotations: dict[str, str] = {}
    platform: PlatformName | None = None


class Index(_Document):
    """The manifests of the layout, or of one image."""

    manifests: list[Descriptor]
    annotations: dict[str, str] = {}


class Manifest(_Document):
    """One image for one platform."""

    config: Descriptor
    layers: list[Descriptor]


class Process(_Document):
    """How an image is run."""

    model_config = ConfigDict(alias_generator=to_pascal)

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    working_dir: str | None = None


class Configuration(_Document):
    """An image's configuration."""

    config: Process = Process()


D = TypeVar("D", bound=_Document)


class OciLayout:
    """Manifests and blobs of one layout folder. Everything here reads files: call it from a thread."""

    def __init__(self, folder: Path) -> None:
        """The folder need not be there yet."""
        self._folder = folder

    def index(self) -> Index:
        """What `index.json` says; nothing where there is no layout yet.

        :raises OSError: when it cannot be read
        :raises ValueError: when it is no index
        """
        path = self._folder / "index.json"
        return Index.model_validate_json(path.read_bytes()) if path.exists() else Index(manifests=[])

    def blob(self, digest: Digest) -> Path:
        """Where a blob is; it may be missing."""
        algorithm, _, encoded = digest.partition(":")
        return self._folder / "blobs" / algorithm / encoded

    def document(self, digest: Digest, model: type[D]) -> D:
        """An index, a manifest or a configuration.

        :raises OSError: when it cannot be read
        :raises ValueError: when it is too big, or something else
        """
        path = self.blob(digest)
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{digest} is too big for a document")
        return model.model_validate_json(path.read_bytes())

    def complete(self, index_digest: Digest) -> bool:
        """Whether everything that an image index refers to is there, in its size."""
        try:
            return all(self.blob(part.digest).stat().st_size == part.size for part in self._parts(index_digest))
        except (OSError, ValueError):
            return False

    def _parts(self, index_digest: Digest) -> Iterator[Descriptor]:
        for descriptor in self.document(index_digest, Index).manifests:
            yield descriptor
            manifest = self.document(descriptor.digest, Manifest)
            yield manifest.config
            yield from manifest.layers


class OciLayoutLookup:
    """`ImageLookup` in an OCI layout folder."""

    def __init__(self, registry: str) -> None:
        """`registry` is `oci:/absolute/path`."""
        self._registry = registry
        self._layout = OciLayout(Path(registry.removeprefix("oci:")))

    async def find(self, source_key: str) -> ImageSet | None:
        """See `ImageLookup.find`."""
        return await anyio.to_thread.run_sync(self._find, source_key)

    def _find(self, source_key: str) -> ImageSet | None:
        try:
            descriptors = self._layout.index().manifests
        except (OSError, ValueError) as error:
            log.warning("the registry's index cannot be read", registry=self._registry, error=str(error))
            return None
        for descriptor in reversed(descriptors):
            annotations = self._annotations(descriptor)
            if annotations.get(SOURCE_KEY) != source_key:
                continue
            images = self._images(annotations)
            if images is not None:
                return images
        return None

    def _annotations(self, descriptor: Descriptor) -> dict[str, str]:
        """Those of the descriptor; where it has none of ours, those of the index itself."""
        if SOURCE_KEY in descriptor.annotations and IMAGE_SET in descriptor.annotations:
            return descriptor.annotations
        try:
            return self._layout.document(descriptor.digest, Index).annotations
        except (OSError, ValueError):
            return {}

    def _images(self, annotations: dict[str, str]) -> ImageSet | None:
        try:
            images = ImageSet.model_validate_json(annotations[IMAGE_SET], extra="ignore")
        except (KeyError, ValidationError) as error:
            log.warning("an image set cannot be read", registry=self._registry, error=str(error))
            return None
        if images.image_key != annotations.get(IMAGE_KEY):
            log.warning("an image set is not the one of its index", registry=self._registry, key=images.image_key)
            return None
        if not all(self._layout.complete(image.digest) for image in (images.learner, images.aggregator)):
            return None
        return images.model_copy(
            update={
                "lookup": "found",
                # The folder may have been moved since.
                "learner": self._here(images.learner),
                "aggregator": self._here(images.aggregator),
            }
        )

    def _here(self, image: ImageReference) -> ImageReference:
        return image.model_copy(update={"registry": self._registry})
