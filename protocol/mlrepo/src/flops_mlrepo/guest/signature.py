"""The model's signature: what goes in, what comes out.

No row of a learner's data leaves its node, so there is no example to infer it from where the model is saved. It is
built from what the model itself says, and completed by one prediction on zeros.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Tuple

import numpy as np

Kind = Tuple[Any, Tuple[int, ...]]
"""A dtype and a shape, with -1 where any length will do."""

# Heights and widths of common image data, tried where a convolution leaves them open.
_IMAGE_SIDES = (8, 16, 28, 32, 48, 64, 96, 128, 224, 256)


class Signature(NamedTuple):
    """What goes in and what comes out; `source` says how it was found, for people."""

    source: str
    inputs: Kind | None = None
    outputs: Kind | None = None
    own: Any = None
    """The repository's own, an object of MLflow's; nothing else counts then."""


def find_signature(manager: Any, subject: Any, flavor: str) -> Signature:
    """What is known of the model's signature.

    The repository's own `get_model_signature()` (MLflow's object) or `get_input_example()` (an array with a row each)
    on its ModelManager wins over everything that is found here.
    """
    own = getattr(manager, "get_model_signature", None)
    if callable(own):
        return Signature("get_model_signature()", own=own())
    example = getattr(manager, "get_input_example", None)
    if callable(example):
        return _from_example(np.asarray(example()), _predictor(subject, flavor), "get_input_example()")
    if flavor == "sklearn":
        return _of_sklearn(subject)
    if flavor == "pytorch":
        return _of_torch(subject)
    return _of_keras(subject)


def _predictor(subject: Any, flavor: str) -> Callable[[np.ndarray], Any]:
    if flavor == "sklearn":
        return lambda rows: subject.predict(rows)
    if flavor == "pytorch":
        return lambda rows: _torch_forward(subject, rows)
    return lambda rows: subject.predict(rows, verbose=0)


def _from_example(rows: np.ndarray, predict: Callable[[np.ndarray], Any], source: str) -> Signature:
    try:
        answer = predict(rows)
    except Exception:
        # What comes out stays open then; what goes in is known all the same.
        answer = None
    return Signature(source, _kind_of(rows), _kind_of(answer) if isinstance(answer, np.ndarray) else None)


def _kind_of(rows: np.ndarray) -> Kind:
    return rows.dtype, (-1, *rows.shape[1:])


def _of_sklearn(subject: Any) -> Signature:
    features = getattr(subject, "n_features_in_", None)
    source = "n_features_in_"
    coefficients = getattr(subject, "coef_", None)
    if features is None and isinstance(coefficients, np.ndarray) and coefficients.ndim in (1, 2):
        features, source = coefficients.shape[-1], "the shape of coef_"
    if features is None:
        return Signature("the model does not say how many features it takes")
    return _from_example(np.zeros((1, int(features))), _predictor(subject, "sklearn"), source)


def _of_torch(subject: Any) -> Signature:
    import torch

    for layer in subject.modules():
        if isinstance(layer, torch.nn.Linear):
            rows = np.zeros((1, layer.in_features), dtype=np.float32)
            return _from_example(rows, _predictor(subject, "pytorch"), "the first layer's in_features")
        if isinstance(layer, torch.nn.Conv2d):
            return _of_convolution(subject, layer.in_channels)
        if isinstance(layer, torch.nn.Embedding):
            return Signature("the first layer is an embedding; the output is not known", (np.int64, (-1, -1)))
    return Signature("the first layer does not say what it takes")


def _of_convolution(subject: Any, channels: int) -> Signature:
    images = [np.zeros((1, channels, side, side), dtype=np.float32) for side in _IMAGE_SIDES]
    taken = [rows for rows in images if _takes(subject, rows)]
    if len(taken) == 1:
        source = "the first layer's in_channels, and the only common image size that the model takes"
        return _from_example(taken[0], _predictor(subject, "pytorch"), source)
    source = "the first layer's in_channels; the output is not known"
    return Signature(source, (np.float32, (-1, channels, -1, -1)))


def _takes(subject: Any, rows: np.ndarray) -> bool:
    try:
        _torch_forward(subject, rows)
    except Exception:
        # The layers behind the convolutions want another size.
        return False
    return True


def _torch_forward(subject: Any, rows: np.ndarray) -> Any:
    import torch

    training = subject.training
    subject.eval()
    try:
        with torch.no_grad():
            answer = subject(torch.from_numpy(rows))
    finally:
        subject.train(training)
    return answer.numpy() if isinstance(answer, torch.Tensor) else None


def _of_keras(subject: Any) -> Signature:
    inputs = getattr(subject, "inputs", None) or []
    if len(inputs) != 1:
        return Signature("the model has not exactly one input, or was not built yet")
    kind = np.dtype(getattr(inputs[0].dtype, "name", inputs[0].dtype))
    shape = tuple(inputs[0].shape)
    if None in shape[1:]:
        lengths = tuple(-1 if length is None else int(length) for length in shape)
        return Signature("the model's input; the output is not known", (kind, lengths))
    rows = np.zeros((1, *shape[1:]), dtype=kind)
    return _from_example(rows, _predictor(subject, "keras"), "the model's input")
