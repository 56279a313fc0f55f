"""The names of all repairs (docs/builder.md, "Repairs"): what changes or questions a requirement has one of these."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """A rule by the name that people read, and write into `repairs-off`."""

    CONDA_INDENTATION = "conda-indentation"
    CONDA_NAME = "conda-name"
    CONDA_BUILD = "conda-build"
    CONDA_NOT_PYTHON = "conda-not-python"
    CONDA_VERSION = "conda-version"
    PYTHON_PIN = "python-pin"
    PYTHON_PATCH = "python-patch"
    GUEST = "guest"
    GUEST_NEEDS = "guest-needs"
    INSTALLER = "installer"
    MLFLOW_OUT = "mlflow-out"
    STANDARD_LIBRARY = "standard-library"
    RENAMED = "renamed"
    HEADLESS = "headless"
    GMPY2 = "gmpy2"
    LOCAL_FILE = "local-file"
    LOCAL_VERSION = "local-version"
    OWN_PACKAGE = "own-package"
    NO_WHEEL = "no-wheel"
    YANKED = "yanked"
    CONFLICT = "conflict"
    PKG_RESOURCES = "pkg-resources"
    NUMPY_1 = "numpy-1"
    CPU_TORCH = "cpu-torch"
    UNUSED = "unused"


ALWAYS = frozenset(
    {
        Rule.CONDA_INDENTATION,
        Rule.CONDA_NAME,
        Rule.CONDA_BUILD,
        Rule.CONDA_NOT_PYTHON,
        Rule.PYTHON_PIN,
        Rule.PYTHON_PATCH,
        Rule.GUEST_NEEDS,
        Rule.OWN_PACKAGE,
    }
)
"""Without these there is nothing to read, or no image to run: they cannot be switched off."""
SWITCHED = frozenset(Rule) - ALWAYS
"""Rules that `repairs-off` may name."""
