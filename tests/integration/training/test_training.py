"""A whole training by real processes over a real broker."""

import pytest

from tests.integration.training import code
from tests.integration.training.stage import spec_of, staged

pytestmark = pytest.mark.timeout(120)


async def test_two_learners_train_three_rounds(tmp_path):
    async with staged(tmp_path, spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) == 3 and stage.completed)
        reports = [report for _, report in stage.rounds]
        assert [report.round for report in reports] == [1, 2, 3]
        assert {tuple(sorted(report.trained)) for report in reports} == {("node-1-1", "node-1-2")}
        assert reports[0].samples == 101
        losses = [report.metrics.loss for report in reports]
        assert losses == sorted(losses, reverse=True)
        assert end.training.best.round == 3
        await stage.until(lambda: all(stage.learner[name][-1].state == "done" for name in stage.learners))
        assert {name: statuses[-1].rows for name, statuses in stage.learner.items()} == {"node-1-1": 51, "node-1-2": 50}
        assert stage.errors == [], stage.story()


async def test_fedprox_reaches_code_that_wants_to_know(tmp_path):
    spec = spec_of(min_available_clients=2, sla={"strategy": {"name": "FedProx", "arguments": {"proximal_mu": 0.25}}})
    async with staged(tmp_path, code.PROXIMAL, spec=spec) as stage:
        stage.start_all()
        end = await stage.ended()
        assert end.state == "done", stage.story()
        told = {(name, "code", "told [('proximal-mu', 0.25), ('server-round', 3)]") for name in stage.learners}
        await stage.until(lambda: told <= set(stage.lines))
