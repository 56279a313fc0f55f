"""Whole projects: a real broker, a manager process, scripted actors run by the process engine."""

from __future__ import annotations

from tests.integration.manager.harness import Mesh


async def test_a_project_is_built_deployed_trained_and_cleared_away(mesh: Mesh) -> None:
    async with mesh.manager() as manager:
        project = await mesh.submit()
        status = await mesh.end(project)
        assert status.stage == "completed", manager.log.read_text()
        assert status.training is not None
        assert status.training.best.round == 2
        assert [event.sequence for event in await mesh.history(project)] == list(range(1, status.sequence + 1))
        await mesh.gone()
