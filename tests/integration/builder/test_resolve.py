"""Locks from the index, with uv as it is."""

from __future__ import annotations

import os

import pytest
from flops_builder.dependencies.declaration import requirement
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.relax import Relaxation, Resolution
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target, Uv
from packaging.version import Version

AMD64 = Target("linux/amd64", "3.11", "2.28")
ARM64 = Target("linux/arm64", "3.11", "2.28")


@pytest.fixture
def resolve(tmp_path):
    """Resolves requirements for some targets."""

    async def one(*texts: str, targets: tuple[Target, ...] = (AMD64,)) -> Resolution:
        uv = Uv(site_index(os.environ, tmp_path), 60)
        resolver = Resolver(uv, LockStore(tmp_path / "locks", 1), tmp_path)
        wanted = tuple(requirement(text, "requirements.txt", line) for line, text in enumerate(texts, 1))
        return await Relaxation(JointResolver(resolver, Request(wanted, (), targets))).resolve()

    return one


async def test_a_project_around_the_cache_has_no_say(resolve, tmp_path):
    """`flops up` keeps its state in the folder that it is started in, which may be a project with its own pins."""
    outer = '[project]\nname = "outer"\nversion = "0"\n[tool.uv]\nconstraint-dependencies = ["packaging==24.0"]\n'
    (tmp_path / "pyproject.toml").write_text(outer)
    (lock,) = (await resolve("packaging==23.2")).locks.values()
    assert lock.versions == {"packaging": "23.2"}


async def test_a_release_from_before_numpy_2_gets_numpy_1(resolve):
    resolution = await resolve("pandas==2.0.3", targets=(AMD64, ARM64))
    for lock in resolution.locks.values():
        assert lock.versions["pandas"] == "2.0.3"
        assert Version(lock.versions["numpy"]) < Version("2")
    (repair,) = resolution.repairs
    assert str(repair) == "[numpy-1] numpy<2 added: pandas==2.0.3 came out before NumPy 2 and does not run with it"


async def test_the_guests_datasets_beside_an_old_pin(resolve):
    """A FLOps repository that pins tqdm of 2023, which only a `datasets` from before NumPy 2 takes."""
    resolution = await resolve("tqdm==4.65.0", "datasets>=2.15,<4", "numpy>=1.21")
    (lock,) = resolution.locks.values()
    assert Version(lock.versions["datasets"]) < Version("2.21")
    assert Version(lock.versions["numpy"]) < Version("2")


async def test_numpy_2_that_is_asked_for_stays_and_the_trouble_is_told(resolve):
    resolution = await resolve("pandas==2.0.3", "numpy==2.2.0")
    (lock,) = resolution.locks.values()
    assert lock.versions["numpy"] == "2.2.0"
    assert not resolution.repairs
    assert any("pandas==2.0.3 came out before NumPy 2" in each for each in resolution.warnings)


async def test_a_release_that_wants_pkg_resources_gets_it(resolve):
    """FLOps's first repository imports mlflow 2.12, which takes pkg_resources for granted."""
    resolution = await resolve("mlflow-skinny==2.12.1")
    (lock,) = resolution.locks.values()
    assert Version(lock.versions["setuptools"]) < Version("82")
    assert [repair.rule for repair in resolution.repairs] == ["pkg-resources"]


async def test_setuptools_that_is_pinned_stays(resolve):
    resolution = await resolve("setuptools>=82")
    (lock,) = resolution.locks.values()
    assert Version(lock.versions["setuptools"]) >= Version("82")
    assert not resolution.repairs
    assert "setuptools<82 does not fit the others" in resolution.warnings[0]


async def test_nothing_is_added_where_all_fit(resolve):
    resolution = await resolve("pandas>=2.2.2", "numpy")
    assert not resolution.repairs
    assert not resolution.warnings
