"""A whole build into a real registry, and out of it again: pushed, found, pulled, unpacked, run."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import replace

import anyio
import pytest
from flops_manager.adapters.process_engine.folders import EngineFolder
from flops_manager.adapters.process_engine.images import ImageStore
from flops_manager.adapters.registry import RegistryLookup
from flops_protocol.errors import FlopsError
from flops_registry.opening import Access

from tests.integration.builder.bench import Bench
from tests.integration.registry.test_base import put_base
from tests.registries.process import PASSWORD, USER, run, with_password

pytestmark = pytest.mark.timeout(600)
OTHER = "linux/arm64" if platform.machine() == "x86_64" else "linux/amd64"
HERE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[platform.machine()]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_there_and_back(bench: Bench, fixture_repository, tmp_path, compression):
    repository, commit = fixture_repository("numpy-only")
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"HOST": {"username": USER, "password": PASSWORD}}}),
    )
    async with with_password(tmp_path / "server") as server:
        file = tmp_path / "config.json"
        file.write_text(file.read_text().replace("HOST", server.host))
        access = Access(file)
        bench.address = server.url
        bench.settings = bench.settings.model_copy(
            update={"registry_credentials": file, "registry_compression": compression}
        )
        built = await bench.build(repository, commit, supported_platforms=[HERE])
        assert built.images.learner.registry == server.url
        assert PASSWORD not in built.images.model_dump_json()
        percents = bench.recorder.percents
        assert percents == sorted(percents)

        spec, command = bench.order(repository, commit, supported_platforms=[HERE])
        found = await RegistryLookup(server.url, access).find(spec.repository_url, command.source_key)
        assert found == built.images.model_copy(update={"lookup": "found"})
        again = await bench.build(repository, commit, supported_platforms=[HERE])
        assert again.images == found

        folder = EngineFolder(tmp_path / "engine")
        store = ImageStore(folder, access)
        prepared = {}

        async def prepare(name, image):
            prepared[name] = await store.prepare(image, HERE)

        async with anyio.create_task_group() as group:
            group.start_soon(prepare, "learner", found.learner)
            group.start_soon(prepare, "aggregator", found.aggregator)
        unpacked = sorted(path.name for path in folder.layers.glob("*/"))
        assert len(unpacked) == 4  # the three of the learner are the aggregator's, too
        assert not list(folder.blobs.iterdir())

        # What is unpacked starts again though the registry is away.
        await server.stop()
        assert (await ImageStore(folder, access).prepare(found.learner, HERE)).root == prepared["learner"].root
        await server.start()

        # The same layers from a folder are known: they go by what they are, not by how they are compressed.
        bench.address = None
        local = await bench.build(repository, commit, supported_platforms=[HERE])
        await store.prepare(local.images.aggregator, HERE)
        assert sorted(path.name for path in folder.layers.glob("*/")) == unpacked

    learner = prepared["learner"]
    assert learner.command[-1] == "learner"
    start = await anyio.run_process([sys.executable, *learner.command[:-1], "nobody"], check=False)
    assert b"aggregator|learner" in start.stderr
    script = "import sys; sys.path[:0] = sys.argv[1:]; import numpy, model_manager, flops_utils; print(numpy.__file__)"
    paths = [str(learner.root / name) for name in ("mlenv", "code")]
    worker = await anyio.run_process([sys.executable, "-I", "-S", "-B", "-c", script, *paths])
    assert b"mlenv" in worker.stdout


async def test_the_locks_of_an_earlier_build_come_from_the_registry(bench, fixture_repository, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    async with run(tmp_path / "server") as server:
        bench.address = server.url
        first = await bench.build(repository, commit)
        bench.settings = bench.settings.model_copy(update={"builder_version": "another"})
        second = await bench.build(repository, commit)
        assert second.images.image_key != first.images.image_key
        assert second.images.lock_digest == first.images.lock_digest
        assert "the locks are those of an earlier build of this commit" in [line for _, line in bench.recorder.lines]


async def test_a_registry_that_refuses_ends_the_build_at_once(bench, fixture_repository, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    async with with_password(tmp_path / "server") as server:
        bench.address = server.url
        with pytest.raises(FlopsError) as caught:
            await bench.build(repository, commit)
    assert caught.value.body.code == "FLOPS-B046"
    assert bench.recorder.phases == []
    assert not list((bench.settings.cache_dir / "work").glob("*"))


async def test_a_layer_is_compressed_once_on_a_machine(bench, fixture_repository, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    settings = bench.settings.model_copy(update={"registry_compression": "gzip"})
    made = []
    for number in range(2):
        async with run(tmp_path / f"server-{number}") as server:
            mine = replace(bench, settings=settings, address=server.url)
            await mine.build(repository, commit)
            packed = settings.cache_dir / "packed"
            made.append({path.name: path.stat().st_ino for path in packed.glob("gzip-*/*") if path.suffix != ".json"})
    assert made[0].items() <= made[1].items()


async def test_a_build_on_a_base_image(bench, fixture_repository, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    async with run(tmp_path / "server") as server:
        await put_base(server.url, "team/python:3.11", [HERE])
        bench.address = server.url
        bench.settings = bench.settings.model_copy(update={"base_image": f"{server.url}/team/python:3.11"})
        built = await bench.build(repository, commit, supported_platforms=[HERE])
        folder = EngineFolder(tmp_path / "engine")
        runnable = await ImageStore(folder).prepare(built.images.learner, HERE)
        assert runnable.environment["A"] == "base"
        assert sorted(path.name for path in runnable.root.iterdir()) == ["code", "mlenv", "runtime"]
        with pytest.raises(FlopsError, match=f"not for {OTHER}"):
            await bench.build(repository, repository.commit({"more.py": ""}), supported_platforms=[OTHER])


async def test_a_base_image_with_another_python_is_refused_early(bench, fixture_repository, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    await put_base(f"oci:{tmp_path / 'base'}", "py", [HERE])
    bench.settings = bench.settings.model_copy(update={"base_image": f"oci:{tmp_path / 'base'}:py"})
    with pytest.raises(FlopsError, match=r"Python 3\.11, and 3\.12 is asked for") as caught:
        await bench.build(repository, commit, supported_platforms=[HERE], pythons=["3.12"])
    assert caught.value.body.code == "FLOPS-B047"
