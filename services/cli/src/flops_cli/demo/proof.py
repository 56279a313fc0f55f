"""Loads a model from MLflow, as anybody would, and has it predict digits that are at hand: `python -m` this module.

Prints one JSON document: `{"expected": […], "predicted": […], "correct": of all digits, "total": …}`.
"""

from __future__ import annotations

import json
import sys
import warnings


def main(model_uri: str, show: int) -> None:
    """Predicts all digits with the model at the URI, and prints what came of it."""
    import mlflow
    import numpy as np
    from sklearn.datasets import load_digits

    # The image's environment has its own versions; they predict the same, and say so in a warning.
    warnings.simplefilter("ignore")
    digits = load_digits()
    model = mlflow.pyfunc.load_model(model_uri)
    signature = model.metadata.signature
    wanted = None if signature is None else signature.inputs.input_types()[0]
    inputs = digits.images.reshape(len(digits.images), -1) / 16
    predicted = model.predict(inputs.astype(getattr(wanted, "type", None) or np.float64))
    if predicted.ndim > 1:
        predicted = predicted.argmax(axis=1)
    picked = np.linspace(0, len(digits.target) - 1, show).astype(int)
    document = {
        "expected": digits.target[picked].tolist(),
        "predicted": [int(number) for number in predicted[picked]],
        "correct": int((predicted == digits.target).sum()),
        "total": len(digits.target),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
