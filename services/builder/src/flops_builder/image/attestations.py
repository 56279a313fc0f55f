"""What an image says of itself: its bill of materials (CycloneDX 1.6) and where it comes from (SLSA provenance 1.0).

Both hold nothing that differs between two builds of the same input, so they are as reproducible as the image.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from flops_protocol.identifiers import Digest
from flops_protocol.images import SourceInputs
from flops_protocol.sla import Platform
from flops_registry.documents import Blob, document
from flops_registry.names import LAYER, PLATFORM

from flops_builder.conda.lock import CondaLock
from flops_builder.resolve.lock import Lock
from flops_builder.source.location import public_url

BILL_TYPE = "application/vnd.cyclonedx+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:flops-mesh:assembled:v1"
NAMESPACE = uuid.UUID("6f0b1d0e-6c0f-5f0a-9a53-0d5a3b8f2c11")


def bill_of_materials(name: str, image: Digest, platform: Platform, locks: Mapping[str, Lock]) -> Blob:
    """Every package of an image for one platform, with the layer that it is in.

    :param name: the image's repository
    :param locks: by layer
    """
    components: list[dict[str, Any]] = [
        {
            "type": "library",
            "bom-ref": f"{layer}/{package}@{version}",
            "name": package,
            "version": version,
            **({} if "://" in version else {"purl": f"pkg:pypi/{package}@{version}"}),
            "properties": [{"name": LAYER, "value": layer}],
        }
        for layer, lock in sorted(locks.items())
        for package, version in sorted(_wheels(lock).versions.items())
    ]
    components += [
        {
            "type": "library",
            "bom-ref": f"{layer}/conda/{package.name}@{package.version}",
            "name": package.name,
            "version": package.version,
            "purl": package.purl,
            "hashes": [{"alg": "SHA-256", "content": package.sha256}],
            "properties": [{"name": LAYER, "value": layer}],
        }
        for layer, lock in sorted(locks.items())
        if (conda := CondaLock.read(lock)) is not None
        for package in conda.packages
    ]
    value = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(NAMESPACE, f"{name} {image} {platform}").urn,
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": name,
                "name": name,
                "version": image,
                "properties": [{"name": PLATFORM, "value": platform}],
            }
        },
        "components": components,
    }
    return document(BILL_TYPE, value)


def _wheels(lock: Lock) -> Lock:
    conda = CondaLock.read(lock)
    return lock if conda is None else conda.wheels


def provenance(name: str, image: Digest, inputs: SourceInputs, locks: Mapping[Platform, Digest]) -> Blob:
    """An in-toto statement with SLSA's provenance predicate, unsigned.

    :param locks: the digest of all locks of a platform
    """
    repository = public_url(inputs.repository_url)
    value: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": image.removeprefix("sha256:")}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "repository": repository,
                    "subdir": inputs.subdir,
                    "flavor": inputs.flavor.value,
                    "platforms": list(inputs.platforms),
                },
                "internalParameters": {"base_image": inputs.base_image, "pythons": list(inputs.pythons)},
                "resolvedDependencies": [
                    {"uri": f"git+{repository}@{inputs.commit}", "digest": {"gitCommit": inputs.commit}},
                    *(
                        {"name": f"locks/{platform}", "digest": {"sha256": digest.removeprefix("sha256:")}}
                        for platform, digest in sorted(locks.items())
                    ),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": BUILD_TYPE,
                    "version": {"flops-builder": inputs.builder_version, "flops-runtime": inputs.runtime_version},
                }
            },
        },
    }
    return document(STATEMENT_TYPE, value)
