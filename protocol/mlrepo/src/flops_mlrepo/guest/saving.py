"""Saving the model by its MLflow flavor."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.guest.faults import FaultError

if TYPE_CHECKING:
    from flops_mlrepo.guest.model import Model

# MLflow's module of each flavor, and the name of the model in its save_model().
_FLAVORS = {
    "sklearn": ("mlflow.sklearn", "sk_model"),
    "pytorch": ("mlflow.pytorch", "pytorch_model"),
    "keras": ("mlflow.keras", "model"),
    "tensorflow": ("mlflow.tensorflow", "model"),
}


def save_model(model: Model, folder: str, flavor: str, tracking: str) -> dict[str, Any]:
    """Saves get_model() in a new folder as an MLflow model; `tracking` is on the path from here on.

    :raises FaultError: SAVE, or what get_model() raised
    """
    module_name, argument = _FLAVORS[flavor]
    if tracking and tracking not in sys.path:
        # Behind everything: the model is saved by the very packages that it was trained with.
        sys.path.append(tracking)
        importlib.invalidate_caches()
    subject = model.get_model()
    try:
        module = importlib.import_module(module_name)
        module.save_model(path=folder, **{argument: subject})
    except Exception as error:
        raise FaultError(WorkerFault.SAVE, f"mlflow.{flavor}: {type(error).__name__}: {error}") from None
    return {"signature": None}
