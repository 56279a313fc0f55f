"""A registry that does all that the specification has, one request at a time."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from flops_protocol.errors import FlopsError
from flops_registry.distribution.client import Patience
from flops_registry.distribution.credentials import Credentials
from flops_registry.distribution.download import download
from flops_registry.distribution.referrers import fallback_tag, list_referrers
from flops_registry.distribution.upload import Source, Uploader
from flops_registry.documents import Descriptor, digest_of
from flops_registry.interface import nobody
from flops_registry.opening import Access, open_registry

from tests.integration.registry.samples import SLUG, sample
from tests.registries.conforming import conforming_registry

KIBIBYTE = 1024
CONTENT = os.urandom(1000 * KIBIBYTE)
DIGEST = digest_of(CONTENT)


@pytest.fixture
async def server():
    async with conforming_registry() as server:
        yield server


@pytest.fixture
async def registry(server):
    async with open_registry(server.url, Access(patience=Patience(first_seconds=0.01))) as registry:
        yield registry


async def test_an_upload_goes_on_in_the_middle_of_a_chunk(server, registry):
    server.drop_after = [100 * KIBIBYTE, 50 * KIBIBYTE]
    arrived: list[int] = []
    uploader = Uploader(registry.client, small=10, chunk=256 * KIBIBYTE)
    await uploader.bring("a/b", Source(DIGEST, len(CONTENT), CONTENT), [], arrived.append)
    assert server.blobs[DIGEST] == CONTENT
    starts = [int(said.partition("-")[0]) for said in server.ranges]
    assert starts[:3] == [0, 100 * KIBIBYTE, 150 * KIBIBYTE]
    assert sum(arrived) == len(CONTENT)
    assert [method for method, path in server.requests if path.endswith("/uploads/")] == ["POST"]


async def test_a_registry_that_is_busy_says_for_how_long(server, registry):
    asked: list[float | None] = []

    class Noted(Patience):
        async def pause(self, attempt: int, asked_for: float | None = None) -> None:
            asked.append(asked_for)

    server.busy = [(429, "7"), (503, None), (502, None)]
    client = replace(registry.client, patience=Noted())
    await Uploader(client).bring("a/b", Source(DIGEST, len(CONTENT), CONTENT), [], nobody)
    assert asked == [7, None, None]
    assert server.blobs[DIGEST] == CONTENT


async def test_what_it_says_is_told(server, registry):
    wrong = Source(DIGEST, 3, b"abc")
    with pytest.raises(FlopsError, match="DIGEST_INVALID: it is another") as caught:
        await Uploader(registry.client).bring("a/b", wrong, [], nobody)
    assert caught.value.body.code == "FLOPS-B041"
    assert "?" not in caught.value.body.detail


async def test_referrers_are_the_registrys_own_list_where_it_keeps_one(server, registry, tmp_path):
    made = await sample(tmp_path / "made", server.url)
    await registry.push(made.push)
    image = made.images.learner
    assert fallback_tag(image.digest) not in server.manifests
    assert len(await list_referrers(registry.client, image.repository, image.digest)) == 3
    assert await registry.find(SLUG, made.source_key) is not None


async def test_credentials_do_not_follow_a_redirect_to_another_host(server, registry, tmp_path):
    server.blobs[DIGEST] = CONTENT
    server.storage = server.url.replace("127.0.0.1", "localhost")
    authority = registry.client.authority
    authority.credentials, authority._basic = Credentials("me", "word"), True
    file = await download(registry.client, "a/b", Descriptor(digest=DIGEST, size=len(CONTENT)), tmp_path / "x", nobody)
    assert file.read_bytes() == CONTENT
    shown = {host.partition(":")[0]: header for host, header in server.authorizations}
    assert shown["127.0.0.1"] is not None
    assert shown["localhost"] is None
