"""Processes that die in the middle: it is noticed at once, and the training goes on."""

import signal
import time

import pytest

from tests.integration.training import code
from tests.integration.training.stage import spec_of, staged

pytestmark = pytest.mark.timeout(120)


def in_round(stage, number):
    """Whether every learner is at this round."""
    return all(
        stage.learner.get(name)
        and stage.learner[name][-1].state == "training"
        and stage.learner[name][-1].round >= number
        for name in stage.learners
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_learner_lost_in_a_round_is_reported_and_the_round_goes_on(tmp_path, how):
    async with staged(tmp_path, code.slow(1.5), spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        await stage.until(lambda: in_round(stage, 1))
        lost_at = time.monotonic()
        await stage.kill("node-1-2", how)
        await stage.until(lambda: ("aggregator", "FLOPS-T012") in stage.codes)
        told_at = next(at for at, report in stage.errors if report.error.code == "FLOPS-T012")
        assert told_at - lost_at < 5
        assert "node-1-2" in next(report.error.detail for _, report in stage.errors)
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) == 3)
        reports = [report for _, report in stage.rounds]
        assert [failure.error.code for failure in reports[0].failures] == ["FLOPS-T012"]
        assert all(report.trained == ["node-1-1"] for report in reports)


async def test_a_learner_that_comes_back_is_taken_in_at_the_next_round(tmp_path):
    spec = spec_of(min_available_clients=2, training_rounds=6)
    async with staged(tmp_path, code.slow(0.7), spec=spec) as stage:
        stage.start_all()
        await stage.until(lambda: in_round(stage, 1))
        await stage.kill("node-1-2")
        stage.start("learner", "node-1-2")
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) == 6)
        trained = [sorted(report.trained) for _, report in stage.rounds]
        assert trained[0] == ["node-1-1"]
        assert trained[-1] == ["node-1-1", "node-1-2"], stage.story()


async def test_a_round_that_needs_all_is_done_again_when_the_lost_one_is_back(tmp_path):
    spec = spec_of(min_available_clients=2, min_fit_clients=2, min_evaluate_clients=2)
    async with staged(tmp_path, code.slow(1), spec=spec) as stage:
        stage.start_all()
        await stage.until(lambda: in_round(stage, 2))
        await stage.kill("node-1-2")
        stage.start("learner", "node-1-2")
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) == 3)
        assert [report.round for _, report in stage.rounds] == [1, 2, 3]
        assert all(len(report.trained) == 2 for _, report in stage.rounds)


async def test_too_few_left_fails_within_the_time_for_coming_back(tmp_path):
    spec = spec_of(min_available_clients=2, min_fit_clients=2)
    async with staged(tmp_path, code.slow(1), spec=spec, environment={"FLOPS_REJOIN_SECONDS": "2"}) as stage:
        stage.start_all()
        await stage.until(lambda: in_round(stage, 1))
        await stage.kill("node-1-2")
        end = await stage.ended(15)
        assert end.state == "failed"
        assert end.error.code == "FLOPS-T011"
        assert "node-1-2" in end.error.detail
        assert any(report.fatal and report.error.code == "FLOPS-T011" for _, report in stage.errors)


async def test_an_aggregator_that_is_killed_goes_on_after_the_last_finished_round(tmp_path):
    spec = spec_of(min_available_clients=2, training_rounds=6, sla={"strategy": {"name": "FedAvgM"}})
    async with staged(tmp_path, code.slow(0.5), spec=spec) as stage:
        stage.start_all()
        await stage.until(lambda: len(stage.rounds) == 3)
        await stage.kill("aggregator")
        stage.start("aggregator", "aggregator")
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) >= 6)
        numbers = [report.round for _, report in stage.rounds]
        # Each is told at least once; the last one before the kill maybe twice.
        assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 6], numbers
        assert numbers == sorted(numbers)
        assert len(numbers) <= 7
        assert "resuming" in (tmp_path / "aggregator.log").read_text()
        # The same processes all the way: their data was loaded once.
        for name in stage.learners:
            states = [status.state.value for status in stage.learner[name]]
            assert states.count("ready") == 1


async def test_an_aggregator_that_is_killed_behind_the_end_says_it_again(tmp_path):
    async with staged(tmp_path, spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.kill("aggregator")
        heard = len(stage.aggregator)
        stage.start("aggregator", "aggregator")
        await stage.until(lambda: len(stage.aggregator) > heard and stage.state in {"done", "failed"})
        again = stage.aggregator[-1]
        assert again.state == "done", stage.story()
        assert again.training.best == end.training.best
        assert again.training.rounds == 3
        assert {report.round for _, report in stage.rounds} == {1, 2, 3}


async def test_too_few_to_begin_with(tmp_path):
    spec = spec_of(min_available_clients=2)
    async with staged(tmp_path, spec=spec, ready_seconds=4) as stage:
        stage.start("aggregator", "aggregator")
        stage.start("learner", "node-1-1")
        end = await stage.ended()
        assert end.state == "failed"
        assert end.error.code == "FLOPS-D003"
        assert "1 of at least 2 (min_available_clients) are here" in end.error.detail
        assert "node-1-2: not heard of" in end.error.detail


async def test_the_broker_restarting_does_not_disturb_a_training(tmp_path):
    spec = spec_of(min_available_clients=2, training_rounds=5)
    async with staged(tmp_path, code.slow(0.7), spec=spec) as stage:
        stage.start_all()
        await stage.until(lambda: len(stage.rounds) == 1)
        await stage.broker.kill()
        await stage.broker.start()
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: [report.round for _, report in stage.rounds] == [1, 2, 3, 4, 5])
        assert "FLOPS-T012" not in [code for _, code in stage.codes]


async def test_stop_ends_every_process(tmp_path):
    async with staged(tmp_path, code.slow(5), spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        await stage.until(lambda: in_round(stage, 1))
        await stage.command_aggregator("stop")
        await stage.command_learners("stop")
        await stage.until(lambda: stage.state == "stopped", 10)
        await stage.until(lambda: all(stage.learner[name][-1].state == "stopped" for name in stage.learners), 10)
        for process in stage.processes.values():
            assert process.wait(10) == 0
