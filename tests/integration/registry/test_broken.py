"""Connections that break, and registries that are away for a moment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from flops_protocol.errors import FlopsError
from flops_registry.distribution.client import Patience
from flops_registry.distribution.download import download
from flops_registry.distribution.registry import DistributionRegistry
from flops_registry.distribution.upload import Brought, Source, Uploader
from flops_registry.documents import Descriptor, digest_of
from flops_registry.interface import nobody
from flops_registry.opening import Access, open_registry

from tests.integration.registry.samples import SLUG, sample
from tests.registries.process import run
from tests.registries.proxy import CuttingProxy

QUICK = Access(patience=Patience(first_seconds=0.01, most_seconds=0.1))
MEBIBYTE = 1024 * 1024
CONTENT = os.urandom(8 * MEBIBYTE)
DIGEST = digest_of(CONTENT)


@asynccontextmanager
async def through(proxy: CuttingProxy) -> AsyncIterator[DistributionRegistry]:
    async with open_registry(proxy.url, QUICK) as registry:
        assert isinstance(registry, DistributionRegistry)
        yield registry


@pytest.fixture
async def proxy(server):
    proxy = CuttingProxy(server.port)
    async with anyio.create_task_group() as group:
        await group.start(proxy.run)
        yield proxy
        group.cancel_scope.cancel()


@pytest.fixture
def source(tmp_path) -> Source:
    """A blob in a file, as layers are."""
    (tmp_path / "blob").write_bytes(CONTENT)
    return Source(DIGEST, len(CONTENT), tmp_path / "blob")


async def test_an_upload_goes_on_where_a_connection_broke_between_two_chunks(proxy, server, source):
    async with through(proxy) as registry:
        uploader = Uploader(registry.client, chunk=MEBIBYTE)
        arrived = 0

        def count(more: int) -> None:
            nonlocal arrived
            arrived += more
            if arrived == 5 * MEBIBYTE and not proxy.cuts:
                # The next request goes nowhere, nor do two attempts to ask what has become of it.
                proxy.cut_after_sent.append(proxy.sent)
                proxy.refuse = 2

        assert await uploader.bring("a/b", source, [], count) is Brought.UPLOADED
    assert proxy.cuts == 1
    assert proxy.refuse == 0
    assert server.blob(DIGEST).read_bytes() == CONTENT
    assert arrived == len(CONTENT)
    assert proxy.sent < 1.1 * len(CONTENT)


@pytest.mark.parametrize("size", [MEBIBYTE, 16 * MEBIBYTE])
async def test_an_upload_that_broke_in_a_chunk_begins_anew_where_the_registry_forgot_it(proxy, server, source, size):
    proxy.cut_after_sent = [3 * MEBIBYTE + 1000, 5 * MEBIBYTE + 1000]
    async with through(proxy) as registry:
        arrived: list[int] = []
        await Uploader(registry.client, chunk=size).bring("a/b", source, [], arrived.append)
    assert proxy.cuts == 2
    assert server.blob(DIGEST).read_bytes() == CONTENT
    assert sum(arrived) == len(CONTENT)


async def test_a_small_blob_is_sent_again(proxy, server):
    content = CONTENT[:MEBIBYTE]
    proxy.cut_after_sent = [300_000, 900_000]
    async with through(proxy) as registry:
        await Uploader(registry.client).bring("a/b", Source(digest_of(content), len(content), content), [], nobody)
    assert proxy.cuts == 2
    assert server.blob(digest_of(content)).read_bytes() == content


async def test_a_download_goes_on_where_it_broke(proxy, source, tmp_path):
    async with through(proxy) as registry:
        await Uploader(registry.client).bring("a/b", source, [], nobody)
        before = proxy.received
        proxy.cut_after_received = [before + 3 * MEBIBYTE, before + 6 * MEBIBYTE]
        descriptor = Descriptor(digest=DIGEST, size=len(CONTENT))
        arrived: list[int] = []
        file = await download(registry.client, "a/b", descriptor, tmp_path / "down" / "blob", arrived.append)
    assert proxy.cuts == 2
    assert file.read_bytes() == CONTENT
    assert sum(arrived) == len(CONTENT)
    assert proxy.received - before < 1.5 * len(CONTENT)  # without going on, it would be more than twice as much
    assert [path.name for path in file.parent.iterdir()] == ["blob"]


async def test_a_download_goes_on_where_another_process_left_it(proxy, source, tmp_path):
    (tmp_path / "blob.down.part").write_bytes(CONTENT[: 7 * MEBIBYTE])
    async with through(proxy) as registry:
        await Uploader(registry.client).bring("a/b", source, [], nobody)
        before = proxy.received
        descriptor = Descriptor(digest=DIGEST, size=len(CONTENT))
        file = await download(registry.client, "a/b", descriptor, tmp_path / "blob.down", nobody)
    assert file.read_bytes() == CONTENT
    assert proxy.received - before < 1.5 * MEBIBYTE


async def test_bytes_that_are_not_those_of_the_digest_are_refused(proxy, server, source, tmp_path):
    async with through(proxy) as registry:
        await Uploader(registry.client).bring("a/b", source, [], nobody)
        server.blob(DIGEST).write_bytes(CONTENT[:-1] + b"?")
        descriptor = Descriptor(digest=DIGEST, size=len(CONTENT))
        with pytest.raises(FlopsError, match="other bytes"):
            await download(registry.client, "a/b", descriptor, tmp_path / "blob.down", nobody)
    assert not list(tmp_path.glob("blob.down*"))


async def test_a_whole_push_over_a_bad_line(proxy, server, tmp_path):
    made = await sample(tmp_path / "made", proxy.url, runtime=os.urandom(2 * MEBIBYTE))
    proxy.cut_after_sent = [200_000, MEBIBYTE, 3 * MEBIBYTE, 4 * MEBIBYTE + 50_000]
    async with through(proxy) as registry:
        await registry.push(made.push)
        proxy.cut_after_received = [proxy.received + 100]
        found = await registry.find(SLUG, made.source_key)
    assert proxy.cuts >= 4
    assert found is not None
    async with open_registry(server.url) as registry:
        assert await registry.find(SLUG, made.source_key) is not None


async def test_a_registry_that_is_started_again_in_the_middle(server, tmp_path):
    made = await sample(tmp_path / "made", server.url, runtime=os.urandom(4 * MEBIBYTE))
    async with open_registry(server.url, Access(patience=Patience(first_seconds=0.1))) as registry:
        stopped = False

        async def restart() -> None:
            await server.stop()
            await anyio.sleep(0.2)
            await server.start()

        def count(more: int) -> None:
            nonlocal stopped
            if not stopped:
                stopped = True
                group.start_soon(restart)

        async with anyio.create_task_group() as group:
            await registry.push(made.push, count)
        assert stopped
        assert await registry.find(SLUG, made.source_key) is not None


async def test_a_push_that_fails_leaves_nothing_that_is_found(proxy, server, tmp_path):
    made = await sample(tmp_path / "made", proxy.url, runtime=os.urandom(2 * MEBIBYTE))
    async with through(proxy) as registry:
        registry = replace(registry, client=replace(registry.client, patience=Patience(2, 0.01, 0.01)))
        proxy.cut_after_sent = [MEBIBYTE] * 20
        proxy.refuse = 1000
        with pytest.raises(FlopsError) as caught:
            await registry.push(made.push)
    assert caught.value.body.code == "FLOPS-B041"
    async with open_registry(server.url) as registry:
        assert await registry.find(SLUG, made.source_key) is None
        await registry.push(made.push)
        assert await registry.find(SLUG, made.source_key) is not None


async def test_a_registry_that_is_not_there_is_told_with_its_address(tmp_path):
    async with run(tmp_path / "server") as server:
        url = server.url
    with pytest.raises(FlopsError, match=url) as caught:
        async with open_registry(url, QUICK) as registry:
            await registry.find(SLUG, f"sha256:{'0' * 64}")
    assert caught.value.body.code == "FLOPS-B041"
    assert "7 attempts" in caught.value.body.detail


async def test_a_push_and_a_pull_that_are_given_up_leave_nothing_open(proxy, source, tmp_path):
    async with through(proxy) as registry:
        async with anyio.create_task_group() as group:

            def enough(more: int) -> None:
                if more:
                    group.cancel_scope.cancel()

            group.start_soon(Uploader(registry.client, chunk=MEBIBYTE).bring, "a/b", source, [], enough)
        assert await Uploader(registry.client, chunk=MEBIBYTE).bring("a/b", source, [], nobody) is Brought.UPLOADED
        descriptor = Descriptor(digest=DIGEST, size=len(CONTENT))
        async with anyio.create_task_group() as group:
            group.start_soon(download, registry.client, "a/b", descriptor, tmp_path / "down", enough)
        assert not (tmp_path / "down").exists()
        file = await download(registry.client, "a/b", descriptor, tmp_path / "down", nobody)
    assert file.read_bytes() == CONTENT
