"""An OCI image layout folder, read only: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson
import structlog
from flops_protocol.messages.project import ImageReference, ImageSet
from pydantic import ValidationError

log = structlog.get_logger(__name__)

SOURCE_KEY = "mesh.flops.source-key"
IMAGE_KEY = "mesh.flops.image-key"
IMAGE_SET = "mesh.flops.image-set"
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""As much as a registry must take for a manifest (distribution-spec, "Pushing Manifests")."""


class OciLayout:
    """Manifests and blobs of one layout folder. Everything here reads files: call it from a thread."""

    def __init__(self, folder: Path) -> None:
        """The folder need not be there yet."""
        self._folder = folder

    def index(self) -> list[dict[str, Any]]:
        """The descriptors in `index.json`; none where there is no layout yet."""
        path = self._folder / "index.json"
        if not path.exists():
            return []
        return list(orjson.loads(path.read_bytes()).get("manifests", []))

    def blob(self, digest: str) -> Path:
        """Where a blob is; it may be missing.

        :raises ValueError: when it is no digest that we know
        """
        algorithm, _, encoded = digest.partition(":")
        if algorithm != "sha256" or len(encoded) != 64 or not set(encoded) <= set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no sha256 digest")
        return self._folder / "blobs" / algorithm / encoded

    def document(self, digest: str) -> dict[str, Any]:
        """An index, a manifest or a configuration.

        :raises OSError: when it is missing
        :raises ValueError: when it is too big, or no JSON object
        """
        path = self.blob(digest)
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{digest} is too big for a document")
        document = orjson.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError(f"{digest} is no document")  # noqa: TRY004 - the bytes are wrong, not a type of ours
        return document

    def complete(self, index_digest: str) -> bool:
        """Whether everything that an image index refers to is there, in its size."""
        try:
            return all(self.blob(part["digest"]).stat().st_size == part["size"] for part in self._parts(index_digest))
        except (OSError, ValueError, KeyError):
            return False

    def _parts(self, index_digest: str) -> Iterator[dict[str, Any]]:
        for manifest in self.document(index_digest)["manifests"]:
            yield manifest
            document = self.document(manifest["digest"])
            yield document["config"]
            yield from document["layers"]


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
            descriptors = self._layout.index()
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

    def _annotations(self, descriptor: dict[str, Any]) -> dict[str, str]:
        """Those of the descriptor; where it has none of ours, those of the index itself."""
        annotations: dict[str, str] = descriptor.get("annotations") or {}
        if SOURCE_KEY in annotations and IMAGE_SET in annotations:
            return annotations
        try:
            return self._layout.document(descriptor["digest"]).get("annotations") or {}
        except (OSError, ValueError, KeyError):
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
