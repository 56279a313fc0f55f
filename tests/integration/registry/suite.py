"""What every registry must do: a folder on this machine and a server alike."""

from __future__ import annotations

import tarfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import anyio
import pytest
from flops_protocol.errors import FlopsError
from flops_registry.compression import decompress, is_compressed
from flops_registry.documents import Index, Manifest, read
from flops_registry.interface import Registry

from tests.integration.registry.samples import LOCK_KEY, SLUG, sample


class RegistrySuite(ABC):
    """The behaviour that `Registry` promises. Each kind adds the fixtures `reference` and `registry`."""

    @pytest.fixture
    @abstractmethod
    def reference(self) -> str:
        """How the registry is called."""

    @pytest.fixture
    @abstractmethod
    async def registry(self) -> AsyncIterator[Registry]:
        """An empty registry."""

    @abstractmethod
    async def lose(self, registry: Registry, repository: str, digest: str) -> None:
        """Takes a blob away, behind the registry's back."""

    async def test_what_was_pushed_is_found(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        assert await registry.find(SLUG, made.source_key) is None
        pushed = await registry.push(made.push)
        assert pushed.bytes > 0
        found = await registry.find(SLUG, made.source_key)
        assert found == made.images.model_copy(update={"lookup": "found"})

    async def test_other_inputs_find_nothing(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        other = await sample(tmp_path / "made", reference, commit="b" * 40)
        assert await registry.find(SLUG, other.source_key) is None
        assert await registry.find(SLUG, made.images.image_key) is None

    async def test_a_second_push_moves_nothing(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        again = await registry.push(made.push)
        assert (again.bytes, again.blobs) == (0, 0)
        assert {layer.digest for layer in made.layers.values()} <= set(again.skipped)

    async def test_a_changed_line_moves_its_layer_and_documents_only(self, registry, reference, tmp_path):
        await registry.push((await sample(tmp_path / "made", reference)).push)
        changed = await sample(tmp_path / "made", reference, commit="b" * 40, code=b"print('better')\n")
        pushed = await registry.push(changed.push)
        kept = {layer.digest for name, layer in changed.layers.items() if name != "code"}
        assert kept <= set(pushed.skipped)
        assert changed.layers["code"].digest not in pushed.skipped
        assert await registry.find(SLUG, changed.source_key) is not None

    async def test_both_of_two_builders_at_once_are_found(self, registry, reference, tmp_path):
        made = [await sample(tmp_path / "made", reference, commit=letter * 40) for letter in "abcd"]
        async with anyio.create_task_group() as group:
            for each in made:
                group.start_soon(registry.push, each.push)
        for each in made:
            assert await registry.find(SLUG, each.source_key) is not None

    @pytest.mark.parametrize("lost", ["code", "tracking", "mlenv-linux/arm64"])
    async def test_images_of_which_a_part_is_missing_are_not_found(self, registry, reference, tmp_path, lost):
        made = await sample(tmp_path / "made", reference)
        await registry.push(made.push)
        role = "aggregator" if lost == "tracking" else "learner"
        await self.lose(registry, f"{SLUG}/{role}", made.layers[lost].digest)
        assert await registry.find(SLUG, made.source_key) is None
        await registry.push(made.push)
        assert await registry.find(SLUG, made.source_key) is not None

    async def test_locks_are_found_by_their_key(self, registry, reference, tmp_path):
        assert await registry.find_locks(SLUG, LOCK_KEY) is None
        await registry.push((await sample(tmp_path / "made", reference)).push)
        found = await registry.find_locks(SLUG, LOCK_KEY)
        assert found is not None
        assert found["linux-amd64/mlenv.txt"] == "numpy==1.26.4\n"
        assert len(found) == 6
        assert await registry.find_locks(SLUG, "0" * 64) is None

    @pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
    async def test_what_comes_out_is_what_went_in(self, registry, reference, tmp_path, compression):
        made = await sample(tmp_path / "made", reference, compression=compression)
        await registry.push(made.push)
        image = made.images.learner
        index = read(await registry.manifest(image.repository, image.digest), Index)
        assert [str(each.platform) for each in index.manifests] == ["linux/amd64", "linux/arm64"]
        manifest = read(await registry.manifest(image.repository, index.manifests[0].digest), Manifest)
        assert await registry.content(image.repository, manifest.config.digest)
        code = manifest.layers[2]
        arrived: list[int] = []
        scratch = tmp_path / "scratch"
        blob = await registry.blob(image.repository, code, scratch, arrived.append)
        plain = blob
        if is_compressed(code.media_type):
            plain = tmp_path / "plain.tar"
            await anyio.to_thread.run_sync(decompress, blob, plain, code.media_type)
        with tarfile.open(plain, "r:") as archive:
            assert archive.getnames()[-1] == "opt/flops/code/content.py"

    async def test_what_is_not_there_is_told(self, registry, tmp_path):
        with pytest.raises(FlopsError) as caught:
            await registry.manifest(f"{SLUG}/learner", f"sha256:{'0' * 64}")
        assert caught.value.body.code == "FLOPS-B041"

    async def test_progress_adds_up(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference)
        arrived: list[int] = []
        pushed = await registry.push(made.push, arrived.append)
        assert sum(arrived) == pushed.bytes
