"""The process engine: what every engine must do, and what is its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from flops_manager.adapters.process_engine import ProcessEngine
from flops_manager.adapters.process_engine.data_tags import DataFolder
from flops_manager.adapters.process_engine.ending import _members
from flops_manager.adapters.process_engine.engine import ProcessEngineOptions
from flops_manager.adapters.process_engine.folders import EngineFolder
from flops_manager.adapters.process_engine.images import ImageStore, prune
from flops_manager.adapters.process_engine.interpreters import discover
from flops_manager.adapters.process_engine.node import this_platform
from flops_manager.engine import Engine, Presence
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ImageReference, Role

from tests.integration.manager.engine_suite import ACTOR, EngineSuite, eventually
from tests.integration.manager.harness import add_data
from tests.integration.manager.images import Layout


def process_engine(root: Path, builder: tuple[str, ...] = ("false",)) -> ProcessEngine:
    environment = dict(os.environ) | {"SECRET_OF_THE_MANAGER": "x", "UV_INDEX_URL": "https://index", "MLFLOW_USER": "m"}
    return ProcessEngine(
        ProcessEngineOptions(
            node="node-1",
            folder=root / "engine",
            data=root / "data",
            cache=root / "cache",
            builder_command=builder,
            grace_seconds=0.5,
            environment=environment,
        )
    )


@asynccontextmanager
async def running(root: Path, builder: tuple[str, ...] = ("false",)) -> AsyncIterator[ProcessEngine]:
    engine = process_engine(root, builder)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run)
        yield engine
        group.cancel_scope.cancel()


class TestProcessEngine(EngineSuite):
    @asynccontextmanager
    async def restarted(self, tmp_path: Path) -> AsyncIterator[Engine]:
        async with running(tmp_path) as engine:
            yield engine

    async def test_nothing_of_an_actor_survives_its_removal(
        self, engine: Engine, image: ImageReference, tmp_path: Path
    ) -> None:
        await engine.deploy(self.spec(image, "parent-1"))
        await self.logged(engine, "runs", "parent-1")
        folder = EngineFolder(tmp_path / "engine").actor("parent-1", "node-1-1")
        assert len(_members(folder)) >= 3  # the shell, the actor and its child
        processes = [Path(f"/proc/{pid}/stat") for pid in _members(folder)]
        await engine.remove("parent-1", "node-1-1")
        # A process that has ended is there until init has taken notice.
        for process in processes:
            assert not process.exists() or " Z " in process.read_text()

    async def test_children_of_an_actor_that_died_are_ended(
        self, engine: Engine, image: ImageReference, tmp_path: Path
    ) -> None:
        await engine.deploy(self.spec(image, "parent-1"))
        await self.logged(engine, "runs", "parent-1")
        folder = EngineFolder(tmp_path / "engine").actor("parent-1", "node-1-1")
        os.kill(int(folder.pid.read_text()), signal.SIGKILL)

        async def alone() -> bool:
            return not _members(folder)

        await eventually(alone)
        assert (await self.only(engine)).exit_code == 137

    async def test_somebody_elses_process_group_is_left_alone(
        self, engine: Engine, image: ImageReference, tmp_path: Path
    ) -> None:
        await engine.deploy(self.spec(image, "exits-1"))
        await self.exited(engine, "exits-1")
        folder = EngineFolder(tmp_path / "engine").actor("exits-1", "node-1-1")
        ended = time.time() - 5
        os.utime(folder.exit, (ended, ended))
        # The number of the group is another's now.
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:  # noqa: ASYNC220
            folder.group.write_text(str(other.pid))
            await engine.remove("exits-1", "node-1-1")
            assert other.poll() is None
            other.kill()

    async def test_after_a_reboot_nothing_is_there(self, engine: Engine, image: ImageReference, tmp_path: Path) -> None:
        await engine.deploy(self.spec(image, "exits-1"))
        await self.exited(engine, "exits-1")
        record = EngineFolder(tmp_path / "engine").actor("exits-1", "node-1-1").record
        record.write_text(json.dumps(json.loads(record.read_text()) | {"boot": "another"}))
        assert await engine.list() == []
        await engine.deploy(self.spec(image, "exits-1"))
        assert "life 2" in await self.logged(engine, "life", "exits-1")

    @pytest.mark.parametrize("point", ["deploy.before-start", "deploy.after-start"])
    async def test_a_manager_that_is_killed_while_it_starts_an_actor(
        self, image: ImageReference, tmp_path: Path, point: str
    ) -> None:
        """Whether the actor was started or not: the next manager sees it, and there is one in the end."""
        script = """
import anyio, pathlib, sys
from flops_protocol.messages.project import ImageReference
from tests.integration.manager.test_process_engine import TestProcessEngine, running
async def main():
    async with running(pathlib.Path(sys.argv[1])) as engine:
        image = ImageReference.model_validate_json(sys.argv[2])
        await engine.deploy(TestProcessEngine().spec(image))
anyio.run(main)
"""
        done = await anyio.run_process(
            [sys.executable, "-c", script, str(tmp_path), image.model_dump_json()],
            check=False,
            env=dict(os.environ) | {"FLOPS_CRASH_AT": f"{point}:1", "PYTHONPATH": str(Path.cwd())},
        )
        assert done.returncode == 137, done.stderr.decode()
        async with running(tmp_path) as engine:
            there = await engine.list()
            assert [actor.presence for actor in there] == ([Presence.RUNNING] if "after" in point else [])
            await engine.deploy(self.spec(image))
            lines = await self.logged(engine, "runs")
            assert lines == ["life 1", "runs"]
            await engine.remove("runs-1", "node-1-1")

    async def test_a_builder_gets_the_managers_environment_and_its_python(self, tmp_path: Path) -> None:
        script = "import os, time; [print(*x, sep='=') for x in os.environ.items()]; print('runs', flush=True)"
        script += "; time.sleep(99)"
        async with running(tmp_path, (sys.executable, "-c", script)) as engine:
            await engine.deploy(self.spec(None, "build-1", "builder", role=Role.BUILDER))  # type: ignore[arg-type]
            lines = await self.logged(engine, "runs", "build-1", "builder")
            assert "UV_INDEX_URL=https://index" in lines
            assert f"FLOPS_CACHE_DIR={tmp_path}/cache" in lines
            assert f"FLOPS_STATE_DIR={tmp_path}/engine/actors/build-1/builder/state" in lines
            await engine.remove("build-1", "builder")

    async def test_only_the_aggregator_gets_what_opens_mlflow(self, engine: Engine, image: ImageReference) -> None:
        for role, instance in ((Role.AGGREGATOR, "aggregator"), (Role.LEARNER, "node-1-1")):
            await engine.deploy(self.spec(image, "environment-1", instance, role=role))
            lines = await self.logged(engine, "runs", "environment-1", instance)
            assert any(line.startswith("MLFLOW_USER") for line in lines) is (role is Role.AGGREGATOR)
            assert any(line.startswith("FLOPS_DATA_DIR") for line in lines) is (role is Role.LEARNER)
            assert not any(line.startswith("UV_INDEX_URL") for line in lines)

    async def test_without_the_images_python_it_says_which_there_are(
        self, engine: Engine, image: ImageReference
    ) -> None:
        with pytest.raises(FlopsError) as caught:
            await engine.deploy(self.spec(image, python="3.99"))
        assert caught.value.body.code == "FLOPS-D004"
        assert f"3.{sys.version_info.minor}" in caught.value.body.detail

    async def test_a_registry_of_another_kind_is_refused(self, engine: Engine, image: ImageReference) -> None:
        elsewhere = image.model_copy(update={"registry": "ftp://registry.example.org"})
        with pytest.raises(FlopsError, match="B041"):
            await engine.deploy(self.spec(elsewhere))

    async def test_a_layer_is_shared_by_everybody(self, engine: Engine, image: ImageReference, tmp_path: Path) -> None:
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(engine.deploy, self.spec(image, f"runs-{number}"))
        assert len(list((tmp_path / "engine/layers").glob("*/"))) == 2
        assert len(list((tmp_path / "engine/images").iterdir())) == 1

    async def test_what_a_killed_manager_left_half_made_is_taken_away(self, tmp_path: Path) -> None:
        left = tmp_path / "engine/new/earlier-run/layer-x"
        left.mkdir(parents=True)
        async with running(tmp_path):

            async def tidy() -> bool:
                return not left.exists()

            await eventually(tidy)

    async def test_images_that_nobody_uses_go_with_layers_that_are_in_no_other(
        self, layout: Layout, tmp_path: Path
    ) -> None:
        runtime = layout.layer({"opt/flops/runtime/flops_start.py": ACTOR})
        store, folder = ImageStore(EngineFolder(tmp_path)), EngineFolder(tmp_path)
        roots = []
        for text in (b"old", b"new"):
            code = layout.layer({"opt/flops/code/model.py": text})
            image = layout.image([runtime, code], ["python3", "/opt/flops/runtime/flops_start.py"])
            reference = ImageReference.model_validate(layout.reference(image))
            roots.append((await store.prepare(reference, this_platform())).root)
        for path in (roots[0], *folder.layers.glob("*/")):
            os.utime(path, (0, 0))
        prune(folder, 3600)
        assert not roots[0].exists()
        assert (roots[1] / "code" / "model.py").read_bytes() == b"new"
        assert len(list(folder.layers.glob("*/"))) == 2

    async def test_what_is_being_made_is_not_taken_away(self, layout: Layout, tmp_path: Path) -> None:
        """An engine tidies up when it starts, and may be asked to deploy in the same moment."""
        files = {f"opt/flops/code/{number}.py": b"x" * 100 for number in range(3000)}
        files["opt/flops/runtime/flops_start.py"] = ACTOR
        files["opt/flops/code/model.py"] = b"the code"
        image = layout.image([layout.layer(files)], ["python3", "/opt/flops/runtime/flops_start.py"])
        engine = process_engine(tmp_path)
        async with anyio.create_task_group() as group:
            spec = self.spec(ImageReference.model_validate(layout.reference(image)))
            group.start_soon(engine.deploy, spec)
            with anyio.fail_after(10):
                while not list((tmp_path / "engine").glob("new/*/*/code/*")):  # noqa: ASYNC110
                    await anyio.sleep(0.001)
            group.start_soon(engine.run)
            await self.logged(engine, "runs")
            group.cancel_scope.cancel()
        (code,) = (tmp_path / "engine").glob("layers/*/code")
        assert len(list(code.iterdir())) == 3001
        await engine.remove("runs-1", "node-1-1")

    async def test_the_node_tells_its_data(self, engine: Engine, tmp_path: Path) -> None:
        add_data(tmp_path / "data", "digits", 30)
        (node,) = await engine.nodes(fresh=True)
        assert [(tag.tag, tag.files, tag.rows) for tag in node.data_tags] == [("digits", 1, 30)]
        assert node.data_tags[0].columns == {"x": "int64", "label": "string"}
        assert f"3.{sys.version_info.minor}" in node.pythons
        add_data(tmp_path / "data", "digits", 12)
        assert (await engine.nodes())[0].data_tags[0].rows == 30
        assert (await engine.nodes(fresh=True))[0].data_tags[0].rows == 42


async def test_a_file_that_is_no_parquet_is_left_out(tmp_path: Path) -> None:
    data, book = tmp_path / "data", tmp_path / "engine/data.json"
    add_data(data, "digits", 5)
    (data / "digits/broken.parquet").write_bytes(b"PAR1 not really")
    (data / "digits/notes.txt").write_text("")
    (data / "empty").mkdir()
    (data / ".hidden").mkdir()
    folder = DataFolder(data, book)
    for _ in range(2):
        tags = await folder.scan()
        assert [(tag.tag, tag.files, tag.rows) for tag in tags] == [("digits", 1, 5), ("empty", 0, 0)]
    (data / "digits/broken.parquet").unlink()
    add_data(data, "digits", 3)
    assert (await folder.scan())[0].rows == 8


async def test_a_data_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    data, book = tmp_path / "data", tmp_path / "engine/data.json"
    add_data(data, "digits", 5)
    await DataFolder(data, book).scan()
    # The book is believed, by the next manager, too.
    book.write_text(book.read_text().replace('"rows":5', '"rows":77'))
    folder = DataFolder(data, book)
    assert (await folder.scan())[0].rows == 77
    os.utime(data / "digits/part-5.parquet", (1, 1))
    assert (await folder.scan())[0].rows == 5
    # Without a book, or with one that somebody has damaged, everything is read again.
    book.write_text("{")
    assert (await DataFolder(data, book).scan())[0].rows == 5


async def test_without_a_data_folder_there_is_no_data(tmp_path: Path) -> None:
    assert await DataFolder(tmp_path / "none", tmp_path / "book.json").scan() == []


async def test_interpreters_are_those_that_run() -> None:
    found = await discover()
    assert f"3.{sys.version_info.minor}" in found
    for minor, path in found.items():
        done = await anyio.run_process([path, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        assert done.stdout.decode().strip() == minor


async def test_a_shim_with_nothing_behind_it_is_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.77"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "3.77" not in await discover()
