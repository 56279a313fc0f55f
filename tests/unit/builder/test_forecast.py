"""The parts of a forecast that need no index: history, sizes, and every mistake that reading finds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from flops_builder.dependencies.imports import foreseen_missing
from flops_builder.history import FIRST_SECONDS, History, Took
from flops_builder.plan import mistakes
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.sizes import Sizes, read_sizes, wheel_sizes
from flops_builder.resolve.uv import Target
from flops_builder.source.checkout import Checkout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TARGET = Target("linux/amd64", "3.11", "2.28")
LOCK = Lock("numpy==1.26.4 \\\n    --hash=sha256:aa\nown==1 \\\n    --hash=sha256:bb\n")
DESCRIBED = """
[[packages]]
name = "numpy"
wheels = [{{ url = "https://example.org/numpy.whl", size = 1000 }}]
[[packages]]
name = "own"
wheels = [{{ url = "{place}" }}]
"""


@dataclass
class Describing:
    """What uv says of a lock."""

    text: str | None
    asked: int = 0

    async def describe(self, lock, target, folder):
        self.asked += 1
        return self.text


def test_history_is_kept_by_kind_and_number_of_platforms(tmp_path):
    history = History(tmp_path / "history")
    assert history.last("new", 1) is None
    assert history.expected("kept", 1) == FIRST_SECONDS["kept"]
    history.note("new", 1, Took(12.5, {"clone": 0.5}))
    assert history.last("new", 1) == Took(12.5, {"clone": 0.5})
    assert history.last("new", 2) is None
    assert history.last("kept", 1) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_a_history_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / "new-1.json").write_bytes(content)
    assert History(tmp_path).last("new", 1) is None


async def test_sizes_come_from_the_index_and_from_local_files_and_are_kept(tmp_path):
    wheel = tmp_path / "own-1-py3-none-any.whl"
    wheel.write_bytes(b"x" * 24)
    uv = Describing(DESCRIBED.format(place=wheel.as_uri()))
    for _ in range(2):
        sizes = await wheel_sizes(uv, LOCK, TARGET, tmp_path / "sizes", tmp_path)
        assert (sizes.known, sizes.unknown) == (1024, 0)
    assert uv.asked == 1


@pytest.mark.parametrize("said", [None, "no toml =", "[[packages]]\nversion = 1\n", "packages = 3"])
async def test_what_nobody_tells_is_unknown(tmp_path, said):
    sizes = await wheel_sizes(Describing(said), LOCK, TARGET, tmp_path / "sizes", tmp_path)
    assert (sizes.known, sizes.unknown) == (None, 2)


@given(st.text(max_size=200))
def test_whatever_is_said_of_wheels_is_read(said):
    sizes = Sizes(dict.fromkeys(LOCK.versions) | read_sizes(said))
    assert sizes.unknown == 2


def test_imports_that_no_package_of_the_lock_brings():
    imports = dict.fromkeys(["numpy", "sklearn", "cv2", "own_module", "tensorflow", "own"], "model_manager.py:1")
    lock = Lock("numpy==1\ntensorflow-cpu==2\nopencv-python-headless==4\n")
    assert foreseen_missing(lock, imports, "requirements.txt") == [
        "model_manager.py:1: sklearn is imported, and scikit-learn is not among the packages; add scikit-learn to "
        "requirements.txt"
    ]


def test_every_mistake_that_reading_finds(write):
    folder = write({
        "requirements.txt": "numpy=>1\n",
        "model_manager.py": "class ModelManager:\n    def get_model(self): ...\n",
        "data_manager.py": "def DataManager(): ...\n",
    })  # fmt: skip
    declaration, found = mistakes(Checkout(folder, folder, 3, 1, []), ["3.11"])
    assert declaration is None
    assert [(each.body.code, each.body.file, each.body.line) for each in found] == [
        ("FLOPS-B021", "requirements.txt", 1),
        ("FLOPS-B012", "model_manager.py", 1),
        ("FLOPS-B012", "data_manager.py", 1),
    ]
