"""A folder on this machine as a registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flops_registry.layout import LayoutRegistry
from flops_registry.opening import open_registry

from tests.integration.registry.samples import SLUG, sample
from tests.integration.registry.suite import RegistrySuite


class TestLayout(RegistrySuite):
    """An OCI layout folder."""

    @pytest.fixture
    def reference(self, tmp_path):
        return f"oci:{tmp_path / 'registry'}"

    @pytest.fixture
    async def registry(self, reference):
        async with open_registry(reference) as registry:
            yield registry

    async def lose(self, registry, repository, digest):
        (registry.folder / "blobs" / digest.replace(":", "/")).unlink()

    async def test_what_others_put_there_stays(self, registry, reference, tmp_path):
        made = await sample(tmp_path / "made", reference, compression=None)
        foreign = {"mediaType": "text/plain", "digest": "sha512:00", "size": 1, "x-other": {"a": 1}}
        registry.folder.mkdir()
        (registry.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [foreign]}))
        await registry.push(made.push)
        assert json.loads((registry.folder / "index.json").read_bytes())["manifests"][0] == foreign
        assert await registry.find(SLUG, made.source_key) is not None

    async def test_a_push_that_fails_leaves_nothing(self, registry: LayoutRegistry, reference, tmp_path: Path):
        made = await sample(tmp_path / "made", reference, compression=None)
        last = list(made.push.files.values())[-1]
        content = last.read_bytes()
        last.unlink()
        with pytest.raises(Exception, match="B041"):
            await registry.push(made.push)
        assert not list((registry.folder / "blobs/sha256").iterdir())
        last.write_bytes(content)
        await registry.push(made.push)
        assert await registry.find(SLUG, made.source_key) is not None
