"""What images are looked up by, and what is said when there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flops_manager.adapters.registry import RegistryLookup
from flops_manager.lookup import difference, gpus, pythons, source_inputs
from flops_manager.placement import place_actors
from flops_protocol.errors import FlopsError
from flops_protocol.images import SourceInputs
from flops_registry.distribution.client import Patience
from flops_registry.opening import Access

from tests.integration.manager.images import PLATFORM, Layout
from tests.unit.manager.samples import COMMIT, node, sla

URL = "https://example.org/test.git"
KEY = f"sha256:{'1' * 64}"
IMAGE_KEY = f"sha256:{'2' * 64}"


def inputs(**changes: Any) -> SourceInputs:
    made = source_inputs(
        sla(),
        "https://example.org/a.git",
        COMMIT,
        ["3.11"],
        base_image="scratch",
        runtime_version="1",
        builder_version="1",
        with_gpus=False,
    )
    return made.model_copy(update=changes)


def test_the_first_image_of_a_repository_is_missed_without_a_reason() -> None:
    assert difference(inputs(), []) == "There is no image of this repository yet"


def test_the_closest_image_tells_what_differs() -> None:
    far = inputs(commit="b" * 40, runtime_version="0")
    near = inputs(platforms=["linux/amd64", "linux/arm64"])
    assert (
        difference(inputs(), [far, near]) == "No image has the same platforms (linux/amd64 linux/arm64 → linux/amd64)"
    )
    assert "commit (bbbbbbbbbbbb → aaaaaaaaaaaa)" in difference(inputs(), [far])


def test_an_image_that_was_deleted_is_missed_as_such() -> None:
    assert "any more" in difference(inputs(), [inputs()])


def test_the_pythons_that_most_nodes_have_come_first() -> None:
    nodes = [node("a", pythons=["3.11", "3.13"]), node("b", pythons=["3.12", "3.13"]), node("c", pythons=["3.14"])]
    nodes[2] = nodes[2].model_copy(update={"state": "down"})
    assert pythons(nodes, place_actors(nodes, sla())) == ["3.13", "3.11", "3.12"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "registry")


def image_set(layout: Layout, image: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "image_key": IMAGE_KEY,
        "learner": layout.reference(image) | {"registry": "oci:/where/it/was/before"},
        "aggregator": layout.reference(image, "test/aggregator"),
        "python": "3.11",
        "lock_digest": KEY,
        "lookup": "built",
        **changes,
    }


def annotated(layout: Layout, images: dict[str, Any], image: dict[str, Any], **changes: str) -> dict[str, Any]:
    annotations = {
        "mesh.flops.source-key": KEY,
        "mesh.flops.image-key": IMAGE_KEY,
        "mesh.flops.image-set": json.dumps(images),
        **{name.replace("_", "-").replace("mesh-flops-", "mesh.flops."): value for name, value in changes.items()},
    }
    return image | {"annotations": annotations}


async def test_an_image_is_found_by_its_source_key(layout: Layout) -> None:
    image = layout.image([layout.layer({"opt/flops/code/a.py": b""})], ["python3"])
    layout.write_index([annotated(layout, image_set(layout, image), image)])
    found = await RegistryLookup(layout.registry).find(URL, KEY)
    assert found is not None
    assert found.lookup == "found"
    assert found.learner.registry == layout.registry
    assert found.learner.platforms == [PLATFORM]
    assert await RegistryLookup(layout.registry).find(URL, IMAGE_KEY) is None


async def test_an_image_of_which_a_blob_is_missing_is_not_found(layout: Layout) -> None:
    layer = layout.layer({"opt/flops/code/a.py": b"x"})
    image = layout.image([layer], ["python3"])
    layout.write_index([annotated(layout, image_set(layout, image), image)])
    blob = layout.folder / "blobs" / layer["digest"].replace(":", "/")
    content = blob.read_bytes()
    blob.write_bytes(content[:-1])
    assert await RegistryLookup(layout.registry).find(URL, KEY) is None
    blob.unlink()
    assert await RegistryLookup(layout.registry).find(URL, KEY) is None
    blob.write_bytes(content)
    assert await RegistryLookup(layout.registry).find(URL, KEY) is not None


async def test_an_image_set_under_another_image_key_is_not_found(layout: Layout) -> None:
    image = layout.image([], ["python3"])
    layout.write_index([annotated(layout, image_set(layout, image), image, mesh_flops_image_key=KEY)])
    assert await RegistryLookup(layout.registry).find(URL, KEY) is None


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": 3}', '{"manifests": [{"digest": "sha256:../../x"}]}'])
async def test_an_index_that_cannot_be_read_finds_nothing(layout: Layout, text: str) -> None:
    (layout.folder / "index.json").write_text(text)
    assert await RegistryLookup(layout.registry).find(URL, KEY) is None


async def test_a_server_that_cannot_be_asked_is_no_miss() -> None:
    access = Access(patience=Patience(attempts=2, first_seconds=0.001))
    with pytest.raises(FlopsError) as caught:
        await RegistryLookup("http://127.0.0.1:9", access).find(URL, KEY)
    assert caught.value.body.code == "FLOPS-B041"


async def test_without_a_registry_nothing_is_found(tmp_path: Path) -> None:
    assert await RegistryLookup(f"oci:{tmp_path}/none").find(URL, KEY) is None


def test_a_gpu_counts_where_a_learner_is_and_keys_from_before_stay() -> None:
    plain, fast = node("a"), node("b").model_copy(update={"gpus": 1})
    for nodes, there in (([plain], False), ([plain, fast], True)):
        assert gpus(nodes, place_actors(nodes, sla())) is there
    assert inputs().key() == "sha256:6709af382fc07e17b5bfc82105cb63c85064a0efd0ae548d9fa55cfb4c5899d7"
    assert inputs(gpus=True).key() != inputs().key()
