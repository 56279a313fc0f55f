"""Plans: a builder of its own for each, which is gone when the answer comes, or when there is none."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from flops_protocol.bus import Received
from flops_protocol.channels import LIST, PLAN, PLAN_STATUS
from flops_protocol.messages.plans import BuildForecast, PlanStatus
from flops_protocol.messages.requests import ListRequest, PlanReport, PlanRequest

from tests.integration.manager.harness import Mesh

FORECAST = {
    "python": "3.11",
    "file": "requirements.txt",
    "kind": "new",
    "seconds": 7.5,
    "platforms": [{"platform": "linux/amd64", "packages": 3, "wheel_bytes": 1000}],
    "repairs": [{"rule": "renamed", "before": "sklearn", "after": "scikit-learn", "why": "it is called so"}],
}
ERROR = {"code": "FLOPS-B012", "title": "t", "detail": "no fit_model", "hint": "h", "file": "model_manager.py"}


async def plan(mesh: Mesh, repository: str | None = None, **builder: Any) -> PlanReport:
    sla = mesh.sla(ml_repo_url=repository or mesh.new_repository(), script={"builder": builder})
    reply = await mesh.bus.request(PLAN, PlanRequest(sla=sla), timeout=30)
    assert reply.error is None
    assert reply.plan is not None
    return reply.plan


async def test_what_the_builder_finds_is_joined_with_what_the_manager_knows(shared: Mesh) -> None:
    report = await plan(shared, forecast=FORECAST)
    assert report.build == BuildForecast.model_validate(FORECAST)
    assert (report.errors, report.seconds) == ([], {"building": 7.5})
    assert [(v.role, v.count) for v in report.placement] == [("builder", 1), ("aggregator", 1), ("learner", 2)]
    await shared.gone()


async def test_what_a_build_would_fail_with_is_the_plans_own_error(shared: Mesh) -> None:
    report = await plan(shared, forecast=FORECAST | {"errors": [ERROR]})
    assert [(error.code, error.file) for error in report.errors] == [("FLOPS-B012", "model_manager.py")]
    assert report.build is not None
    assert report.build.file == "requirements.txt"


async def test_the_stages_that_went_before_tell_what_the_next_will_take(shared: Mesh) -> None:
    repository = shared.new_repository()
    await shared.stage(await shared.submit(ml_repo_url=repository), "completed")
    report = await plan(shared, repository)
    assert report.image == "found"
    assert report.build is None
    assert set(report.seconds) == {"deploying", "training"}


@pytest.mark.parametrize("place", ["ready", "working"])
async def test_a_builder_that_dies_is_an_error_of_the_plan(shared: Mesh, place: str) -> None:
    report = await plan(shared, die=place)
    assert [error.code for error in report.errors] == ["FLOPS-B042"]
    assert report.build is None
    await shared.gone()


async def test_a_builder_that_does_not_start_is_an_error_of_the_plan(mesh: Mesh) -> None:
    async with mesh.manager(FLOPS_BUILDER_COMMAND="sh -c 'echo no such thing; exit 3'"):
        report = await plan(mesh)
    assert [error.code for error in report.errors] == ["FLOPS-B042"]
    assert "no such thing" in report.errors[0].detail


async def test_a_builder_that_hangs_is_given_up_and_removed(mesh: Mesh) -> None:
    async with mesh.manager(FLOPS_START_SECONDS="3", FLOPS_PLAN_SECONDS="1"):
        report = await plan(mesh, hang=True)
        assert [error.code for error in report.errors] == ["FLOPS-B043"]
        await mesh.gone()


async def test_plans_do_not_disturb_each_other_nor_leave_anything(shared: Mesh) -> None:
    reports: list[PlanReport] = []

    async def one(number: int) -> None:
        reports.append(await plan(shared, forecast=FORECAST | {"python": f"3.{number}"}))

    before = (await shared.ask(LIST, ListRequest())).projects
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, number)
    assert sorted(report.build.python or "" for report in reports if report.build) == ["3.0", "3.1", "3.2"]
    assert (await shared.ask(LIST, ListRequest())).projects == before
    assert not [project for project in shared.statuses if project.startswith("plan-")]
    assert not list((shared.root / "engine" / "actors").glob("plan-*"))
    await shared.gone()


async def test_the_builder_of_a_killed_manager_is_swept_away(mesh: Mesh) -> None:
    heard = anyio.Event()

    async def planning(_: Received[PlanStatus]) -> None:
        heard.set()

    await mesh.bus.subscribe(PLAN_STATUS, planning)
    sla = mesh.sla(script={"builder": {"hang": True}})
    async with anyio.create_task_group() as group:
        async with mesh.manager() as manager:
            group.start_soon(lambda: mesh.bus.request(PLAN, PlanRequest(sla=sla), timeout=100))
            with anyio.fail_after(20):
                await heard.wait()
            await manager.kill()
            assert mesh.processes()
        async with mesh.manager():
            await mesh.gone()
        group.cancel_scope.cancel()


async def test_a_client_that_is_gone_is_in_nobodys_way(shared: Mesh) -> None:
    sla = shared.sla(ml_repo_url=shared.new_repository(), script={"builder": {"forecast": FORECAST}})
    await shared.bus.publish(PLAN, PlanRequest(sla=sla))
    assert (await plan(shared, forecast=FORECAST)).errors == []
    await shared.gone()
