"""Workers on fixture repositories, with this interpreter's environment as the repository's."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flops_mlrepo.host import MlWorker, WorkerSettings, guest_folder, open_worker
from pyarrow import parquet

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "mlrepos"

OpenFixture = Callable[..., AbstractAsyncContextManager[MlWorker]]


@pytest.fixture
def output() -> list[tuple[str, str]]:
    """What the code printed."""
    return []


@pytest.fixture
def settings_of() -> Callable[..., WorkerSettings]:
    def make(case: str | Path, **changes: Any) -> WorkerSettings:
        values = {
            "python": sys.executable,
            "mlenv": Path(sysconfig.get_paths()["purelib"]),
            "code": FIXTURES / case,
            "guest": guest_folder(),
            "threads": 1,
        }
        return WorkerSettings(**{**values, **changes})

    return make


@pytest.fixture
def open_fixture(output: list[tuple[str, str]], settings_of: Callable[..., WorkerSettings]) -> OpenFixture:
    """Opens a worker on a fixture repository by its name."""

    def make(case: str | Path, **changes: Any) -> AbstractAsyncContextManager[MlWorker]:
        return open_worker(settings_of(case, **changes), lambda stream, line: output.append((stream, line)))

    return make


@pytest.fixture
def line_data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "line").mkdir(parents=True)
    x = np.linspace(-1, 1, 101)
    parquet.write_table(pa.table({"x": x[:40], "y": 3 * x[:40] + 0.5}), folder / "line" / "a.parquet")
    parquet.write_table(pa.table({"x": x[40:], "y": 3 * x[40:] + 0.5}), folder / "line" / "b.parquet")
    return folder
