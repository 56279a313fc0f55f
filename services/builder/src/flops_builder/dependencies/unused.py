"""Big packages that a file asks for, the code does not import, and no other package needs: told, not taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flops_builder.dependencies.declaration import Requirement
from flops_builder.dependencies.repairs import Imports, imported
from flops_builder.dependencies.rules import Rule
from flops_builder.resolve.lock import Lock

HEAVY = frozenset(
    {
        *("torch", "torchvision", "torchaudio", "tensorflow", "jax", "jaxlib", "keras"),
        *("xgboost", "lightgbm", "catboost", "pyspark", "ray", "dask", "transformers", "onnxruntime", "spacy", "h2o"),
        *("jupyter", "jupyterlab", "notebook", "ipykernel", "ipython", "streamlit", "gradio", "bokeh", "plotly"),
        *("opencv-python-headless", "opencv-contrib-python-headless", "scikit-image", "mxnet", "mlflow"),
    }
)
"""Packages that have, with what they bring, tens of megabytes or more."""
MEGABYTE = 1_000_000


def unused(
    requirements: Sequence[Requirement],
    imports: Imports,
    lock: Lock,
    off: frozenset[Rule],
    sizes: Mapping[str, int | None] | None = None,
) -> list[str]:
    """One warning for each such package, with its place, and with its size where that is known.

    A package may be there for a reason that reading does not show: as another's plug-in, or imported by its name.

    :param sizes: bytes of wheels by package
    """
    if Rule.UNUSED in off:
        return []
    names = [each.name for each in requirements]
    warnings = []
    for each in requirements:
        if each.name not in HEAVY or imported(each.name, imports) or lock.wanted_by(each.name):
            continue
        alone = lock.closure(each.name).difference(*(lock.closure(name) for name in names if name != each.name))
        known = sum((sizes or {}).get(name) or 0 for name in alone)
        size = f" and {known / MEGABYTE:.0f} MB of wheels" if known else ""
        place = f"{each.file}:{each.line}" if each.line else each.file
        number = f"{len(alone)} package{'' if len(alone) == 1 else 's'}"
        warnings.append(
            f"{place}: the code does not import {each.name}, and no other package needs it; without it the image "
            f"has {number}{size} less"
        )
    return warnings
