"""A registry over HTTP: Debian's docker-registry."""

from __future__ import annotations

import json

import pytest
from flops_registry.distribution.book import BlobBook
from flops_registry.distribution.referrers import fallback_tag, list_referrers
from flops_registry.documents import LOCKS_TYPE, Index, read
from flops_registry.opening import open_registry

from tests.integration.registry.samples import SLUG, sample
from tests.integration.registry.suite import RegistrySuite


class TestDistribution(RegistrySuite):
    """A server without authentication."""

    @pytest.fixture
    def reference(self, server):
        return server.url

    @pytest.fixture
    async def registry(self, reference, server):
        self.server = server
        async with open_registry(reference) as registry:
            yield registry

    async def lose(self, registry, repository, digest):
        self.server.link(repository, digest).unlink()

    async def test_a_tag_alone_is_no_hit(self, registry, reference, tmp_path):
        """Somebody has moved the tag to the image of other inputs."""
        made = await sample(tmp_path / "made", reference)
        other = await sample(tmp_path / "made", reference, commit="b" * 40)
        await registry.push(made.push)
        await registry.push(other.push)
        tags = self.server.data / "docker/registry/v2/repositories" / SLUG / "learner/_manifests/tags"
        wanted = tags / f"source-{other.source_key.removeprefix('sha256:')}/current/link"
        wanted.write_text((tags / f"source-{made.source_key.removeprefix('sha256:')}/current/link").read_text())
        assert await registry.find(SLUG, other.source_key) is None
        assert await registry.find(SLUG, made.source_key) is not None

    async def test_what_another_repository_has_is_taken_over(self, registry, reference, tmp_path, server):
        book = BlobBook(tmp_path / "book")
        first = await sample(tmp_path / "made", reference)
        second = await sample(tmp_path / "made", reference, url="https://git.example.org/others/work", commit="b" * 40)
        async with open_registry(reference, book=book) as mine:
            await mine.push(first.push)
            pushed = await mine.push(second.push)
        runtimes = {layer.digest for name, layer in second.layers.items() if name.startswith("runtime")}
        assert runtimes <= set(pushed.skipped)
        assert all(server.link("others-work/aggregator", digest).exists() for digest in runtimes)
        assert await registry.find("others-work", second.source_key) is not None

    async def test_a_wrong_book_costs_an_upload_and_no_more(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        book = BlobBook(tmp_path / "book")
        for layer in made.layers.values():
            book.of(reference).note(layer.digest, "never/was")
        async with open_registry(reference, book=book) as mine:
            await mine.push(made.push)
        assert await registry.find(SLUG, made.source_key) is not None

    async def test_referrers_are_listed_under_the_fallback_tag(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        await registry.push(made.push)
        image = made.images.learner
        found = await list_referrers(registry.client, image.repository, image.digest)
        kinds = sorted(each.artifact_type or "" for each in found)
        assert LOCKS_TYPE in kinds
        assert len(kinds) == 3
        tagged = await registry.named(image.repository, fallback_tag(image.digest))
        assert read(tagged, Index).manifests == found

    async def test_repositories_may_lie_in_a_namespace(self, server, tmp_path):
        reference = f"{server.url}/team/mesh"
        made = await sample(tmp_path / "made", reference)
        async with open_registry(reference) as registry:
            await registry.push(made.push)
            found = await registry.find(SLUG, made.source_key)
        assert found is not None
        assert found.learner.registry == reference
        assert found.learner.repository == f"{SLUG}/learner"
        assert server.link(f"team/mesh/{SLUG}/learner", made.layers["code"].digest).exists()

    async def test_it_is_an_image_that_others_read(self, registry, reference, tmp_path):
        """The commit is in the tag for people, and the descriptors are those of compressed layers."""
        made = await sample(tmp_path / "made", reference, compression="zstd")
        await registry.push(made.push)
        tag = f"{'a' * 12}-{made.images.image_key.removeprefix('sha256:')[:12]}"
        index = json.loads(await registry.named(f"{SLUG}/aggregator", tag))
        manifest = json.loads(await registry.named(f"{SLUG}/aggregator", index["manifests"][0]["digest"]))
        assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
        configuration = json.loads(await registry.content(f"{SLUG}/aggregator", manifest["config"]["digest"]))
        assert len(configuration["rootfs"]["diff_ids"]) == len(manifest["layers"])
        assert not {layer["digest"] for layer in manifest["layers"]} & set(configuration["rootfs"]["diff_ids"])
