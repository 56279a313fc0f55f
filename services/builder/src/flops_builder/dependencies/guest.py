"""What the `flops_mlrepo` guest needs beside the repository's own packages, depending on what the code uses of it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from flops_builder.dependencies.declaration import Repair, Requirement, requirement
from flops_builder.dependencies.rules import Rule

NUMPY = "numpy>=1.21"
# pyarrow 26 refuses to be imported beside NumPy 1, which its metadata does not say: no resolver can know.
PYARROW = "pyarrow<26"
# FLOps repositories were written for datasets 2 and 3, where a column is a list; in 4 it is an object of its own.
# Releases before 2.15 cannot be imported beside a pyarrow of today.
DATASETS = "datasets>=2.15,<4"
NEEDS = {
    "load_table": (PYARROW,),
    "load_arrays": (PYARROW, "pillow"),
    "load_dataset": (DATASETS, PYARROW, "pillow"),
    "load_ml_data": (DATASETS, PYARROW, "pillow"),
}
"""By the load function that the code uses."""
FLOPS_IMAGES = {"flwr": "flwr", "flwr_datasets": "flwr-datasets"}
"""What FLOps's images had beside the repository's own packages: code that was written for them imports it unasked."""
WHERE = "flops_mlrepo"


def guest_requirements(
    requirements: tuple[Requirement, ...], loaders: AbstractSet[str], imports: AbstractSet[str]
) -> tuple[tuple[Requirement, ...], tuple[Repair, ...]]:
    """The requirements with what the guest needs added, each with its reason; what is asked for stays as it is.

    :param loaders: the guest's load functions that the code uses
    :param imports: the top-level modules that the code imports
    """
    named = {each.name for each in requirements}
    added: dict[str, tuple[Requirement, Repair]] = {}
    needs = [(NUMPY, "parameters travel as NumPy arrays")]
    needs += [(text, f"the code uses {loader}()") for loader in sorted(loaders) for text in NEEDS[loader]]
    needs += [(FLOPS_IMAGES[name], f"the code imports {name}") for name in sorted(FLOPS_IMAGES.keys() & imports)]
    for text, why in needs:
        new = requirement(text, WHERE)
        if new.name not in named:
            added.setdefault(new.name, (new, Repair(Rule.GUEST_NEEDS, "", text, why)))
    return requirements + tuple(each for each, _ in added.values()), tuple(each for _, each in added.values())
