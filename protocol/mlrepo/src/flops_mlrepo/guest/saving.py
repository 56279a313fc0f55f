"""Saving the model by its MLflow flavor."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import flops_mlrepo
from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.guest.faults import FaultError
from flops_mlrepo.guest.model import Model
from flops_mlrepo.guest.signature import Signature, find_signature

# MLflow's module of each flavor, the name of the model in its save_model(), and the ways to write it, best first.
_FLAVORS: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    # skops reads back without running code; it does not know every class, pickle does.
    "sklearn": (
        "mlflow.sklearn",
        "sk_model",
        [{"serialization_format": "skops"}, {"serialization_format": "cloudpickle"}],
    ),
    # The other format of this flavor traces the model on an example, and there is none.
    "pytorch": ("mlflow.pytorch", "pytorch_model", [{"serialization_format": "pickle"}]),
    "keras": ("mlflow.keras", "model", [{}]),
    "tensorflow": ("mlflow.tensorflow", "model", [{}]),
}


def save_model(model: Model, mlenv: str, code: str, folder: str, flavor: str, tracking: str) -> dict[str, Any]:
    """Saves get_model() in a new folder as an MLflow model; `tracking` is on the path from here on.

    With it go the modules of the repository that are loaded, for classes of the user's own, and the exact versions of
    everything in the environment.

    :returns: `signature`, `signature_from`, `serialization` and `requirements`
    :raises FaultError: SAVE, or what get_model() raised
    """
    if tracking and tracking not in sys.path:
        # Behind everything: the model is saved by the very packages that it was trained with.
        sys.path.append(tracking)
        importlib.invalidate_caches()
    subject = model.get_model()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    module_name, argument, ways = _FLAVORS[flavor]
    if flavor == "pytorch":
        complete_torch_export()
    try:
        module = importlib.import_module(module_name)
        found = find_signature(model.manager, subject, flavor)
        signature = _as_mlflow(found)
    except Exception as error:
        raise _fault(flavor, error) from None
    requirements = _requirements([mlenv, tracking])
    arguments = {
        argument: subject,
        "path": folder,
        "signature": signature,
        "code_paths": _code_paths(code),
        # Given, so that MLflow does not load the model in a further process to find them.
        "pip_requirements": requirements,
    }
    way = _save(module.save_model, arguments, ways, flavor)
    return {
        "signature": None if signature is None else signature.to_dict(),
        "signature_from": found.source,
        "serialization": way.get("serialization_format", "keras"),
        "requirements": requirements,
    }


def complete_torch_export() -> None:
    """Gives an older PyTorch the name that MLflow imports in any case, and uses only for a format that is not ours.

    `torch.export` came with PyTorch 2.1, its `Dim` with 2.2 (their release notes).
    """
    try:
        module = importlib.import_module("torch.export")
    except ImportError:
        module = sys.modules["torch.export"] = ModuleType("torch.export")
    if not hasattr(module, "Dim"):
        setattr(module, "Dim", None)  # noqa: B010 - mypy knows that a module has no such name


def rehearse_saving(model: Model, mlenv: str, code: str, flavor: str, tracking: str) -> dict[str, Any]:
    """Saves the model as it is, and throws the result away.

    So it is known early whether the model can be saved, and everything that this takes is imported.
    """
    with tempfile.TemporaryDirectory() as folder:
        return save_model(model, mlenv, code, str(Path(folder, "model")), flavor, tracking)


def _save(save: Any, arguments: dict[str, Any], ways: list[dict[str, Any]], flavor: str) -> dict[str, Any]:
    """Saves in the first of the ways that works, and returns it.

    :raises FaultError: SAVE, of the last one
    """
    way, *others = ways
    try:
        save(**_known(save, {**arguments, **way}))
    except Exception as error:
        shutil.rmtree(arguments["path"], ignore_errors=True)
        if not others:
            raise _fault(flavor, error) from None
    else:
        return way
    return _save(save, arguments, others, flavor)


def _known(save: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those arguments that this flavor knows, in this version of MLflow."""
    names = inspect.signature(save).parameters
    return {name: value for name, value in arguments.items() if name in names}


def _as_mlflow(found: Signature) -> Any:
    """MLflow's object, or None. Not by MLflow's own inference, which turns whatever it stumbles over into "any"."""
    if found.own is not None or found.inputs is None:
        return found.own
    # By name: MLflow is nothing that this package depends on, it is there when a model is saved.
    schema = importlib.import_module("mlflow.types.schema")
    schemas = [
        None if kind is None else schema.Schema([schema.TensorSpec(np.dtype(kind[0]), kind[1])])
        for kind in (found.inputs, found.outputs)
    ]
    return importlib.import_module("mlflow.models").ModelSignature(inputs=schemas[0], outputs=schemas[1])


def _fault(flavor: str, error: Exception) -> FaultError:
    text = f"saving with MLflow's flavor {flavor} failed: {type(error).__name__}: {error}"
    if error.__cause__ is not None:
        text += f" ({error.__cause__})"
    return FaultError(WorkerFault.SAVE, text)


def _code_paths(code: str) -> list[str]:
    """The repository's modules that are loaded, and ours that they may import."""
    roots = [Path(code), Path(code, "src")]
    found = {
        str(path)
        for path in (Path(flops_mlrepo.__file__).parent, Path(flops_mlrepo.__file__).parent.parent / "flops_utils")
    }
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or "." in name:
            continue
        path = Path(file)
        place = path.parent if path.name == "__init__.py" else path
        if place.parent in roots:
            found.add(str(place))
    return sorted(found)


def _requirements(folders: list[str]) -> list[str]:
    """`name==version` of every package in these folders, the first one's version where several have it."""
    versions: dict[str, str] = {}
    for folder in folders:
        for distribution in importlib.metadata.distributions(path=[folder]) if folder else ():
            name = distribution.metadata["Name"]
            if name:
                versions.setdefault(name.lower().replace("_", "-"), f"{name}=={distribution.version}")
    return [versions[name] for name in sorted(versions) if not name.startswith("flops-")]
