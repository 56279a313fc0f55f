"""What a worker is started with."""

from __future__ import annotations

from pathlib import Path

from flops_mlrepo.host import WorkerSettings


def test_the_programs_of_a_conda_prefix_come_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("FLOPS_PACKAGES", "not the code's business")
    settings = WorkerSettings(python="python3", mlenv=Path("/e"), code=Path("/c"), prefix=tmp_path / "mlenv")
    environment = settings.environment(tmp_path)
    assert environment["PATH"] == f"{tmp_path}/mlenv/bin:/usr/bin"
    assert environment["CONDA_PREFIX"] == f"{tmp_path}/mlenv"
    assert "FLOPS_PACKAGES" not in environment


def test_without_a_prefix_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    environment = WorkerSettings(python="python3", mlenv=Path("/e"), code=Path("/c")).environment(tmp_path)
    assert environment["PATH"] == "/usr/bin"
    assert "CONDA_PREFIX" not in environment
