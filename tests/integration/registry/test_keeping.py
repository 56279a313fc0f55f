"""Tidying up a folder, and Debian's docker-registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flops_protocol.errors import FlopsError
from flops_registry.housekeeping import distribution
from flops_registry.housekeeping.opening import open_keeper
from flops_registry.opening import Access, open_registry
from flops_registry.uses import UseBook

from tests.integration.registry.keeping_suite import KeepingSuite
from tests.integration.registry.samples import SLUG, sample
from tests.integration.registry.test_base import put_base
from tests.registries.process import program, run


class TestLayout(KeepingSuite):
    """A folder: blobs are swept at once."""

    @pytest.fixture
    def reference(self, tmp_path):
        self.folder = tmp_path / "registry"
        return f"oci:{self.folder}"

    @pytest.fixture
    def uses(self, tmp_path):
        return UseBook(tmp_path / "registry" / "used")

    def swept(self):
        return {f"sha256:{path.name}" for path in (self.folder / "blobs/sha256").iterdir()}

    async def test_what_others_put_there_stays(self, keeper, registry, reference, uses, tmp_path):
        digest = await put_base(reference, "python")
        before = self.swept()
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        self.age(uses, made.images.image_key, 40)
        (image,) = await keeper.images()
        removed = await keeper.remove([image])
        assert removed.bytes
        assert self.swept() == before
        assert await registry.resolve("", "python") == digest

    async def test_what_a_killed_builder_left_goes_in_time(self, keeper, registry, reference, uses, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        left, arriving = self.folder / "blobs/sha256/.left", self.folder / "blobs/sha256/.arriving"
        for path in (left, arriving):
            path.write_bytes(b"half of it")
        os.utime(left, (0, 0))
        await keeper.remove(await keeper.images())
        assert not left.exists()
        assert arriving.exists()

    async def test_what_gets_its_name_while_it_is_looked_at(self, keeper, registry, reference, uses, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        # Listed, and not there: as a blob that a push renames between the two.
        (self.folder / "blobs/sha256/.renamed").symlink_to("its-own-name")
        self.age(uses, made.images.image_key, 40)
        assert (await keeper.remove(await keeper.images())).images


class TestDistribution(KeepingSuite):
    """A server: manifests are deleted, and it frees their bytes when it is told to."""

    @pytest.fixture
    def reference(self, server):
        self.server = server
        return server.url

    @pytest.fixture
    def uses(self, tmp_path):
        return UseBook(tmp_path / "uses")

    def swept(self):
        command = [program(), "garbage-collect", str(self.server.folder / "config.yml")]
        subprocess.run(command, check=True, capture_output=True)
        blobs = self.server.data / "docker/registry/v2/blobs/sha256"
        return {f"sha256:{path.parent.name}" for path in blobs.glob("*/*/data")}

    async def test_nothing_is_left_of_the_only_image(self, keeper, registry, reference, uses, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        await keeper.remove(await keeper.images())
        assert self.swept() == set()

    async def test_what_nobody_has_noted_ages_from_now_on(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        async with open_keeper(reference, Access(), UseBook(tmp_path / "another")) as keeper:
            assert [image.last_used for image in await keeper.images()] == [None]
            assert [image.last_used is None for image in await keeper.images()] == [False]

    async def test_more_repositories_than_a_page_has(self, keeper, registry, reference, tmp_path, monkeypatch):
        monkeypatch.setattr(distribution, "PAGE", 3)
        for number in range(4):
            url = f"https://git.example.org/people/work-{number}"
            made = await sample(tmp_path / "made", reference, url=url, platforms=("linux/amd64",))
            await registry.push(made.push)
        assert len(await keeper.images()) == 4  # of 8 repositories

    async def test_a_registry_that_lets_nobody_delete_is_told(self, tmp_path):
        storage = {"filesystem": {"rootdirectory": str(tmp_path / "other" / "data")}}
        async with run(tmp_path / "other", storage=storage) as server:
            made = await sample(tmp_path / "made", server.url)
            async with open_registry(server.url) as registry:
                await registry.push(made.push)
                async with open_keeper(server.url, Access(), UseBook(tmp_path / "uses")) as keeper:
                    chosen = list(await keeper.images())
                    chosen = list(await keeper.images())
                    with pytest.raises(FlopsError, match="lets nobody delete"):
                        await keeper.remove(chosen)
                assert await registry.find(SLUG, made.source_key) is not None


@pytest.mark.parametrize("kind", ["layout", "server"])
async def test_the_command_lists_and_prunes(kind, server, tmp_path: Path):
    state = tmp_path / "state"
    reference = server.url if kind == "server" else f"oci:{state / 'registry'}"
    uses = UseBook(state / "cache/images" if kind == "server" else state / "registry/used")
    made = await sample(tmp_path / "made", reference)
    async with open_registry(reference, uses=uses) as registry:
        await registry.push(made.push)

    def flops(*arguments):
        command = [sys.executable, "-m", "flops_cli", "images", *arguments, "--state", str(state)]
        done = subprocess.run([*command, "--registry", reference], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (listed,) = json.loads(flops("--json"))
    assert listed["image_key"] == made.images.image_key
    assert listed["repository"] == SLUG
    assert "people-digits" in flops()
    assert json.loads(flops("prune", "--json"))["removed"] == []
    TestLayout().age(uses, made.images.image_key, 31)
    assert json.loads(flops("prune", "--keep", "1", "--json"))["removed"] == []
    tried = json.loads(flops("prune", "--dry-run", "--json"))
    assert [image["image_key"] for image in tried["removed"]] == [made.images.image_key]
    assert "would go" in flops("prune", "--dry-run")
    assert "1 images are gone" in flops("prune")
    assert json.loads(flops("--json")) == []
