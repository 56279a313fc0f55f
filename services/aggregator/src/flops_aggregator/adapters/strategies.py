"""Flower's strategies by the name in the SLA, with their arguments checked before anything starts."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from typing import Any

import flwr.serverapp.strategy as flower
import numpy as np
import numpy.typing as npt
from flops_protocol.errors import FlopsError
from flops_protocol.sla import STRATEGIES, Strategy, TrainingConfiguration
from flwr.serverapp.strategy import FedAvg

TRAIN_LOSS = "train_loss"
"""The metric that QFedAvg weighs by: the loss of the parameters that a learner got, on its own data."""
_OURS = frozenset(
    {
        # Said by training_configuration.
        "min_train_nodes",
        "min_evaluate_nodes",
        "min_available_nodes",
        # What our learners send.
        "weighted_by_key",
        "arrayrecord_key",
        "configrecord_key",
        "train_metrics_aggr_fn",
        "evaluate_metrics_aggr_fn",
        "train_loss_key",
    }
)
_STATE = ("momentum_vector", "m_t", "v_t")


def make_strategy(wanted: Strategy, training: TrainingConfiguration) -> FedAvg:
    """The strategy, with the SLA's minimums.

    :raises FlopsError: FLOPS-T014 when there is no such strategy, or it does not take these arguments
    """
    # Four lines a round about what our own report says better.
    logging.getLogger("flwr").setLevel(logging.WARNING)
    if wanted.name not in STRATEGIES:
        raise FlopsError("FLOPS-T014", f"there is no {wanted.name!r}; allowed are {', '.join(STRATEGIES)}")
    kind = getattr(flower, wanted.name)
    parameters = allowed_arguments(wanted.name)
    _check(wanted, parameters)
    try:
        strategy = kind(
            **wanted.arguments,
            min_train_nodes=training.min_fit_clients,
            min_evaluate_nodes=training.min_evaluate_clients,
            min_available_nodes=1,
        )
    except (TypeError, ValueError) as error:
        raise FlopsError("FLOPS-T014", f"{wanted.name}: {error}") from error
    assert isinstance(strategy, FedAvg)  # noqa: S101 - every name above is a kind of it
    return strategy


def allowed_arguments(name: str) -> dict[str, inspect.Parameter]:
    """The arguments of a strategy that an SLA may set."""
    signature = inspect.signature(getattr(flower, name).__init__)
    return {
        key: value
        for key, value in signature.parameters.items()
        if key not in _OURS and _type_name(value) in {"int", "float", "bool", "str"}
    }


def needs_train_loss(strategy: FedAvg) -> bool:
    """Whether learners have to evaluate the parameters that they get before they train."""
    return hasattr(strategy, "train_loss_key")


def state_of(strategy: FedAvg) -> dict[str, npt.NDArray[Any]]:
    """What the strategy remembers from round to round (momentum, second moments), by name, for a checkpoint."""
    state: dict[str, npt.NDArray[Any]] = {}
    for name in _STATE:
        value = getattr(strategy, name, None)
        if isinstance(value, Mapping):
            state |= {f"{name}.{key}": np.asarray(array) for key, array in value.items()}
        elif isinstance(value, list):
            state |= {f"{name}.{index}": np.asarray(array) for index, array in enumerate(value)}
    return state


def restore(strategy: FedAvg, state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Gives a new strategy what `state_of` the old one was."""
    for name in _STATE:
        arrays = {key.removeprefix(f"{name}."): array for key, array in state.items() if key.startswith(f"{name}.")}
        if arrays:
            keyed = sorted(arrays.items(), key=lambda item: int(item[0]))
            setattr(strategy, name, [array for _, array in keyed] if name == "momentum_vector" else dict(keyed))


def _check(wanted: Strategy, parameters: Mapping[str, inspect.Parameter]) -> None:
    allowed = ", ".join(f"{key} ({_shown(parameter)})" for key, parameter in sorted(parameters.items()))
    mistakes = []
    for key, value in wanted.arguments.items():
        if key not in parameters:
            ours = " (training_configuration says it)" if key in _OURS else ""
            mistakes.append(f"{key} is no argument of {wanted.name}{ours}")
        elif (complaint := _complaint(key, value, parameters[key])) is not None:
            mistakes.append(complaint)
    needed = [
        key for key, p in parameters.items() if p.default is inspect.Parameter.empty and key not in wanted.arguments
    ]
    mistakes += [f"{wanted.name} needs {key}" for key in needed]
    if mistakes:
        raise FlopsError("FLOPS-T014", f"{'; '.join(mistakes)}. Allowed are {allowed}")


def _complaint(key: str, value: Any, parameter: inspect.Parameter) -> str | None:
    kind = _type_name(parameter)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "int" and not (whole and value >= 0):
        return f"{key} is {value!r}, not a whole number from 0"
    if kind == "float" and not (whole or (isinstance(value, float) and math.isfinite(value))):
        return f"{key} is {value!r}, not a number"
    if key.startswith("fraction_") and not 0 < value <= 1:
        return f"{key} is {value!r}, not above 0 and at most 1"
    return None


def _shown(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return f"{_type_name(parameter)}, needed"
    return f"{_type_name(parameter)}, {parameter.default}"


def _type_name(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
