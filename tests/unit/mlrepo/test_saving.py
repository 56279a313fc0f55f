"""What saving needs of libraries that are older than MLflow."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from flops_mlrepo.guest.saving import complete_torch_export


@pytest.mark.parametrize("has_export", [True, False], ids=["torch-2.1", "torch-2.0"])
def test_an_older_torch_has_what_mlflow_imports(monkeypatch, has_export):
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.delitem(sys.modules, "torch.export", raising=False)
    if has_export:
        monkeypatch.setitem(sys.modules, "torch.export", ModuleType("torch.export"))
    complete_torch_export()
    from torch.export import Dim

    assert Dim is None
    monkeypatch.delitem(sys.modules, "torch.export")


def test_a_newer_torch_keeps_its_own(monkeypatch):
    export = ModuleType("torch.export")
    export.Dim = object()
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "torch.export", export)
    complete_torch_export()
    assert sys.modules["torch.export"].Dim is export.Dim
