"""The learner's data, under FLOps's older names."""

from typing import Any

from flops_mlrepo.data import load_dataset as load_dataset


def load_ml_data() -> Any:
    """The learner's share as a Hugging Face dataset whose columns are NumPy arrays, as the repositories that know this
    name expect it."""
    return load_dataset().with_format("numpy")
