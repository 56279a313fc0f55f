"""A repository that keeps to the contract, from construction to evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from flops_mlrepo.host import DataSource


async def test_a_round_needs_one_exchange_for_training_and_one_for_evaluation(open_fixture, line_data):
    async with open_fixture("plain", data=DataSource(line_data, ["line"], 1, 2)) as worker:
        await worker.construct(30)
        assert await worker.load_data(30) == 50
        parameters = await worker.get_parameters(30)
        assert [(array.shape, array.dtype) for array in parameters] == [((2,), np.float64), ((), np.int64)]
        before = await worker.evaluate(30, parameters)
        for _ in range(4):
            parameters, samples = await worker.train(parameters, 30)
            assert samples == 50
        after = await worker.evaluate(30, parameters)
    assert parameters[1] == 200
    assert np.allclose(parameters[0], [3, 0.5], atol=0.05)
    assert after.loss < before.loss / 100
    assert after.samples == 50


async def test_smoke_needs_no_data(open_fixture):
    async with open_fixture("plain") as worker:
        assert await worker.smoke(30) == 2
        assert worker.versions["python"].startswith("3.")


async def test_averages_come_back_in_the_dtype_of_the_code(open_fixture):
    async with open_fixture("plain") as worker:
        await worker.construct(30)
        await worker.set_parameters([np.array([1, 2], dtype=np.float32), np.array(2.6)], 30)
        weights, steps = await worker.get_parameters(30)
    assert (weights.dtype, steps.dtype) == (np.float64, np.int64)
    assert steps == 3


@pytest.mark.parametrize("case", ["older_template", "older_names"])
async def test_the_older_name_of_set_model_data_is_taken(open_fixture, case):
    async with open_fixture(case) as worker:
        await worker.smoke(30)
        assert await worker.load_data(30) is None
        assert (await worker.evaluate(30)).samples == 8


async def test_code_that_wants_to_know_is_told_what_the_strategy_says(open_fixture, line_data, output):
    async def trained(mu: float) -> np.ndarray:
        async with open_fixture("proximal", data=DataSource(line_data, ["line"], 0, 1)) as worker:
            await worker.construct(30)
            await worker.load_data(30)
            return (await worker.train(await worker.get_parameters(30), 30, {"proximal-mu": mu})).parameters[0]

    free, held = await trained(0.0), await trained(5.0)
    assert np.linalg.norm(held) < np.linalg.norm(free) / 2
    assert ("stdout", "told [('proximal-mu', 5.0)]") in output
