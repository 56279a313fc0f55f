"""What every engine must do, whatever it runs actors with. The tests of an engine inherit this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from flops_manager.engine import ActorSpec, Engine, EngineActor, Presence
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import Capability
from flops_protocol.messages.project import ImageReference, Role

from tests.integration.manager.images import Layout

ACTOR = b"""
import os, pathlib, signal, subprocess, sys, time
state = pathlib.Path(os.environ["FLOPS_STATE_DIR"])
with open(state / "lives", "a") as file:
    file.write("x")
print("life", len((state / "lives").read_text()), flush=True)
what = os.environ["FLOPS_PROJECT"].split("-")[0]
if what == "exits":
    sys.exit(7)
if what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if what == "parent":
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"], env={})
if what == "environment":
    for name, value in sorted(os.environ.items()):
        print(f"{name}={value}")
    print("code", pathlib.Path(os.environ["FLOPS_IMAGE_ROOT"], "code", "model.py").read_text(), flush=True)
    print("argument", sys.argv[1], "folder", os.getcwd(), flush=True)
print("runs", flush=True)
while True:
    time.sleep(1000)
"""


class EngineSuite(ABC):
    """Tests of `Engine`. `engine` is a fixture; `restarted` gives another engine on what the first one has left."""

    @abstractmethod
    @asynccontextmanager
    async def restarted(self, tmp_path: Path) -> AsyncIterator[Engine]:
        """An engine as a restarted manager would make it. Running."""
        yield NotImplemented

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Layout:
        return Layout(tmp_path / "registry")

    @pytest.fixture
    def image(self, layout: Layout) -> ImageReference:
        runtime = layout.layer({"opt/flops/runtime/flops_start.py": ACTOR})
        code = layout.layer({"opt/flops/code/model.py": b"the code"})
        command = ["python3", "-u", "-I", "-S", "/opt/flops/runtime/flops_start.py", "learner"]
        image = layout.image([runtime, code], command, WorkingDir="/opt/flops/code", Env=["LANG=C.UTF-8"])
        return ImageReference.model_validate(layout.reference(image))

    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[Engine]:
        async with self.restarted(tmp_path) as engine:
            yield engine
            for actor in await engine.list():
                await engine.remove(actor.project, actor.instance)

    def spec(
        self, image: ImageReference, project: str = "runs-1", instance: str = "node-1-1", **more: Any
    ) -> ActorSpec:
        values: dict[str, Any] = {
            "role": Role.LEARNER,
            "node": "node-1",
            "incarnation": 0,
            "environment": {"FLOPS_PROJECT": project, "FLOPS_INSTANCE": instance, "FLOPS_ROLE": "learner"},
            "image": image,
        } | more
        return ActorSpec(project=project, instance=instance, **values)

    async def logged(self, engine: Engine, text: str, project: str = "runs-1", instance: str = "node-1-1") -> list[str]:
        lines: list[str] = []

        async def there() -> bool:
            lines[:] = await engine.logs(project, instance, 200)
            return any(text in line for line in lines)

        await eventually(there)
        return lines

    async def only(self, engine: Engine, project: str | None = None) -> EngineActor:
        actors = await engine.list(project)
        assert len(actors) == 1, actors
        return actors[0]

    async def exited(self, engine: Engine, project: str) -> EngineActor:
        async def there() -> bool:
            return (await self.only(engine, project)).presence is Presence.EXITED

        await eventually(there)
        return await self.only(engine, project)

    async def test_an_actor_runs(self, engine: Engine, image: ImageReference) -> None:
        await engine.deploy(self.spec(image))
        await self.logged(engine, "runs")
        actor = await self.only(engine)
        assert (actor.project, actor.instance, actor.node, actor.role) == ("runs-1", "node-1-1", "node-1", Role.LEARNER)
        assert (actor.presence, actor.incarnation, actor.exit_code) == (Presence.RUNNING, 0, None)

    async def test_an_actor_sees_what_it_is_told_and_the_images_folders(
        self, engine: Engine, image: ImageReference
    ) -> None:
        await engine.deploy(self.spec(image, "environment-1"))
        lines = await self.logged(engine, "runs", "environment-1")
        environment = dict(line.partition("=")[::2] for line in lines if "=" in line)
        assert environment["FLOPS_PROJECT"] == "environment-1"
        assert environment["FLOPS_NODE"] == "node-1"
        assert "FLOPS_DATA_DIR" in environment
        assert "SECRET_OF_THE_MANAGER" not in environment
        assert "code the code" in lines
        assert any(line.startswith("argument learner folder ") and line.endswith("/code") for line in lines)

    async def test_ensuring_twice_starts_once(self, engine: Engine, image: ImageReference) -> None:
        spec = self.spec(image)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(engine.deploy, spec)
        await engine.deploy(spec)
        lines = await self.logged(engine, "runs")
        assert lines.count("runs") == 1
        assert lines[0] == "life 1"

    @pytest.mark.parametrize(("project", "code"), [("exits-1", 7), ("killed-1", 137)])
    async def test_an_actor_that_ends_is_listed_with_its_exit_code_and_not_started_again(
        self, engine: Engine, image: ImageReference, project: str, code: int
    ) -> None:
        await engine.deploy(self.spec(image, project))
        actor = await self.exited(engine, project)
        assert actor.exit_code == code
        assert actor.ended_at is not None
        assert actor.ended_at >= actor.started_at
        await engine.deploy(self.spec(image, project))
        assert (await self.only(engine)).presence is Presence.EXITED
        assert "life 1" in await engine.logs(project, "node-1-1")

    async def test_a_higher_incarnation_replaces_and_keeps_the_state(
        self, engine: Engine, image: ImageReference
    ) -> None:
        await engine.deploy(self.spec(image))
        await self.logged(engine, "runs")
        await engine.deploy(self.spec(image, incarnation=1))
        await self.logged(engine, "life 2")
        await self.logged(engine, "runs")
        assert (await self.only(engine)).incarnation == 1
        await engine.deploy(self.spec(image, incarnation=0))
        assert (await self.only(engine)).incarnation == 1

    async def test_the_end_of_an_actor_is_told(self, engine: Engine, image: ImageReference) -> None:
        async with anyio.create_task_group() as group:
            told: list[str] = []

            async def listen() -> None:
                async for project in engine.changes():
                    told.append(project)
                    group.cancel_scope.cancel()

            group.start_soon(listen)
            await engine.deploy(self.spec(image, "exits-2"))
            await anyio.sleep(10)
        assert told == ["exits-2"]

    async def test_a_removed_actor_is_gone_with_its_state(self, engine: Engine, image: ImageReference) -> None:
        await engine.deploy(self.spec(image))
        await self.logged(engine, "runs")
        await engine.remove("runs-1", "node-1-1")
        assert await engine.list() == []
        await engine.remove("runs-1", "node-1-1")
        await engine.deploy(self.spec(image))
        await self.logged(engine, "life 1")

    async def test_a_removed_actor_may_leave_its_state_behind(self, engine: Engine, image: ImageReference) -> None:
        await engine.deploy(self.spec(image))
        await self.logged(engine, "runs")
        await engine.remove("runs-1", "node-1-1", keep_state=True)
        assert await engine.list() == []
        await engine.deploy(self.spec(image))
        await self.logged(engine, "life 2")

    async def test_removing_what_is_not_there_is_harmless(self, engine: Engine) -> None:
        await engine.remove("nothing-1", "nobody")

    async def test_the_log_of_a_removed_actor_can_still_be_read(self, engine: Engine, image: ImageReference) -> None:
        await engine.deploy(self.spec(image))
        await self.logged(engine, "runs")
        await engine.remove("runs-1", "node-1-1")
        assert "runs" in await engine.logs("runs-1", "node-1-1")
        assert await engine.logs("nothing-1", "nobody") == []

    async def test_an_actor_that_does_not_want_to_end_is_killed(self, engine: Engine, image: ImageReference) -> None:
        await engine.deploy(self.spec(image, "stubborn-1"))
        await self.logged(engine, "runs", "stubborn-1")
        with anyio.fail_after(15):
            await engine.remove("stubborn-1", "node-1-1")
        assert await engine.list() == []

    async def test_actors_of_one_project_are_listed_alone(self, engine: Engine, image: ImageReference) -> None:
        await engine.deploy(self.spec(image, "runs-1"))
        await engine.deploy(self.spec(image, "runs-2"))
        await engine.deploy(self.spec(image, "runs-2", "node-1-2"))
        assert {actor.instance for actor in await engine.list("runs-2")} == {"node-1-1", "node-1-2"}
        assert len(await engine.list()) == 3
        assert await engine.list("runs-3") == []

    async def test_an_actor_outlives_its_manager(self, image: ImageReference, tmp_path: Path) -> None:
        async with self.restarted(tmp_path) as engine:
            await engine.deploy(self.spec(image, "runs-1"))
            await engine.deploy(self.spec(image, "exits-1"))
            await self.logged(engine, "runs")
            before = await self.only(engine, "runs-1")
        async with self.restarted(tmp_path) as engine:
            await engine.deploy(self.spec(image, "runs-1"))
            assert await self.only(engine, "runs-1") == before
            assert (await self.exited(engine, "exits-1")).exit_code == 7
            for actor in await engine.list():
                await engine.remove(actor.project, actor.instance)
            assert await engine.list() == []

    async def test_an_image_for_another_platform_is_refused(self, engine: Engine, layout: Layout) -> None:
        other = layout.image([], ["python3"], architecture="riscv64")
        spec = self.spec(ImageReference.model_validate(layout.reference(other)))
        with pytest.raises(FlopsError) as caught:
            await engine.deploy(spec)
        assert caught.value.body.code == "FLOPS-D005"
        assert "linux/riscv64" in caught.value.body.detail
        assert await engine.list() == []

    async def test_an_image_that_is_broken_is_refused(
        self, engine: Engine, layout: Layout, image: ImageReference
    ) -> None:
        for blob in (layout.folder / "blobs/sha256").iterdir():
            if blob.stat().st_size > 5000:
                blob.write_bytes(blob.read_bytes()[:-600] + b"x" * 600)
        with pytest.raises(FlopsError) as caught:
            await engine.deploy(self.spec(image))
        assert caught.value.body.code == "FLOPS-D007"
        assert await engine.list() == []

    async def test_its_nodes_say_what_they_are(self, engine: Engine) -> None:
        (node,) = await engine.nodes()
        assert node.engine == engine.name
        assert node.state == "up"
        assert set(node.capabilities) == set(Capability)
        assert node.cpus >= 1
        assert node.memory_bytes > 100_000_000
        assert node.disk_free_bytes > 0


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Waits until the condition holds."""
    with anyio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110 - what an engine shows is asked for, not told
            await anyio.sleep(0.02)
