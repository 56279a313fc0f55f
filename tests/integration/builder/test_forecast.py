"""What a build would do, thought through for real: with Git, with uv, and with the caches that the build uses, too."""

from __future__ import annotations

import anyio
import pytest
from flops_builder.forecast import forecast
from flops_builder.planning import run
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.channels import PLAN_COMMAND, PLAN_STATUS
from flops_protocol.messages.plans import PlanCommand, PlanStatus

PLAN = "plan-1"


async def test_a_forecast_and_then_the_build_that_it_speaks_of(bench, fixture_repository):
    repository, commit = fixture_repository("numpy-only")
    order = bench.order(repository, commit, supported_platforms=["linux/amd64", "linux/arm64"])
    before = await forecast(*order, bench.settings)
    assert before.errors == []
    assert (before.file, before.python) == ("requirements.txt", "3.11")
    assert [each.platform for each in before.platforms] == ["linux/amd64", "linux/arm64"]
    for each in before.platforms:
        assert each.packages >= 1
        assert each.unsized == 0
        assert (each.wheel_bytes or 0) > 1_000_000
    assert not bench.registry.exists()
    locks = set((bench.settings.cache_dir / "locks").iterdir())
    outcome = await bench.build(repository, commit, supported_platforms=["linux/amd64", "linux/arm64"])
    assert locks <= set((bench.settings.cache_dir / "locks").iterdir())
    after = await forecast(*order, bench.settings)
    assert after.kind == "kept"
    assert all(each.layer_bytes for each in after.platforms)
    assert outcome.warnings == after.warnings
    assert not list((bench.settings.cache_dir / "work").iterdir())


async def test_the_next_build_is_expected_to_take_what_the_last_of_its_kind_took(bench, repository):
    files = {"requirements.txt": "numpy\n", "model_manager.py": MODEL, "data_manager.py": DATA}
    await bench.build(repository, repository.commit(files))
    commit = repository.commit({"model_manager.py": f"{MODEL}\n# changed\n"})
    await bench.build(repository, commit)
    found = await forecast(
        *bench.order(repository, repository.commit({"data_manager.py": f"{DATA}\n"})), bench.settings
    )
    assert found.kind == "kept"
    assert found.phase_seconds.keys() >= {"clone", "check", "resolve", "push"}
    assert found.seconds is not None


async def test_what_an_engine_would_build_is_told_though_none_answers(bench, repository, tmp_path):
    bench.settings = bench.settings.model_copy(update={"engine_builds": True, "engine": f"unix://{tmp_path}/none.sock"})
    file = "Dockerfile"
    commit = repository.commit({file: "FROM scratch\n", "model_manager.py": MODEL, "data_manager.py": DATA})
    found = await forecast(*bench.order(repository, commit, supported_platforms=["linux/amd64"]), bench.settings)
    assert [(error.code, error.file) for error in found.errors] == [("FLOPS-B060", file)]
    (platform,) = found.platforms
    assert platform.way == "engine"
    assert file in platform.why
    assert "with a container engine" in platform.why
    assert found.kind == "engine"
    assert found.seconds is not None
    assert (found.file, found.python) == (file, None)


@pytest.mark.parametrize("file", ["Dockerfile", "binder/apt.txt"])
async def test_a_dependency_file_does_without_an_engine(bench, repository, tmp_path, file):
    bench.settings = bench.settings.model_copy(update={"engine_builds": True, "engine": f"unix://{tmp_path}/none.sock"})
    content = "FROM scratch\n" if file == "Dockerfile" else "hello\n"
    files = {file: content, "requirements.txt": "numpy\n", "model_manager.py": MODEL, "data_manager.py": DATA}
    found = await forecast(*bench.order(repository, repository.commit(files)), bench.settings)
    assert found.errors == []
    assert {each.way for each in found.platforms} == {"assembled"}
    assert any(each.startswith(f"{file} does not count") for each in found.warnings)


async def test_every_mistake_at_once_and_what_is_known_beside_it(bench, repository):
    commit = repository.commit({"requirements.txt": "numpy\n", "data_manager.py": "x = (\n", "setup.py": ""})
    found = await forecast(*bench.order(repository, commit), bench.settings)
    assert [(error.code, error.file, error.line) for error in found.errors] == [
        ("FLOPS-B010", "model_manager.py", None),
        ("FLOPS-B011", "data_manager.py", 1),
    ]
    assert (found.file, found.platforms) == ("requirements.txt", [])


async def test_what_cannot_be_resolved_is_told_with_its_place_and_the_repairs_before_it(bench, repository):
    files = {"requirements.txt": "numpy\nsklearn\nno-such-package-of-anybody==1\n"}
    commit = repository.commit(files | {"model_manager.py": MODEL, "data_manager.py": DATA})
    found = await forecast(*bench.order(repository, commit), bench.settings)
    assert [(error.code, error.file, error.line) for error in found.errors] == [("FLOPS-B022", "requirements.txt", 3)]
    assert [repair.rule for repair in found.repairs] == ["renamed"]
    assert (found.repairs[0].file, found.repairs[0].line) == ("requirements.txt", 2)


async def test_what_an_earlier_build_moved_is_told_again(bench, repository):
    files = {"requirements.txt": "numpy\nattrs==21.1.0\n", "model_manager.py": MODEL, "data_manager.py": DATA}
    order = bench.order(repository, repository.commit(files))
    first = await forecast(*order, bench.settings)
    assert [(each.rule, each.after, each.line) for each in first.repairs if each.file] == [
        ("yanked", "attrs==21.2.0", 2)
    ]
    await bench.build(repository, order[0].commit)
    again = await forecast(*order, bench.settings)
    assert (
        "attrs==21.1.0 (requirements.txt:2) is attrs==21.2.0, as in an earlier build of this commit" in again.warnings
    )


async def test_no_time_is_an_error_and_leaves_nothing(bench, fixture_repository):
    spec, command = bench.order(*fixture_repository("numpy-only"))
    found = await forecast(spec, command.model_copy(update={"deadline_seconds": 0.001}), bench.settings)
    assert [error.code for error in found.errors] == ["FLOPS-B043"]
    assert not list((bench.settings.cache_dir / "work").iterdir())


async def test_the_process_says_what_it_found_as_often_as_it_is_asked(bench, fixture_repository):
    spec, command = bench.order(*fixture_repository("numpy-only"))
    broker, statuses = MemoryBroker(), list[PlanStatus]()
    manager = MemoryBus(broker, Identity("manager", "manager-1"))
    builder = MemoryBus(broker, Identity("builder", "builder", PLAN))
    news, stop = anyio.Event(), anyio.Event()

    async def heard(received: Received[PlanStatus]) -> None:
        nonlocal news
        statuses.append(received.message)
        news.set()
        news = anyio.Event()

    async def until(*states: str) -> None:
        with anyio.fail_after(120):
            while [status.state for status in statuses] != list(states):
                await news.wait()

    manager.on(PLAN_STATUS, heard, plan=PLAN)
    settings = bench.settings.model_copy(update={"plan": PLAN})
    async with anyio.create_task_group() as group:
        await group.start(manager.run)
        group.start_soon(run, settings, PLAN, builder, stop)
        await until("ready")
        wanted = PlanCommand(plan=PLAN, spec=spec, build=command)
        await manager.publish(PLAN_COMMAND, wanted, plan=PLAN)
        await until("ready", "planning", "done")
        await manager.publish(PLAN_COMMAND, wanted, plan=PLAN)
        await until("ready", "planning", "done", "done")
        assert statuses[-1].forecast is not None
        assert statuses[-1].forecast.errors == []
        stop.set()
        group.cancel_scope.cancel()


MODEL = """\
import numpy as np


class ModelManager:
    def __init__(self): self.parameters = [np.zeros(2)]
    def set_model_data(self): ...
    def get_model(self): return self
    def get_model_parameters(self): return self.parameters
    def set_model_parameters(self, parameters): self.parameters = parameters
    def fit_model(self): return 1
    def evaluate_model(self): return 0.0, 0.0, 1
"""
DATA = """\
class DataManager:
    def get_data(self): return None
"""
