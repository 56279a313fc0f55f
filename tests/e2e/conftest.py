"""One mesh for all tests that do not break it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.harness import Up, share


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Points on a line: what the small repositories of the tests train on."""
    path = tmp_path_factory.mktemp("data") / "numbers.parquet"
    x = [index / 40 for index in range(40)]
    pq.write_table(pa.table({"x": x, "y": [3 * value - 1 for value in x]}), path)
    return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the meshes of the tests build and unpack, for all of them."""
    path = tmp_path_factory.mktemp("shared")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, numbers: Path, shared: Path) -> Iterator[Up]:
    """A mesh with data under the tag `numbers`. Nothing of it may be left when it ends."""
    up = Up(tmp_path_factory.mktemp("mesh"), environment={"FLOPS_ALLOW_HTTP": "true"})
    share(up.state, shared)
    added = up.flops("data", "add", "--tag", "numbers", str(numbers))
    assert added.code == 0, added.err
    up.start()
    yield up
    assert up.end() == 0
    assert up.left() == []
    shutil.rmtree(up.state)
