"""What cannot be built: typed errors with file and line, and nothing left in the registry."""

from __future__ import annotations

import pytest
from flops_builder.build import build
from flops_protocol.errors import FlopsError

pytestmark = pytest.mark.timeout(300)

DATA = "class DataManager:\n    def get_data(self):\n        return None\n"
MODEL = """import numpy as np


class ModelManager:
    def __init__(self):
        self.weights = np.zeros(3)

    def set_model_data(self):
        pass

    def get_model(self):
        return self.weights

    def get_model_parameters(self):
        return [self.weights]

    def set_model_parameters(self, parameters):
        (self.weights,) = parameters

    def fit_model(self):
        return 1

    def evaluate_model(self):
        return 0.5, 0.5, 1
"""
CONFLICT = "scipy==1.13.0\nnumpy==2.4.0\n"
NOT_MOVED = '[dependencies]\nfile = "requirements.txt"\nrepairs-off = ["conflict"]\n'
PLAIN = {"model_manager.py": MODEL, "data_manager.py": DATA, "requirements.txt": "numpy\n"}


async def refused(bench, repository, files, **more):
    commit = repository.commit({name: text for name, text in (PLAIN | files).items() if text is not None})
    with pytest.raises(FlopsError) as caught:
        await bench.build(repository, commit, **more)
    assert not (bench.registry / "index.json").exists()
    assert not list((bench.settings.cache_dir / "work").glob("*"))
    return caught.value.body


@pytest.mark.parametrize(
    ("files", "code", "file", "line"),
    [
        ({"model_manager.py": None}, "FLOPS-B010", "model_manager.py", None),
        ({"data_manager.py": None}, "FLOPS-B010", "data_manager.py", None),
        ({"model_manager.py": MODEL + "def (\n"}, "FLOPS-B011", "model_manager.py", 25),
        ({"model_manager.py": MODEL.replace("fit_model", "fit")}, "FLOPS-B012", "model_manager.py", 4),
        ({"requirements.txt": None}, "FLOPS-B020", None, None),
        ({"requirements.txt": "numpy\nnumpy==\n"}, "FLOPS-B021", "requirements.txt", 2),
        ({"requirements.txt": "numpy\nscikit-lern\n"}, "FLOPS-B022", "requirements.txt", 2),
        ({"requirements.txt": CONFLICT, "flops.toml": NOT_MOVED}, "FLOPS-B022", "requirements.txt", 1),
        ({"requirements.txt": "numpy\npywin32\n"}, "FLOPS-B023", "requirements.txt", 2),
        ({"requirements.txt": "numpy\na @ git+https://127.0.0.1:9/a\n"}, "FLOPS-B008", "requirements.txt", 2),
        ({"environment.yml": "dependencies:\n- python=2.7\n"}, "FLOPS-B024", "environment.yml", 2),
    ],
)
async def test_before_anything_is_installed(bench, repository, files, code, file, line):
    body = await refused(bench, repository, files)
    assert (body.code, body.file, body.line) == (code, file, line)


async def test_a_conflict_is_explained(bench, repository):
    body = await refused(bench, repository, {"requirements.txt": CONFLICT, "flops.toml": NOT_MOVED})
    assert "scipy==1.13.0 needs numpy" in body.detail
    assert "but numpy==2.4.0 (requirements.txt:2) is asked for" in body.detail
    assert "numpy==2.4.0 (requirements.txt:2) →" in body.detail
    assert "scipy==1.13.0 (requirements.txt:1) →" in body.detail


async def test_a_package_without_a_wheel_is_named_with_platform_and_python(bench, repository):
    body = await refused(bench, repository, {"requirements.txt": "pywin32\n"}, supported_platforms=["linux/arm64"])
    assert "pywin32 has no wheel for linux/arm64, Python 3.11" in body.detail


async def test_source_code_where_nothing_is_built(bench, repository):
    bench.settings = bench.settings.model_copy(update={"build_wheels": False})
    for wanted in ("a @ git+https://127.0.0.1:9/a", "docopt==0.6.2"):
        body = await refused(bench, repository, {"requirements.txt": f"numpy\n{wanted}\n"})
        assert (body.code, body.line) == ("FLOPS-B023", 2)


async def test_what_needs_an_engine_where_none_answers(bench, repository, tmp_path):
    bench.settings = bench.settings.model_copy(update={"engine_builds": True, "engine": f"unix://{tmp_path}/none.sock"})
    body = await refused(bench, repository, {"Dockerfile": "FROM scratch\n", "requirements.txt": None})
    assert (body.code, body.file) == ("FLOPS-B060", "Dockerfile")
    assert "cannot be assembled from wheels" in body.detail


@pytest.mark.parametrize("file", ["Dockerfile", "binder/apt.txt"])
async def test_what_could_use_an_engine_where_none_answers(bench, repository, tmp_path, file):
    bench.settings = bench.settings.model_copy(update={"engine_builds": True, "engine": f"unix://{tmp_path}/none.sock"})
    content = "FROM scratch\n" if file == "Dockerfile" else "hello\n"
    outcome = await bench.build(repository, repository.commit(PLAIN | {file: content}))
    assert any(each.startswith(f"{file} does not count, the dependency file does") for each in outcome.warnings)


async def test_a_dockerfile_that_does_not_count(bench, repository):
    bench.settings = bench.settings.model_copy(update={"engine_builds": False})
    outcome = await bench.build(repository, repository.commit(PLAIN | {"Dockerfile": "FROM scratch\n"}))
    assert any("Dockerfile does not count" in each for each in outcome.warnings)


async def test_an_index_that_does_not_answer(bench, repository, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    body = await refused(bench, repository, {})
    assert body.code == "FLOPS-B025"


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("self.weights = np.zeros(3)", "self.weights = np.zeros(nobody)", "FLOPS-B030", 6),
        ("import numpy as np", "import numpy as np, nothing_of_that_name", "FLOPS-B030", 1),
        ("return [self.weights]", "return {'a': self.weights}", "FLOPS-B031", None),
        ("(self.weights,) = parameters", "self.weights = parameters[0][:2]", "FLOPS-B032", None),
        ("self.weights = np.zeros(3)", "import time; time.sleep(600)", "FLOPS-B033", None),
        ("self.weights = np.zeros(3)", "import os; os._exit(3)", "FLOPS-B034", None),
        ("self.weights = np.zeros(3)", "self.weights = np.ones(60_000_000)", "FLOPS-B035", None),
    ],
)
async def test_in_the_smoke_round(bench, repository, old, new, code, line):
    bench.settings = bench.settings.model_copy(update={"smoke_seconds": 10.0, "smoke_memory_bytes": 200_000_000})
    body = await refused(bench, repository, {"model_manager.py": MODEL.replace(old, new)})
    assert body.code == code
    if line is not None:
        assert (body.file, body.line) == ("model_manager.py", line)


async def test_what_the_code_prints_is_told(bench, repository):
    text = MODEL.replace("self.weights = np.zeros(3)", "print('here we are'); raise RuntimeError('no')")
    body = await refused(bench, repository, {"model_manager.py": text})
    assert "no" in body.detail
    assert ("code", "here we are") in bench.recorder.lines


async def test_a_registry_of_another_kind(bench, repository):
    spec, command = bench.order(repository, repository.commit(PLAIN))
    with pytest.raises(FlopsError) as caught:
        await build(spec, command.model_copy(update={"registry": "ftp://a"}), bench.settings, bench.recorder)
    assert caught.value.body.code == "FLOPS-B041"


async def test_a_registry_that_cannot_be_written(bench, repository):
    bench.registry.write_text("a file where a folder should be")
    commit = repository.commit(PLAIN)
    with pytest.raises(FlopsError) as caught:
        await bench.build(repository, commit)
    assert caught.value.body.code == "FLOPS-B041"


async def test_a_damaged_index_is_told_and_kept(bench, repository):
    bench.registry.mkdir()
    (bench.registry / "index.json").write_text("{")
    commit = repository.commit(PLAIN)
    with pytest.raises(FlopsError) as caught:
        await bench.build(repository, commit)
    assert caught.value.body.code == "FLOPS-B041"
    assert (bench.registry / "index.json").read_text() == "{"
