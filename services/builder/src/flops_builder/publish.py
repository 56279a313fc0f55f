"""From layers to what is pushed: documents, keys and annotations (docs/builder.md, "In the registry")."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from flops_protocol.identifiers import Digest
from flops_protocol.images import ImageInputs, SourceInputs
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ImageReference, ImageSet, ProjectSpec, Role
from flops_protocol.sla import Platform
from flops_registry.base import Base
from flops_registry.documents import LOCKS_TYPE, Blob, artifact, index
from flops_registry.interface import Push
from flops_registry.names import (
    IMAGE_KEY,
    IMAGE_SET,
    LOCK_DIGEST,
    LOCK_KEY,
    PYTHON,
    REFERENCE,
    ROLE,
    SOURCE_KEY,
    repository_slug,
)

from flops_builder.image.attestations import BILL_TYPE, STATEMENT_TYPE, bill_of_materials, provenance
from flops_builder.image.documents import image, lock_parts
from flops_builder.image.layer import Layer
from flops_builder.image.packing import Packed
from flops_builder.resolve.lock import Lock
from flops_builder.source.location import public_url


@dataclass(frozen=True)
class Layered:
    """The layers of one platform, with the locks that they were made from."""

    runtime: Layer
    mlenv: Layer
    tracking: Layer
    locks: Mapping[str, Lock]
    """By layer: `runtime`, `mlenv`, `tracking`; `base`, where an engine made what they stand on."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the image's configuration."""

    @property
    def layers(self) -> tuple[Layer, Layer, Layer]:
        """All that belong to this platform."""
        return self.runtime, self.mlenv, self.tracking

    def of(self, role: Role) -> dict[str, Lock]:
        """The locks of the layers that a role's image has."""
        return {name: lock for name, lock in self.locks.items() if role is Role.AGGREGATOR or name != "tracking"}

    @property
    def lock_digest(self) -> Digest:
        """One digest over all locks."""
        return _digest("".join(f"{name} {lock.digest}\n" for name, lock in sorted(self.locks.items())))


def compose(
    spec: ProjectSpec,
    command: BuildCommand,
    inputs: SourceInputs,
    python: str,
    lock_key: str,
    code: Layer,
    platforms: Mapping[Platform, Layered],
    packed: Mapping[Digest, Packed],
    bases: Mapping[Platform, Base],
) -> tuple[Push, ImageSet]:
    """The two images, their keys, and the locks beside them. `packed`: each layer as it lies in the registry; `bases`:
    what the layers stand on, if anything."""
    key = ImageInputs(source=inputs, locks={name: each.lock_digest for name, each in sorted(platforms.items())}).key()
    keys = {IMAGE_KEY: key, SOURCE_KEY: command.source_key}
    lock_digest = _digest("".join(f"{name} {each.lock_digest}\n" for name, each in sorted(platforms.items())))
    about = keys | {
        "org.opencontainers.image.source": public_url(spec.repository_url),
        "org.opencontainers.image.revision": spec.commit,
        PYTHON: python,
        LOCK_DIGEST: lock_digest,
    }
    documents: list[Blob] = []
    indexes: dict[Role, Blob] = {}
    for role in (Role.LEARNER, Role.AGGREGATOR):
        manifests: dict[Platform, Blob] = {}
        for name, each in platforms.items():
            layers = [each.runtime, each.mlenv, code, *([each.tracking] if role is Role.AGGREGATOR else [])]
            below = bases.get(name)
            configuration, manifests[name] = image(role, name, python, layers, packed, about, below, each.environment)
            documents += [configuration, manifests[name]]
        indexes[role] = index(manifests, about)
        documents.append(indexes[role])
    slug = repository_slug(spec.repository_url)
    images = ImageSet(
        image_key=key,
        learner=_reference(command.registry, slug, Role.LEARNER, indexes, platforms),
        aggregator=_reference(command.registry, slug, Role.AGGREGATOR, indexes, platforms),
        python=python,
        lock_digest=lock_digest,
        lookup="built",
    )
    texts = {
        lock_title(name, layer): lock.text for name, each in platforms.items() for layer, lock in each.locks.items()
    }
    attached = {
        f"{slug}/locks": artifact(LOCKS_TYPE, lock_parts(texts), indexes[Role.LEARNER], keys | {LOCK_KEY: lock_key}),
        **_attestations(slug, indexes, platforms, inputs, keys),
    }
    for parts, manifest in attached.values():
        documents += [*parts, manifest]
    tag = f"{spec.commit[:12]}-{key.removeprefix('sha256:')[:12]}"
    entries = [
        (
            indexes[role],
            keys
            | {
                REFERENCE: f"{slug}/{role}:{tag}",
                ROLE: str(role),
                IMAGE_SET: images.model_dump_json(),
            },
        )
        for role in (Role.LEARNER, Role.AGGREGATOR)
    ]
    for title, (_, manifest) in attached.items():
        more = {LOCK_KEY: lock_key} if title == f"{slug}/locks" else {}
        entries.append((manifest, keys | {REFERENCE: f"{title}:{tag}"} | more))
    unique = list({each.digest: each for each in documents}.values())
    files = {each.digest: each.file for each in packed.values()}
    borrowed = {digest: each for base in bases.values() for digest, each in base.borrowed.items()}
    return Push(files=files, documents=unique, entries=entries, borrowed=borrowed), images


def _attestations(
    slug: str,
    indexes: Mapping[Role, Blob],
    platforms: Mapping[Platform, Layered],
    inputs: SourceInputs,
    keys: Mapping[str, str],
) -> dict[str, tuple[list[Blob], Blob]]:
    """Bill of materials and provenance of each role's image, by their names: the blobs, and the manifest."""
    digests = {each: layered.lock_digest for each, layered in platforms.items()}
    attached = {}
    for role, subject in indexes.items():
        name = f"{slug}/{role}"
        bills = {
            f"{each.replace('/', '-')}.cdx.json": bill_of_materials(name, subject.digest, each, layered.of(role))
            for each, layered in platforms.items()
        }
        attached[f"{name}-sbom"] = artifact(BILL_TYPE, bills, subject, keys)
        statement = {"provenance.json": provenance(name, subject.digest, inputs, digests)}
        attached[f"{name}-provenance"] = artifact(STATEMENT_TYPE, statement, subject, keys)
    return attached


def source_inputs(spec: ProjectSpec, command: BuildCommand, base_image: str, builder_version: str) -> SourceInputs:
    """What the images are made from, as far as it is known before the dependencies are resolved."""
    return SourceInputs(
        repository_url=spec.repository_url,
        commit=spec.commit,
        subdir=spec.sla.ml_repo_subdir,
        flavor=spec.sla.ml_model_flavor,
        platforms=spec.sla.supported_platforms,
        pythons=command.pythons,
        base_image=command.base_image or base_image,
        runtime_version=command.runtime_version,
        builder_version=builder_version,
        gpus=command.gpus,
    )


def lock_title(platform: Platform, layer: str) -> str:
    """What a lock is called among the locks of an image: `linux-amd64/mlenv.txt`."""
    return f"{platform.replace('/', '-')}/{layer}.txt"


def _reference(
    registry: str, slug: str, role: Role, indexes: Mapping[Role, Blob], platforms: Mapping[Platform, Layered]
) -> ImageReference:
    return ImageReference(
        registry=registry, repository=f"{slug}/{role}", digest=indexes[role].digest, platforms=sorted(platforms)
    )


def _digest(text: str) -> Digest:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
