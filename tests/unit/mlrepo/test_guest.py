"""The guest runs where the user's code does: old interpreters, and nothing but NumPy."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.host import SMOKE_CODES, TRAINING_CODES, guest_files
from flops_protocol.errors import CATALOGUE

FILES = dict(guest_files())
# Only where the code asks for data or saves a model, and never at import.
LAZY = {"pyarrow", "datasets", "PIL", "torch"}


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_the_guest_is_python_3_8(name):
    tree = ast.parse(FILES[name].read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Match)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_the_guest_imports_the_standard_library_and_numpy_only(name):
    tree = ast.parse(FILES[name].read_text())
    lazy = {node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            top = module.partition(".")[0]
            allowed = {*sys.stdlib_module_names, "numpy", "flops_mlrepo", "flops_utils"} | (
                LAZY if node in lazy else set()
            )
            assert top in allowed, f"{name}:{node.lineno} imports {module}"
            assert not module.startswith("flops_mlrepo.host"), f"{name}:{node.lineno} imports the host"


def test_the_guest_is_complete_and_without_the_host():
    assert "flops_mlrepo/worker.py" in FILES
    assert "flops_utils/ml_repo_building_blocks/flops_learner_files_proxy.py" in FILES
    assert not any("/host/" in name for name in FILES)
    assert all(isinstance(path, Path) and path.is_file() for path in FILES.values())


@pytest.mark.parametrize("codes", [SMOKE_CODES, TRAINING_CODES])
def test_every_fault_has_an_error_of_the_catalogue(codes):
    assert set(codes) == set(WorkerFault)
    assert set(codes.values()) <= set(CATALOGUE)
