"""What things are called in a registry: repositories, tags and annotations."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from flops_protocol.identifiers import Digest, segment

OURS = "mesh.flops"
SOURCE_KEY = f"{OURS}.source-key"
"""The key of everything that is known before the dependencies are resolved."""
IMAGE_KEY = f"{OURS}.image-key"
"""The key with the resolved locks."""
IMAGE_SET = f"{OURS}.image-set"
"""The `ImageSet` as JSON, on an entry of a layout's index."""
LOCK_KEY = f"{OURS}.lock-key"
"""What locks are found by: the commit, and what it asks for on which platforms."""
LOCK_DIGEST = f"{OURS}.lock-digest"
"""One digest over all locks."""
ROLE = f"{OURS}.role"
PYTHON = f"{OURS}.python"
LAYER = f"{OURS}.layer"
"""Which layer it is: `runtime`, `mlenv`, `code`, `tracking`, or `base` for those of a base image."""
BASE = "base"
PLATFORM = f"{OURS}.platform"

SOURCE = "org.opencontainers.image.source"
REVISION = "org.opencontainers.image.revision"
"""The repository, and its commit."""
REFERENCE = "org.opencontainers.image.ref.name"
"""The name of an entry of the registry's index, `{repository}:{tag}`."""
TITLE = "org.opencontainers.image.title"
"""The file name of an artifact's layer."""


def repository_slug(url: str) -> str:
    """What a repository's images are called: owner and name of a hosted one, the folder's name of a local one."""
    path = (urlsplit(url).path if "://" in url else url.rpartition(":")[2]).rstrip("/").removesuffix(".git")
    parts = [part for part in path.split("/") if part]
    local = url.startswith(("/", "file:"))
    return segment("-".join(parts[-1:] if local else parts[-2:]))


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag of `{repository}:{tag}`."""
    repository, _, tag = reference.rpartition(":")
    return repository, tag


def source_tag(source_key: Digest) -> str:
    """The tag of the learner's index for a source key, in a distribution registry. Its annotations count, not it."""
    return f"source-{source_key.removeprefix('sha256:')}"


def image_tag(image_key: Digest) -> str:
    """Likewise, the aggregator's index of an image key."""
    return f"image-{image_key.removeprefix('sha256:')}"


def lock_tag(lock_key: str) -> str:
    """Likewise, the locks of a lock key, whatever that looks like."""
    return f"locks-{hashlib.sha256(lock_key.encode()).hexdigest()}"
