"""Instructions: what a learner answers, whatever comes in and whatever the code does."""

import math

import anyio
import numpy as np
import pytest
from flops_federation.npy import read_npy, write_npy
from flops_federation.parcels import ArrayData, Parcel
from flops_learner.learning import Evaluated, Instructions, Trained, WorkerEndedError
from flops_protocol.errors import ErrorBody, FlopsError


class Model:
    """Doubles what it gets, or raises."""

    def __init__(self, error=None):
        self.error = error
        self.seconds = []
        self.told = None

    async def train(self, arrays, config, seconds):
        self.told = config
        self.seconds.append(seconds)
        if self.error:
            raise self.error
        return Trained([array * 2 for array in arrays], 7)

    async def evaluate(self, arrays, seconds):
        self.seconds.append(seconds)
        if self.error:
            raise self.error
        return Evaluated(0.5, 0.25, 7)


def parcel(kind, deadline=10.0, **config):
    sent = {"0": write_npy(np.array([1.0, 2.0], dtype=np.float32))}
    return Parcel(kind, {"deadline-seconds": deadline}, {"arrays": sent}, {}, {"config": {"server-round": 4, **config}})


async def answer(model, asked):
    rounds, errors = [], []
    given, ended = await Instructions(model, rounds.append, errors.append).answer(asked)
    return given, ended, rounds, errors


async def test_the_code_is_told_what_the_strategy_says_but_what_is_ours():
    model = Model()
    await answer(model, parcel("train", **{"proximal-mu": 0.5, "train_loss": True, "raw": b"x", "names": ["a"]}))
    assert model.told == {"server-round": 4, "proximal-mu": 0.5, "names": ["a"]}


async def test_train_sends_parameters_and_the_count():
    given, ended, rounds, errors = await answer(Model(), parcel("train"))
    assert read_npy(given.arrays["arrays"]["0"].data).tolist() == [2.0, 4.0]
    assert given.metrics == {"metrics": {"num-examples": 7}}
    assert (ended, rounds, errors) == (None, [4], [])


async def test_evaluate_sends_metrics_and_no_parameters():
    given, _, _, _ = await answer(Model(), parcel("evaluate"))
    assert given.arrays == {}
    assert given.metrics == {"metrics": {"loss": 0.5, "accuracy": 0.25, "num-examples": 7}}


async def test_the_loss_before_training_is_sent_where_it_is_asked_for():
    given, _, _, _ = await answer(Model(), parcel("train", train_loss=True))
    assert given.metrics["metrics"]["train_loss"] == 0.5


async def test_an_error_of_the_code_is_the_answer():
    error = FlopsError("FLOPS-T007", "no", file="model_manager.py", line=3)
    given, ended, _, errors = await answer(Model(error), parcel("train"))
    assert ErrorBody.model_validate_json(given.failure.reason) == error.body
    assert (ended, errors) == (None, [error.body])


async def test_a_worker_that_ended_is_the_last_answer():
    error = WorkerEndedError("FLOPS-T009", "gone")
    given, ended, _, errors = await answer(Model(error), parcel("evaluate"))
    assert given.failure is not None
    assert ended is error
    assert errors == [error.body]


@pytest.mark.parametrize("deadline", [1.0, 10.0, 600.0])
async def test_the_code_has_less_time_than_the_aggregator_waits(deadline):
    model = Model()
    await answer(model, parcel("train", deadline))
    assert 0.85 * deadline < model.seconds[0] < deadline - min(1.9, 0.09 * deadline)


async def test_what_is_no_array_is_refused():
    asked = Parcel("train", arrays={"arrays": {"0": ArrayData("float32", (2,), b"something else")}})
    given, _, _, errors = await answer(Model(), asked)
    assert ErrorBody.model_validate_json(given.failure.reason).code == "FLOPS-T005"
    assert errors[0].code == "FLOPS-T005"


async def test_another_kind_of_instruction_is_refused():
    given, _, _, _ = await answer(Model(), Parcel("query"))
    assert "query" in given.failure.reason


async def test_the_time_that_an_instruction_waited_counts():
    model = Model()
    rounds = []

    class Waits(Model):
        async def evaluate(self, arrays, seconds):
            await anyio.sleep(0.05)
            return await super().evaluate(arrays, seconds)

    model = Waits()
    await Instructions(model, rounds.append, lambda _: None).answer(parcel("train", 2.0, train_loss=True))
    assert model.seconds[0] - model.seconds[1] >= 0.05
    assert math.isfinite(model.seconds[1])
