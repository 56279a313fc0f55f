"""The examples, in environments of their own, on real data: two learners, averaged as FedAvg does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flops_mlrepo.host import DataSource, Training

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"

pytestmark = pytest.mark.timeout(300)


def average(results: list[Training]) -> list[np.ndarray]:
    total = sum(result.samples for result in results)
    return [
        sum(result.parameters[index] * (result.samples / total) for result in results)
        for index in range(len(results[0].parameters))
    ]


async def train_together(open_fixture, digits_data, example, mlenv, accuracy):
    def learner(part: int):
        data = DataSource(digits_data, ["digits"], part, 2)
        return open_fixture(EXAMPLES / example, mlenv=mlenv, guest=None, data=data)

    async with learner(0) as first, learner(1) as second:
        rows = []
        for worker in (first, second):
            await worker.smoke(120)
            rows.append(await worker.load_data(120))
        assert rows == [899, 898]
        parameters = await first.get_parameters(30)
        start = (await first.evaluate(60, parameters)).loss
        for _ in range(3):
            parameters = average([await worker.train(parameters, 60) for worker in (first, second)])
        evaluations = [await worker.evaluate(60, parameters) for worker in (first, second)]
    assert min(evaluation.accuracy for evaluation in evaluations) > accuracy
    assert max(evaluation.loss for evaluation in evaluations) < start / 2


async def test_two_learners_train_the_scikit_learn_example(open_fixture, digits_data, mlenv):
    await train_together(open_fixture, digits_data, "digits-sklearn", mlenv, accuracy=0.85)


async def test_two_learners_train_the_numpy_example(open_fixture, digits_data, environments):
    mlenv = environments.make("numpy", "pyarrow", "pillow")
    await train_together(open_fixture, digits_data, "digits-numpy", mlenv, accuracy=0.9)
