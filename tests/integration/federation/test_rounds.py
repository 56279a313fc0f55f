"""Rounds against learners that do not do what they should."""

import asyncio
import math
import time
from dataclasses import replace

import anyio
import numpy as np
import pytest
from flops_aggregator.parameters import to_arrays
from flops_aggregator.rounds import ShortOfLearnersError
from flops_federation.errors import PeerLostError
from flops_federation.npy import write_npy
from flops_federation.parcels import Parcel
from flops_protocol.errors import FlopsError

from tests.integration.federation.fleet import FIRST, Line, fleet, forged, with_metrics


def train_only(change):
    return lambda parcel: change(parcel) if parcel.kind == "train" else parcel


def evaluate_only(change):
    return lambda parcel: change(parcel) if parcel.kind == "evaluate" else parcel


def arrays(parcel, *sent):
    return replace(parcel, arrays={"arrays": {str(i): write_npy(array) for i, array in enumerate(sent)}})


WEIGHTS, STEPS = np.zeros(2, dtype=np.float32), np.array(0, dtype=np.int64)
FORGERIES = [
    pytest.param(train_only(lambda p: arrays(p, WEIGHTS, np.zeros(3, np.int64))), "FLOPS-T005", id="shape"),
    pytest.param(train_only(lambda p: arrays(p, WEIGHTS.astype("f8"), STEPS)), "FLOPS-T005", id="dtype"),
    pytest.param(train_only(lambda p: arrays(p, WEIGHTS)), "FLOPS-T005", id="number"),
    pytest.param(train_only(lambda p: replace(p, arrays={})), "FLOPS-T005", id="none"),
    pytest.param(train_only(lambda p: arrays(p, WEIGHTS + np.nan, STEPS)), "FLOPS-T006", id="nan"),
    pytest.param(train_only(lambda p: arrays(p, WEIGHTS - np.inf, STEPS)), "FLOPS-T006", id="infinite"),
    pytest.param(train_only(lambda p: with_metrics(p, **{"num-examples": 0})), "FLOPS-T003", id="no-samples"),
    pytest.param(evaluate_only(lambda p: with_metrics(p, loss=math.nan)), "FLOPS-T006", id="loss-nan"),
    pytest.param(evaluate_only(lambda p: replace(p, metrics={})), "FLOPS-T004", id="no-metrics"),
]


@pytest.mark.parametrize(("change", "code"), FORGERIES)
async def test_what_does_not_fit_is_refused_and_the_round_goes_on(change, code):
    async with fleet(3, {"learner-1": forged(change, Line(1))}) as learners:
        result = await learners.round(learners.federation()).run(1, FIRST, learners.names)
        assert {name: error.code for name, error in result.failures.items()} == {"learner-1": code}
        assert np.isfinite(to_arrays(result.parameters)[0]).all()
        assert result.metrics.loss < 5


@pytest.mark.parametrize(("change", "code"), FORGERIES)
async def test_when_nothing_is_left_the_common_error_is_told(change, code):
    async with fleet(2, {f"learner-{n}": forged(change, Line(n)) for n in range(2)}) as learners:
        with pytest.raises(FlopsError) as raised:
            await learners.round(learners.federation()).run(1, FIRST, learners.names)
        assert raised.value.body.code == code
        assert "learner-0, learner-1" in raised.value.body.detail


async def test_a_bad_number_of_one_does_not_reach_the_average():
    huge = train_only(lambda p: arrays(p, np.full(2, 3e38, dtype=np.float32), STEPS))
    async with fleet(2, {f"learner-{n}": forged(huge, Line(n)) for n in range(2)}) as learners:
        # Each is finite, and so is their average; only their sum overflows.
        result = await learners.round(learners.federation()).run(1, FIRST, learners.names)
        assert result.failures == {}


async def test_a_learner_that_does_not_answer_costs_the_rounds_time_only():
    async def never(parcel):
        await asyncio.Event().wait()
        return parcel

    async with fleet(2, {"learner-1": never}) as learners:
        began = time.monotonic()
        result = await learners.round(learners.federation(), seconds=1.5).run(1, FIRST, learners.names)
        assert time.monotonic() - began < 5
        assert result.trained == ("learner-0",)
        assert result.failures["learner-1"].code == "FLOPS-T008"
        # It would make the next round wait, too.
        with anyio.fail_after(5), pytest.raises(PeerLostError):
            await learners.tasks["learner-1"]


async def test_a_learner_that_goes_in_the_round_does_not_hold_it_up():
    gone = asyncio.Event()

    async def goes(parcel):
        gone.set()
        await asyncio.Event().wait()
        return parcel

    async with fleet(2, {"learner-1": goes}) as learners, anyio.create_task_group() as group:

        async def leave():
            await gone.wait()
            learners.tasks["learner-1"].cancel()

        group.start_soon(leave)
        began = time.monotonic()
        result = await learners.round(learners.federation(), seconds=30).run(1, FIRST, learners.names)
        assert time.monotonic() - began < 3
        assert result.failures["learner-1"].code == "FLOPS-T012"
        assert result.evaluated == ("learner-0",)


async def test_too_few_left_asks_for_another_try_when_they_may_come_back():
    async def goes(parcel):
        learners.tasks["learner-1"].cancel()
        await asyncio.Event().wait()
        return parcel

    async with fleet(2, {"learner-1": goes}) as learners:
        with pytest.raises(ShortOfLearnersError) as raised:
            await learners.round(learners.federation(minimum=2), minimum=2).run(1, FIRST, learners.names)
        assert set(raised.value.failures) == {"learner-1"}
        with pytest.raises(FlopsError) as failed:
            await learners.round(learners.federation(minimum=2), minimum=2).run(1, FIRST, learners.names, tries=3)
        assert failed.value.body.code == "FLOPS-T012"


async def test_an_answer_that_is_no_flower_message_is_a_failure_of_that_learner():
    async def nonsense(_parcel):
        return Parcel("train", metrics={"m": {"num-examples": 5}}, configs={"c": {"x": 1}})

    async with fleet(2, {"learner-1": nonsense}) as learners:
        result = await learners.round(learners.federation()).run(1, FIRST, learners.names)
        assert result.failures["learner-1"].code == "FLOPS-T005"
