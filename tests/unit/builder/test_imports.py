"""What the code imports and no package brings."""

from __future__ import annotations

import pytest
from flops_builder.dependencies.imports import missing_imports, project_of, with_offer
from flops_protocol.errors import FlopsError


def test_modules_are_found_in_all_their_forms(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "single.py").touch()
    (tmp_path / "compiled.cpython-311-x86_64-linux-gnu.so").touch()
    imports = {"package": "a.py:1", "single": "a.py:2", "compiled": "a.py:3", "cv2": "model_manager.py:4"}
    assert missing_imports(tmp_path, imports, "conda.yaml") == [
        "model_manager.py:4: cv2 is imported, and no package brings it; add opencv-python to conda.yaml"
    ]


@pytest.mark.parametrize(
    ("module", "project"),
    [("sklearn", "scikit-learn"), ("PIL", "pillow"), ("yaml", "pyyaml"), ("my_tool", "my-tool"), ("torch", "torch")],
)
def test_the_project_of_a_module(module, project):
    assert project_of(module) == project


def test_the_smoke_rounds_error_says_what_to_add():
    error = FlopsError("FLOPS-B030", "ModuleNotFoundError: No module named 'sklearn'", file="model_manager.py", line=3)
    body = with_offer(error, "pyproject.toml").body
    assert body.hint == "Add scikit-learn to pyproject.toml, if that package is the one that brings it."
    assert (body.code, body.file, body.line) == ("FLOPS-B030", "model_manager.py", 3)
    other = FlopsError("FLOPS-B030", "ValueError: 3")
    assert with_offer(other, "pyproject.toml") is other
