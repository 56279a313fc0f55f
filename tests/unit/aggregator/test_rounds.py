"""Which round is the best."""

import pytest
from flops_aggregator.rounds import better
from flops_protocol.messages.project import RoundMetrics


def metrics(accuracy, loss):
    return RoundMetrics(round=1, loss=loss, accuracy=accuracy)


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (metrics(0.0, 9.0), None, True),
        (metrics(0.6, 9.0), metrics(0.5, 0.1), True),
        (metrics(0.5, 0.1), metrics(0.5, 0.2), True),
        (metrics(0.5, 0.2), metrics(0.5, 0.2), False),
        (metrics(0.4, 0.0), metrics(0.5, 9.0), False),
        (metrics(0.0, 0.0), metrics(0.0, 1.0), True),
    ],
)
def test_the_higher_accuracy_then_the_lower_loss(new, old, expected):
    assert better(new, old) is expected
