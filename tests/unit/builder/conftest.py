"""Folders of files for the parsers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MODEL = """class ModelManager:
    def set_model_data(self): ...
    def get_model(self): ...
    def get_model_parameters(self): ...
    def set_model_parameters(self, parameters): ...
    def fit_model(self): ...
    def evaluate_model(self): ...
"""
DATA = """class DataManager:
    def get_data(self): ...
"""

Write = Callable[[dict[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files below a folder and returns it."""

    def make(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


@pytest.fixture
def model() -> str:
    return MODEL


@pytest.fixture
def data() -> str:
    return DATA
