"""Which artifacts are about an image (distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema")."""

from __future__ import annotations

from typing import Any

from flops_protocol.identifiers import Digest

from flops_registry.distribution.authority import Scope
from flops_registry.distribution.client import Client
from flops_registry.documents import INDEX_TYPE, Blob, Descriptor, Index, Manifest, document, read

SUBJECT = "OCI-Subject"
"""The header by which a registry says that it keeps the list itself."""


def fallback_tag(subject: Digest) -> str:
    """The tag of the list, where the registry has no referrers API."""
    return subject.replace(":", "-")


async def list_referrers(client: Client, repository: str, subject: Digest) -> list[Descriptor]:
    """What refers to a manifest; nothing, where nothing does.

    :raises FlopsError: FLOPS-B041, FLOPS-B046
    """
    scope = Scope(client.address.name(repository))
    headers = {"Accept": INDEX_TYPE}
    url = client.address.url(repository, f"referrers/{subject}")
    reply = await client.request("GET", url, scope, expected={200, 404}, headers=headers)
    if reply.status == 404:
        url = client.address.url(repository, f"manifests/{fallback_tag(subject)}")
        reply = await client.request("GET", url, scope, expected={200, 404}, headers=headers)
    return read(reply.content, Index).manifests if reply.status == 200 else []


async def add_to_fallback(client: Client, repository: str, subject: Digest, artifacts: list[Blob]) -> None:
    """Adds manifests to the list under the fallback tag.

    Two that do so at once may lose one's entries; the specification knows no way around that, and the next push of the
    same image adds them again.

    :raises FlopsError: FLOPS-B041, FLOPS-B046
    """
    scope = Scope(client.address.name(repository), writes=True)
    url = client.address.url(repository, f"manifests/{fallback_tag(subject)}")
    reply = await client.request("GET", url, scope, expected={200, 404}, headers={"Accept": INDEX_TYPE})
    known = read(reply.content, Index).manifests if reply.status == 200 else []
    new = {artifact.digest: _entry(artifact) for artifact in artifacts}
    kept = [_written(entry) for entry in known if entry.digest not in new]
    value = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*kept, *new.values()]}
    content = document(INDEX_TYPE, value).content
    if content != reply.content:
        await client.request("PUT", url, scope, expected={201}, headers={"Content-Type": INDEX_TYPE}, body=content)


def _entry(artifact: Blob) -> dict[str, Any]:
    manifest = read(artifact.content, Manifest)
    return artifact.descriptor(artifactType=manifest.artifact_type, annotations=manifest.annotations)


def _written(entry: Descriptor) -> dict[str, Any]:
    return entry.model_dump(mode="json", by_alias=True, exclude_none=True)
