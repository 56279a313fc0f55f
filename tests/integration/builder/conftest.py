"""Builds of small repositories, with one cache for all of them: what packages cost is paid once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flops_builder.settings import BuilderSettings

from tests.integration.builder.bench import Bench, Repository

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "repos"


@pytest.fixture(scope="session")
def builder_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builder-cache")


@pytest.fixture
def bench(builder_cache: Path, tmp_path: Path) -> Bench:
    return Bench(BuilderSettings(cache_dir=builder_cache), tmp_path / "registry")


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
