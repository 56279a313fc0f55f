"""Image keys: which inputs an image stands for, so that nothing is built twice and nothing stale is taken for a hit."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from pydantic import Field

from flops_protocol.identifiers import CommitId, Digest
from flops_protocol.messages._base import Message
from flops_protocol.sla import ModelFlavor, Platform


class SourceInputs(Message):
    """All inputs of an image that are known before the dependencies are resolved."""

    repository_url: str
    commit: CommitId
    subdir: str | None
    flavor: ModelFlavor
    platforms: list[Platform] = Field(min_length=1)
    pythons: list[str]
    """Python minors that the nodes have; empty: whatever the repository asks for."""
    base_image: str
    """The base image's reference by digest, or `scratch`."""
    runtime_version: str
    builder_version: str
    gpus: bool = False
    """Whether the learners' nodes have GPUs. Part of the key where they do: keys from before this was known stay."""

    def key(self) -> Digest:
        """The source key: equal inputs, equal key, whatever the order of the platforms."""
        return _key(self.model_copy(update={"platforms": sorted(set(self.platforms))}))


class ImageInputs(Message):
    """All inputs of an image, the resolved locks included: the image is what these make."""

    source: SourceInputs
    locks: dict[str, Digest]
    """The digest of the resolved lock, by platform."""

    def key(self) -> Digest:
        """The image key."""
        return _key(self)


def _key(inputs: Message) -> Digest:
    document = orjson.dumps(_plain(inputs), option=orjson.OPT_SORT_KEYS)
    return f"sha256:{hashlib.sha256(document).hexdigest()}"


def _plain(inputs: Message) -> dict[str, Any]:
    """What is hashed. A field that came later counts only where it says something."""
    plain = inputs.model_dump(mode="json")
    for each in (plain, plain.get("source", {})):
        if each.get("gpus") is False:
            del each["gpus"]
    return plain
