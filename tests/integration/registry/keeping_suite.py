"""What tidying up must do, in a folder and on a server alike."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from flops_registry.housekeeping.choice import stale
from flops_registry.housekeeping.opening import open_keeper
from flops_registry.opening import Access, open_registry

from tests.integration.registry.samples import LOCK_KEY, SLUG, URL, sample


class KeepingSuite(ABC):
    """The behaviour that `Keeper` promises. Each kind adds the fixtures `reference`, `uses` and `keeper`."""

    @pytest.fixture
    async def keeper(self, reference, uses):
        async with open_keeper(reference, Access(), uses) as keeper:
            yield keeper

    @pytest.fixture
    async def registry(self, reference, uses):
        async with open_registry(reference, uses=uses) as registry:
            yield registry

    @abstractmethod
    def swept(self) -> set[str]:
        """The digests of the blobs that the registry still has, once it has freed what it may."""

    def age(self, uses, image_key, days):
        then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        os.utime(uses.folder / image_key.removeprefix("sha256:"), (then, then))

    async def test_an_empty_registry(self, keeper):
        assert list(await keeper.images()) == []

    async def test_images_are_listed(self, keeper, registry, reference, tmp_path):
        old = await sample(tmp_path / "made", reference)
        new = await sample(tmp_path / "made", reference, commit="b" * 40, platforms=("linux/amd64",))
        await registry.push(old.push)
        await registry.push(new.push)
        found = {image.image_key: image for image in await keeper.images()}
        assert set(found) == {old.images.image_key, new.images.image_key}
        image = found[old.images.image_key]
        assert (image.slug, image.source, image.commit) == (SLUG, URL, "a" * 40)
        assert image.source_key == old.source_key
        assert image.platforms == ("linux/amd64", "linux/arm64")
        assert image.bytes > sum(layer.size for layer in old.layers.values())
        assert image.last_used is not None
        assert datetime.now(UTC) - image.last_used < timedelta(minutes=1)

    async def test_a_hit_is_a_use(self, keeper, registry, reference, uses, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        self.age(uses, made.images.image_key, 40)
        (image,) = await keeper.images()
        assert stale([image], datetime.now(UTC), timedelta(days=30), 0, ()) == [image]
        assert await registry.find(SLUG, made.source_key) is not None
        (image,) = await keeper.images()
        assert stale([image], datetime.now(UTC), timedelta(days=30), 0, ()) == []

    async def test_the_old_goes_and_what_others_share_stays(self, keeper, registry, reference, uses, tmp_path):
        old = await sample(tmp_path / "made", reference, code=b"old")
        new = await sample(tmp_path / "made", reference, commit="b" * 40, code=b"new")
        await registry.push(old.push)
        await registry.push(new.push)
        self.age(uses, old.images.image_key, 40)
        chosen = stale(await keeper.images(), datetime.now(UTC), timedelta(days=30), 0, ())
        assert [image.image_key for image in chosen] == [old.images.image_key]
        removed = await keeper.remove(chosen)
        assert list(removed.images) == chosen
        assert await registry.find(SLUG, old.source_key) is None
        assert await registry.find(SLUG, new.source_key) is not None
        assert await registry.find_locks(SLUG, LOCK_KEY) is not None
        assert [image.image_key for image in await keeper.images()] == [new.images.image_key]
        left = self.swept()
        assert old.layers["code"].digest not in left
        assert {layer.digest for layer in new.layers.values()} <= left
        assert await registry.find(SLUG, new.source_key) is not None
        await registry.push(old.push)
        assert await registry.find(SLUG, old.source_key) is not None

    async def test_what_was_used_since_it_was_chosen_stays(self, keeper, registry, reference, uses, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        self.age(uses, made.images.image_key, 40)
        chosen = list(await keeper.images())
        assert await registry.find(SLUG, made.source_key) is not None
        assert (await keeper.remove(chosen)).images == ()
        assert await registry.find(SLUG, made.source_key) is not None

    async def test_a_build_that_comes_in_at_the_same_time_is_whole(self, keeper, registry, reference, uses, tmp_path):
        old = await sample(tmp_path / "made", reference, code=b"old")
        await registry.push(old.push)
        coming = [await sample(tmp_path / "made", reference, commit=letter * 40, code=b"old") for letter in "bcde"]
        self.age(uses, old.images.image_key, 40)
        chosen = list(await keeper.images())
        async with anyio.create_task_group() as group:
            for each in coming:
                group.start_soon(registry.push, each.push)
            group.start_soon(keeper.remove, chosen)
        assert await registry.find(SLUG, old.source_key) is None
        for each in coming:
            assert await registry.find(SLUG, each.source_key) is not None
