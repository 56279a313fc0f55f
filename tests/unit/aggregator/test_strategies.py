"""Strategies by their names, and what an SLA may say to them."""

import inspect

import flwr.serverapp.strategy as flower
import pytest
from flops_aggregator.adapters.strategies import STRATEGIES, allowed_arguments, make_strategy
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Strategy, TrainingConfiguration

TRAINING = TrainingConfiguration(min_fit_clients=2, min_evaluate_clients=3)
NEEDED = {"QFedAvg": {"client_learning_rate": 0.1}}


def make(name, **arguments):
    return make_strategy(Strategy(name=name, arguments=arguments), TRAINING)


def detail_of(name, **arguments):
    with pytest.raises(FlopsError) as raised:
        make(name, **arguments)
    assert raised.value.body.code == "FLOPS-T014"
    return raised.value.body.detail


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_is_flowers_own_with_the_slas_minimums(name):
    strategy = make(name, **NEEDED.get(name, {}))
    assert type(strategy) is getattr(flower, name)
    assert (strategy.min_train_nodes, strategy.min_evaluate_nodes) == (2, 3)
    assert strategy.weighted_by_key == "num-examples"


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_default_of_an_allowed_argument_is_accepted(name):
    defaults = {
        key: parameter.default
        for key, parameter in allowed_arguments(name).items()
        if parameter.default is not inspect.Parameter.empty
    }
    assert {"fraction_train", "fraction_evaluate"} <= set(defaults)
    make(name, **{**NEEDED.get(name, {}), **defaults})


def test_unknown_name_lists_what_is_allowed():
    assert all(name in detail_of("FedAverage") for name in STRATEGIES)


def test_what_is_no_name_of_a_strategy_is_not_looked_up():
    assert "there is no '__init__'" in detail_of("__init__")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("FedAdam", {"lr": 1}, "lr is no argument of FedAdam. Allowed are beta_1 (float, 0.9)"),
        ("FedAdam", {"eta": "1"}, "eta is '1', not a number"),
        ("FedAdam", {"eta": True}, "eta is True, not a number"),
        ("FedAdam", {"eta": float("inf")}, "eta is inf, not a number"),
        ("Krum", {"num_malicious_nodes": 1.5}, "num_malicious_nodes is 1.5, not a whole number"),
        ("Krum", {"num_malicious_nodes": -1}, "num_malicious_nodes is -1, not a whole number"),
        ("FedAvg", {"fraction_train": 0}, "fraction_train is 0, not above 0"),
        ("FedAvg", {"fraction_train": 1.5}, "fraction_train is 1.5, not above 0"),
        ("FedAvg", {"min_train_nodes": 3}, "min_train_nodes is no argument of FedAvg (training_configuration says it)"),
        ("FedAvg", {"train_metrics_aggr_fn": None}, "train_metrics_aggr_fn is no argument"),
        ("QFedAvg", {}, "QFedAvg needs client_learning_rate"),
        ("FedTrimmedAvg", {"beta": 0.7}, "`beta` must be in the range"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(name, arguments, said):
    assert said in detail_of(name, **arguments)


def test_every_mistake_is_named_at_once():
    detail = detail_of("FedAdam", lr=1, eta="x")
    assert "lr is no argument" in detail
    assert "eta is 'x'" in detail
