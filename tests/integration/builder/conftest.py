"""Builds of small repositories, with one cache for all of them: what packages cost is paid once."""

from __future__ import annotations

import importlib.metadata
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flops_builder.image.runtime import find_runtime
from flops_builder.settings import BuilderSettings

from tests.integration.builder.bench import Bench, Repository

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "repos"


@pytest.fixture(scope="session")
def builder_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builder-cache")


@pytest.fixture(scope="session")
def runtime_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of our own packages, as they were when the tests began."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in find_runtime(None, folder).packages:
        name = package.name.replace("-", "_")
        metadata = importlib.metadata.distribution(package.name).read_text("METADATA")
        with zipfile.ZipFile(folder / f"{name}-{package.version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}-{package.version}.dist-info/METADATA", metadata or "")
            for module, source in package.folders.items():
                for file in sorted(source.rglob("*")):
                    if file.is_file() and "__pycache__" not in file.parts:
                        wheel.write(file, f"{module}/{file.relative_to(source).as_posix()}")
    return folder


@pytest.fixture
def bench(builder_cache: Path, runtime_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Builds without an engine, though this machine may have one: the tests of engines say which."""
    monkeypatch.setenv("FLOPS_ENGINE_BUILDS", "no")
    settings = BuilderSettings(cache_dir=builder_cache, runtime_wheels=runtime_wheels)
    return Bench(settings, tmp_path / "registry")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return Repository(tmp_path / "repository")


@pytest.fixture
def fixture_repository(tmp_path: Path) -> Callable[[str], tuple[Repository, str]]:
    """A repository made of a folder of tests/fixtures/repos, and its commit."""

    def make(name: str) -> tuple[Repository, str]:
        repository = Repository(tmp_path / name)
        shutil.copytree(FIXTURES / name, repository.folder, dirs_exist_ok=True)
        return repository, repository.commit({})

    return make
