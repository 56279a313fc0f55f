"""Image lookup: which images the registry has for a source key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flops_protocol.images import SourceInputs
from flops_protocol.messages.mesh import NodeStatus
from flops_protocol.messages.project import ImageSet
from flops_protocol.sla import Sla

from flops_manager.placement import Spread


class ImageLookup(Protocol):
    """Finds images by their source key, with nothing but the registry's index."""

    async def find(self, repository_url: str, source_key: str) -> ImageSet | None:
        """The images that were built from these inputs; None when there are none, or not all of their bytes.

        :raises FlopsError: FLOPS-B041, FLOPS-B046 when the registry cannot be asked
        """
        ...

    async def pinned(self, base_image: str) -> str:
        """A base image by digest, whatever its tag leads to tomorrow; `scratch` as it is.

        :raises FlopsError: FLOPS-B047 when there is none of that name, FLOPS-B041, FLOPS-B046
        """
        ...


def source_inputs(
    sla: Sla,
    repository_url: str,
    commit: str,
    pythons: Sequence[str],
    *,
    base_image: str,
    runtime_version: str,
    builder_version: str,
    with_gpus: bool,
) -> SourceInputs:
    """Everything known before the dependencies are resolved."""
    return SourceInputs(
        repository_url=repository_url,
        commit=commit,
        subdir=sla.ml_repo_subdir,
        flavor=sla.ml_model_flavor,
        platforms=sla.supported_platforms,
        pythons=list(pythons),
        base_image=base_image,
        runtime_version=runtime_version,
        builder_version=builder_version,
        gpus=with_gpus,
    )


def pythons(nodes: Sequence[NodeStatus], spread: Spread) -> list[str]:
    """The Python minors of the nodes that were chosen: those that most of them have first, then in the nodes' order."""
    chosen = {spread.aggregator, *(node for node, _ in spread.learners)}
    votes: dict[str, int] = {}
    for node in sorted(nodes, key=lambda node: node.node):
        if node.node in chosen:
            for minor in node.pythons:
                votes[minor] = votes.get(minor, 0) + 1
    return sorted(votes, key=lambda minor: -votes[minor])


def gpus(nodes: Sequence[NodeStatus], spread: Spread) -> bool:
    """Whether a node that learners were placed on has a GPU: one image serves all of them."""
    chosen = {node for node, _ in spread.learners}
    return any(node.gpus > 0 for node in nodes if node.node in chosen)


def difference(inputs: SourceInputs, others: Sequence[SourceInputs]) -> str:
    """Why there is no image: which inputs differ from those, looked up before, that come closest."""
    mine = inputs.model_dump(mode="json")
    differences = [
        [name for name, value in other.model_dump(mode="json").items() if mine[name] != value] for other in others
    ]
    if not differences:
        return "There is no image of this repository yet"
    closest = min(range(len(others)), key=lambda index: len(differences[index]))
    if not differences[closest]:
        return "The registry does not have the image of these inputs any more"
    other = others[closest].model_dump(mode="json")
    parts = [f"{name} ({_short(other[name])} → {_short(mine[name])})" for name in differences[closest]]
    return f"No image has the same {', '.join(parts)}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    text = str(value)
    return text[:12] if len(text) >= 40 and set(text) <= set("0123456789abcdef") else text[:60]
