"""Workers on fixture repositories, with this interpreter's environment as the repository's."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flops_cli.demo import digits
from flops_mlrepo.host import MlWorker, WorkerSettings, guest_files, guest_folder, open_worker
from pyarrow import parquet
from uv import find_uv_bin

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


class Environments:
    """Environments of repositories, made as the builder makes them: installed by uv into a folder, with the guest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[tuple[str, ...], Path] = {}

    def make(self, *requirements: str, behind: Path | None = None, find_links: str | None = None) -> Path:
        """A folder with these packages. With `behind` only what that environment has not, of versions that fit it."""
        key = (*requirements, str(behind))
        if key not in self._made:
            folder = self._root / f"environment-{len(self._made)}"
            _install(folder, requirements, _versions(behind), find_links)
            if behind is None:
                for name, source in guest_files():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, folder / name)
            self._made[key] = folder
        return self._made[key]


def _install(folder: Path, requirements: tuple[str, ...], there: dict[str, str], find_links: str | None) -> None:
    uv = [find_uv_bin(), "pip"]
    python = ["--python", sys.executable, "--only-binary", ":all:", "--quiet"]
    links = [] if find_links is None else ["--find-links", find_links]
    constraints = folder.with_suffix(".constraints")
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in there.items()))
    wanted = folder.with_suffix(".in")
    wanted.write_text("\n".join(requirements))
    options = [str(wanted), "--constraint", str(constraints), "--no-header", "--no-annotate"]
    lock = subprocess.run(
        [*uv, "compile", *python, *links, *options], check=True, capture_output=True, text=True
    ).stdout
    pins = [line for line in lock.splitlines() if "==" in line and line.partition("==")[0] not in there]
    install = [*uv, "install", *python, *links, "--target", str(folder), "--no-deps", *pins]
    subprocess.run(install, check=True, capture_output=True)


def _versions(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    found = importlib.metadata.distributions(path=[str(folder)])
    return {each.metadata["Name"].lower().replace("_", "-"): each.version for each in found}


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Makes environments, each once."""
    return Environments(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="session")
def mlenv(environments: Environments) -> Path:
    """The environment of a repository with scikit-learn and Hugging Face's `datasets`; shared, as it is big."""
    folder = environments.make("scikit-learn", "numpy", "datasets>=2.15,<4", "pillow")
    # The worker writes no bytecode; without any, every test compiles these anew for seconds.
    warm = f"import sys; sys.path.insert(0, {str(folder)!r}); import sklearn.linear_model, sklearn.metrics, datasets"
    subprocess.run([sys.executable, "-I", "-S", "-c", warm], check=True)
    return folder


@pytest.fixture
def digits_data(tmp_path: Path) -> Path:
    """A node's data folder with scikit-learn's digits under the tag `digits`, in three files."""
    folder = tmp_path / "data"
    (folder / "digits").mkdir(parents=True)
    digits.write(tmp_path / "digits.parquet")
    table = parquet.read_table(tmp_path / "digits.parquet")
    for index, start in enumerate((0, 500, 1001)):
        length = (500, 501, 796)[index]
        parquet.write_table(table.slice(start, length), folder / "digits" / f"{index}.parquet")
    return folder
