"""Base images: in a folder or in a real registry, below our layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.errors import FlopsError
from flops_registry.base import open_base, pinned
from flops_registry.documents import CONFIG_TYPE, DOCKER_LAYER, MANIFEST_TYPE, blob, document, index
from flops_registry.interface import Push
from flops_registry.names import REFERENCE
from flops_registry.opening import open_registry

from tests.integration.registry.samples import SLUG, sample

BOTH = ["linux/amd64", "linux/arm64"]
LAYERS = {platform: b"base of " + platform.encode() * 100 for platform in BOTH}


async def put_base(registry: str, name: str, platforms: list[str] = BOTH, *, single: bool = False) -> str:
    """A base image with one layer; returns its digest."""
    documents, manifests = [], {}
    for platform in platforms:
        layer = blob(DOCKER_LAYER, LAYERS[platform])
        value: dict[str, Any] = {
            "architecture": platform.partition("/")[2],
            "os": "linux",
            "config": {
                "Env": ["PATH=/opt/python/bin:/usr/bin", "A=base", "PYTHON_VERSION=3.11.9"],
                "User": "1000:1000",
                "Cmd": ["python3"],
                "Entrypoint": ["/entry.sh"],
                "StopSignal": "SIGINT",
                "Labels": {"theirs": "kept"},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'d' * 64}"]},
            "history": [{"created_by": "base"}, {"created_by": "ENV", "empty_layer": True}],
        }
        configuration = document(CONFIG_TYPE, value)
        manifest = document(
            MANIFEST_TYPE,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": configuration.descriptor(),
                "layers": [layer.descriptor()],
            },
        )
        documents += [layer, configuration, manifest]
        manifests[platform] = manifest
    top = manifests[platforms[0]] if single else index(manifests, {})
    async with open_registry(registry) as target:
        await target.push(Push(files={}, documents=[*documents, top], entries=[(top, {REFERENCE: name})]))
    return top.digest


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def test_a_tag_is_pinned_and_a_digest_stays(server, tmp_path):
    digest = await put_base(server.url, "team/python:3.11-slim")
    name = f"{server.url}/team/python"
    assert await pinned(f"{name}:3.11-slim") == f"{name}@{digest}"
    assert await pinned(f"{name}@{digest}") == f"{name}@{digest}"
    assert await pinned("scratch") == "scratch"
    layout = f"oci:{tmp_path / 'base'}"
    assert await put_base(layout, "py") == digest
    assert await pinned(f"{layout}:py") == await pinned(layout) == f"{layout}@{digest}"
    await put_base(layout, "other", ["linux/amd64"])
    for missing in (f"{layout}:none", layout, f"{name}:none"):
        with pytest.raises(FlopsError) as caught:
            await pinned(missing)
        assert caught.value.body.code == "FLOPS-B047"


async def test_layers_lie_on_it_and_its_settings_are_kept(server, tmp_path):
    await put_base(server.url, "team/python:3")
    async with open_base(f"{server.url}/team/python:3", BOTH, None, tmp_path / "scratch") as bases:
        assert {base.python for base in bases.values()} == {"3.11"}
        made = await sample(tmp_path / "made", server.url, bases=bases)
        async with open_registry(server.url) as registry:
            await registry.push(made.push)
            found = await registry.find(SLUG, made.source_key)
            assert found is not None
            for number, platform in enumerate(BOTH):
                top = json.loads(await registry.manifest(f"{SLUG}/learner", found.learner.digest))
                manifest = json.loads(await registry.manifest(f"{SLUG}/learner", top["manifests"][number]["digest"]))
                configuration = json.loads(await registry.content(f"{SLUG}/learner", manifest["config"]["digest"]))
                base, *ours = manifest["layers"]
                assert base["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
                assert base["annotations"] == {"mesh.flops.layer": "base"}
                assert base["digest"] == blob("", LAYERS[platform]).digest
                assert len(configuration["rootfs"]["diff_ids"]) == len(manifest["layers"]) == 1 + len(ours)
                assert configuration["history"][0] == {"created_by": "base"}
                process = configuration["config"]
                assert process["User"] == "1000:1000"
                assert process["StopSignal"] == "SIGINT"
                assert "PATH=/opt/python/bin:/usr/bin" in process["Env"]
                assert "A=base" in process["Env"]
                assert "FLOPS_IMAGE_ROOT=/opt/flops" in process["Env"]
                assert process["Entrypoint"][0] == "python3"
                assert "Cmd" not in process
                assert process["Labels"]["theirs"] == "kept"
    # The registry took its layers over from where they were: none of them came here.
    assert not files(tmp_path / "scratch")


@pytest.mark.parametrize("to", ["layout", "server"])
async def test_it_may_come_from_elsewhere(server, tmp_path, to):
    elsewhere = f"oci:{tmp_path / 'base'}"
    await put_base(elsewhere if to == "server" else server.url, "py:3")
    reference = f"{elsewhere}:py:3" if to == "server" else f"{server.url}/py:3"
    target = server.url if to == "server" else f"oci:{tmp_path / 'registry'}"
    async with open_base(reference, BOTH, None, tmp_path / "scratch") as bases:
        made = await sample(tmp_path / "made", target, bases=bases)
        async with open_registry(target) as registry:
            await registry.push(made.push)
            assert await registry.find(SLUG, made.source_key) is not None
            layer = bases["linux/arm64"].layers[0]
            kept = await registry.blob(f"{SLUG}/learner", layer, tmp_path / "again")
            assert kept.read_bytes() == LAYERS["linux/arm64"]


async def test_an_image_for_one_platform_without_an_index(server, tmp_path):
    await put_base(server.url, "py:one", ["linux/arm64"], single=True)
    reference = f"{server.url}/py:one"
    async with open_base(reference, ["linux/arm64"], None, tmp_path) as bases:
        assert list(bases) == ["linux/arm64"]
    with pytest.raises(FlopsError, match="not for linux/amd64") as caught:
        async with open_base(reference, BOTH, None, tmp_path):
            pass
    assert caught.value.body.code == "FLOPS-B047"


async def test_scratch_is_nothing(tmp_path):
    async with open_base("scratch", BOTH, None, tmp_path) as bases:
        assert bases == {}
