"""Flower's strategies on our grid: every one that an SLA can name trains, and keeps the model's kinds."""

import anyio
import numpy as np
import pytest
from flops_aggregator.parameters import kinds_of, to_arrays
from flops_protocol.errors import FlopsError
from flops_protocol.sla import STRATEGIES

from tests.integration.federation.fleet import FIRST, Line, fleet, forged

ARGUMENTS = {
    "FedAvgM": {"server_momentum": 0.3, "server_learning_rate": 0.9},
    "FedAdam": {"eta": 0.3},
    "FedAdagrad": {"eta": 0.5},
    "FedYogi": {"eta": 0.3},
    "FedProx": {"proximal_mu": 0.1},
    "FedTrimmedAvg": {"beta": 0.25},
    "QFedAvg": {"client_learning_rate": 0.5, "q": 0.2},
    "MultiKrum": {"num_nodes_to_select": 3},
}


@pytest.mark.parametrize("name", STRATEGIES)
async def test_strategy_brings_the_loss_down(name):
    async with fleet(5) as learners:
        federation = learners.federation(name, **ARGUMENTS.get(name, {}))
        one = learners.round(federation)
        parameters, losses = FIRST, []
        for number in range(1, 9):
            result = await one.run(number, parameters, learners.names)
            parameters = result.parameters
            losses.append(result.metrics.loss)
            assert kinds_of(parameters) == kinds_of(FIRST)
            assert set(result.trained) == set(learners.names)
            assert not result.failures
        assert losses[-1] < losses[0]
        assert to_arrays(parameters)[1].dtype == np.int64
        assert all(line.rounds[-1] == 8 for line in learners.lines.values())


async def test_average_is_weighted_by_samples():
    async with fleet(2) as learners:
        result = await learners.round(learners.federation()).run(1, FIRST, learners.names)
        expected, total = np.zeros(2), 0
        for line in learners.lines.values():
            trained = await line.train(to_arrays(FIRST), {}, 1)
            expected += trained.arrays[0] * trained.samples
            total += trained.samples
        assert np.allclose(to_arrays(result.parameters)[0], expected / total)
        assert result.samples == total


async def test_a_strategy_goes_on_from_its_state():
    async with fleet(3) as learners:

        async def rounds(federation, parameters, numbers):
            for number in numbers:
                parameters = (await learners.round(federation).run(number, parameters, learners.names)).parameters
            return parameters

        for name in ("FedAdam", "FedYogi", "FedAdagrad", "FedAvgM"):
            arguments = ARGUMENTS[name]
            straight = await rounds(learners.federation(name, **arguments), FIRST, range(1, 7))
            before = learners.federation(name, **arguments)
            middle = await rounds(before, FIRST, range(1, 4))
            after = learners.federation(name, **arguments)
            after.restore(before.state())
            resumed = await rounds(after, middle, range(4, 7))
            fresh = await rounds(learners.federation(name, **arguments), middle, range(4, 7))
            assert np.allclose(to_arrays(resumed)[0], to_arrays(straight)[0]), name
            assert not np.allclose(to_arrays(fresh)[0], to_arrays(straight)[0]), f"{name} has no state to lose"


async def test_fraction_chooses_among_the_learners():
    async with fleet(4) as learners:
        result = await learners.round(learners.federation(fraction_train=0.5)).run(1, FIRST, learners.names)
        assert len(result.trained) == 2
        assert len(result.evaluated) == 4


async def test_only_the_loss_before_training_is_asked_for_where_a_strategy_wants_it():
    async with fleet(1) as learners:
        await learners.round(learners.federation("QFedAvg", client_learning_rate=0.5)).run(1, FIRST, learners.names)
        assert learners.lines["learner-0"].seen == ["evaluate", "train", "evaluate"]


async def test_a_strategy_that_cannot_go_on_says_so():
    async with fleet(2) as learners:
        federation = learners.federation("Bulyan", num_malicious_nodes=1)
        with anyio.fail_after(10), pytest.raises(FlopsError) as raised:
            await learners.round(federation).run(1, FIRST, learners.names)
        assert raised.value.body.code == "FLOPS-T014"
        assert "Bulyan" in raised.value.body.detail


async def test_the_strategys_configuration_reaches_the_learner():
    seen = []
    line = Line(0)
    answer = forged(lambda parcel: parcel, line)

    async def handle(parcel):
        seen.append(dict(parcel.configs["config"]))
        return await answer(parcel)

    async with fleet(1, {"learner-0": handle}) as learners:
        await learners.round(learners.federation("FedProx", proximal_mu=0.25)).run(4, FIRST, learners.names)
        assert seen[0] == {"proximal-mu": 0.25, "server-round": 4}
        assert seen[1] == {"server-round": 4}
