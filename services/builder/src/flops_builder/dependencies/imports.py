"""What the code imports, held against what the environment has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from flops_protocol.errors import FlopsError
from packaging.utils import canonicalize_name

from flops_builder.dependencies.names import IMPORTED_AS, RENAMED
from flops_builder.resolve.lock import Lock

NO_MODULE = re.compile(r"No module named '([A-Za-z_][A-Za-z0-9_]*)")
PROJECT_OF = {
    module: project for project, module in IMPORTED_AS.items() if not project.startswith(("mlflow-", "flops-"))
}
KNOWN = PROJECT_OF.keys() | frozenset(
    {
        *("numpy", "pandas", "scipy", "matplotlib", "seaborn", "statsmodels", "polars", "pyarrow", "h5py", "joblib"),
        *("torch", "torchvision", "torchaudio", "pytorch_lightning", "timm", "tensorflow", "keras", "jax", "flax"),
        *("xgboost", "lightgbm", "catboost", "transformers", "datasets", "tokenizers", "spacy", "nltk", "gensim"),
        *("requests", "tqdm", "numba", "sympy", "networkx", "plotly", "albumentations", "flwr"),
    }
)
"""Modules of which it is known that no other project brings them."""


def missing_imports(environment: Path, imports: Mapping[str, str], file: str) -> list[str]:
    """What the code imports and no package brings, each with its place and what to add. Blocks for some `stat`s.

    A warning, not an error: an import may stand where it is never reached.

    :param imports: top-level modules with the place of their first import
    :param file: the dependency file
    """
    return [
        f"{place}: {module} is imported, and no package brings it; {offer(module, file)}"
        for module, place in sorted(imports.items())
        if not _is_there(environment, module)
    ]


def foreseen_missing(lock: Lock, imports: Mapping[str, str], file: str) -> list[str]:
    """What `missing_imports` will say, as far as a lock alone tells: of modules that only one project brings.

    :param imports: top-level modules with the place of their first import
    :param file: the dependency file
    """
    return [
        f"{place}: {module} is imported, and {project_of(module)} is not among the packages; {offer(module, file)}"
        for module, place in sorted(imports.items())
        if module in KNOWN and not _brings(lock, module)
    ]


def _brings(lock: Lock, module: str) -> bool:
    """Whether a package of a lock may bring a module: the project itself, or a build of it (`tensorflow-cpu`)."""
    project = canonicalize_name(project_of(module))
    return any(
        IMPORTED_AS.get(name, name.replace("-", "_")) == module or name.startswith(f"{project}-")
        for name in lock.versions
    )


def offer(module: str, file: str) -> str:
    """What to do about a module that is not there."""
    return f"add {project_of(module)} to {file}"


def project_of(module: str) -> str:
    """The project that brings a module, as far as that can be told."""
    return PROJECT_OF.get(module) or RENAMED.get(module.lower()) or module.replace("_", "-")


def with_offer(error: FlopsError, file: str) -> FlopsError:
    """The error, with what to add where it is about a module that is not there."""
    found = NO_MODULE.search(error.body.detail)
    if error.body.code != "FLOPS-B030" or found is None:
        return error
    body = error.body
    hint = f"{offer(found.group(1), file).capitalize()}, if that package is the one that brings it."
    return FlopsError(body.code, body.detail, hint=hint, file=body.file, line=body.line)


def _is_there(environment: Path, module: str) -> bool:
    place = environment / module
    return place.is_dir() or place.with_suffix(".py").is_file() or any(environment.glob(f"{module}.*.so"))
