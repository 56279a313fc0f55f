"""Environments that PyPI cannot serve, from a channel in a folder."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from flops_builder.settings import BuilderSettings
from flops_protocol.errors import FlopsError
from rattler.index import index_fs

from tests.conda.channel import MINOR, make_channel
from tests.conda.packages import Package
from tests.integration.builder.test_build import BOTH, blob, document, layers

pytestmark = pytest.mark.timeout(300)

MODEL = """\
import lab_signal
import numpy as np


class ModelManager:
    def __init__(self):
        self.weights = np.zeros(3) * lab_signal.scale()

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
DATA = "class DataManager:\n    def get_data(self):\n        return None\n"
ENVIRONMENT = f"""\
name: lab
channels:
  - conda-forge
dependencies:
  - python={MINOR}
  - lab-signal
  - six
  - pip:
      - python-dateutil
"""
FILES = {"model_manager.py": MODEL, "data_manager.py": DATA, "environment.yml": ENVIRONMENT}


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return anyio.run(lambda: make_channel(tmp_path_factory.mktemp("channels") / "lab", python=True))


@pytest.fixture
def conda_bench(bench: Any, channel: Path) -> Any:
    bench.settings = BuilderSettings(
        cache_dir=bench.settings.cache_dir, runtime_wheels=bench.settings.runtime_wheels, conda_channels=[str(channel)]
    )
    return bench


def read(layer: Path, name: str) -> bytes:
    with tarfile.open(layer) as archive:
        file = archive.extractfile(f"opt/flops/mlenv/{name}")
        assert file is not None
        return file.read()


def members(layer: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer) as archive:
        return {member.name.removeprefix("opt/flops/mlenv/"): member for member in archive}


def locks(registry: Path) -> dict[str, str]:
    entries = json.loads((registry / "index.json").read_text())["manifests"]
    (entry,) = [each for each in entries if "/locks:" in each["annotations"]["org.opencontainers.image.ref.name"]]
    return {
        layer["annotations"]["org.opencontainers.image.title"]: blob(registry, layer["digest"]).read_text()
        for layer in document(registry, entry["digest"])["layers"]
    }


async def test_what_pypi_does_not_have_comes_from_conda_for_both_platforms(conda_bench, repository):
    commit = repository.commit(FILES)
    outcome = await conda_bench.build(repository, commit, supported_platforms=BOTH)
    registry = conda_bench.registry

    for architecture, subdir in (("amd64", "linux64"), ("arm64", "linuxaarch64")):
        layer = layers(registry, outcome.images.learner, architecture)["mlenv"]
        inside = members(layer)
        packages = f"lib/python{MINOR}/site-packages"
        wanted = (
            "lab_signal/__init__.py",
            "six.py",
            "dateutil/__init__.py",
            "numpy/__init__.py",
            "flops_mlrepo/worker.py",
        )
        assert {f"{packages}/{each}" for each in wanted} <= inside.keys()
        assert inside["bin/python3"].linkname == f"python{MINOR}"
        # conda's own six, not installed a second time for dateutil
        assert read(layer, f"{packages}/six.py") == b"FROM_CONDA = True\n"
        assert "mlenv" not in {name.split("/")[0] for name in inside}
        # linked for its place in the image
        assert read(layer, "etc/lab.conf") == b"prefix = /opt/flops/mlenv\n"
        assert b"\0/opt/flops/mlenv/share/lab\0" in b"\0" + read(layer, "lib/liblab.so").split(b"\x7fELF\0")[1]
        # scripts find their interpreter wherever the layer is unpacked
        assert read(layer, "bin/lab-tool").startswith(b"#!/usr/bin/env perl\n")
        assert read(layer, "bin/lab-signal").startswith(f"#!/usr/bin/env python{MINOR}\n".encode()) or read(
            layer, "bin/lab-signal"
        ).startswith(b"#!/usr/bin/env python3\n")
        assert [name for name in inside if name.startswith("conda-meta/")] == ["conda-meta/history"]
        assert "post-link-ran" not in inside
        assert f"{packages}/lab_signal/__pycache__/__init__.cpython-{MINOR.replace('.', '')}.pyc" in inside
        lock = locks(registry)[f"linux-{architecture}/mlenv.txt"]
        assert f"lab-core-2.1-h{subdir}_0.tar.bz2#sha256:" in lock
        assert str(conda_bench.settings.conda_channels[0]) not in lock
        assert "python-dateutil==" in lock

    assert any("lab-core" in warning and "not run" in warning for warning in outcome.warnings)
    assert any("conda-forge is not configured" in warning for warning in outcome.warnings)
    assert "smoke" in outcome.phase_seconds
    said = [line for _, line in conda_bench.recorder.lines]
    assert any("conda brings the ML environment" in line and "lab-signal" in line for line in said)


async def test_an_image_says_which_python_its_code_wants(conda_bench, repository):
    outcome = await conda_bench.build(repository, repository.commit(FILES))
    index = document(conda_bench.registry, outcome.images.learner.digest)
    manifest = document(conda_bench.registry, index["manifests"][0]["digest"])
    variables = document(conda_bench.registry, manifest["config"]["digest"])["config"]["Env"]
    assert f"FLOPS_PYTHON=/opt/flops/mlenv/bin/python{MINOR}" in variables
    assert f"FLOPS_PACKAGES=/opt/flops/mlenv/lib/python{MINOR}/site-packages" in variables


async def test_the_bill_of_materials_names_what_conda_brought(conda_bench, repository):
    outcome = await conda_bench.build(repository, repository.commit(FILES))
    entries = json.loads((conda_bench.registry / "index.json").read_text())["manifests"]
    (entry,) = [each for each in entries if "learner-sbom" in each["annotations"]["org.opencontainers.image.ref.name"]]
    (layer,) = document(conda_bench.registry, entry["digest"])["layers"]
    components = document(conda_bench.registry, layer["digest"])["components"]
    purls = {each.get("purl") for each in components}
    assert "pkg:conda/lab-signal@1.1?build=pyh_0&subdir=noarch&type=conda" in purls
    assert len({each["bom-ref"] for each in components}) == len(components)
    assert not any(
        each["name"] == "six"
        and each.get("purl", "").startswith("pkg:pypi")
        and each["properties"][0]["value"] == "mlenv"
        for each in components
    )
    assert outcome.images.lock_digest


async def test_the_same_input_gives_the_same_digests(conda_bench, repository, tmp_path):
    commit = repository.commit(FILES)
    first = await conda_bench.build(repository, commit, supported_platforms=BOTH)
    for folder in ("conda", "environments", "layers", "locks"):
        shutil.rmtree(conda_bench.settings.cache_dir / folder)
    conda_bench.registry = tmp_path / "another-registry"
    again = await conda_bench.build(repository, commit, supported_platforms=BOTH)
    assert (
        again.images.model_dump()
        == first.images.model_copy(
            update={
                "learner": first.images.learner.model_copy(update={"registry": again.images.learner.registry}),
                "aggregator": first.images.aggregator.model_copy(update={"registry": again.images.aggregator.registry}),
            }
        ).model_dump()
    )


async def test_a_commit_keeps_its_lock(conda_bench, repository, tmp_path):
    channel = await make_channel(tmp_path / "lab", signals=("1.0",))
    conda_bench.settings = conda_bench.settings.model_copy(update={"conda_channels": [str(channel)]})
    commit = repository.commit(FILES)
    first = await conda_bench.build(repository, commit, supported_platforms=["linux/arm64"])
    await make_channel(channel, signals=("1.0", "1.1"))
    again = await conda_bench.build(repository, commit, supported_platforms=["linux/arm64"], ml_model_flavor="pytorch")
    assert ("mesh", "the locks are those of an earlier build of this commit") in conda_bench.recorder.lines
    assert again.images.image_key != first.images.image_key
    kept = layers(conda_bench.registry, first.images.learner, "arm64")["mlenv"]
    assert layers(conda_bench.registry, again.images.learner, "arm64")["mlenv"] == kept
    # Somebody who asks anew gets what is new.
    commit = repository.commit({"environment.yml": ENVIRONMENT + "# changed\n"})
    newer = await conda_bench.build(repository, commit, supported_platforms=["linux/arm64"])
    assert layers(conda_bench.registry, newer.images.learner, "arm64")["mlenv"] != kept


async def test_a_lock_of_a_channel_that_is_gone_is_not_kept(conda_bench, repository, tmp_path):
    for name in ("old", "new"):
        await make_channel(tmp_path / name)
    commit = repository.commit(FILES)
    arm = {"supported_platforms": ["linux/arm64"]}
    for name, flavor in (("old", "sklearn"), ("new", "pytorch")):
        conda_bench.settings = conda_bench.settings.model_copy(update={"conda_channels": [str(tmp_path / name)]})
        await conda_bench.build(repository, commit, ml_model_flavor=flavor, **arm)
    assert ("mesh", "the locks are those of an earlier build of this commit") not in conda_bench.recorder.lines


async def refused(bench: Any, repository: Any, files: dict[str, str | bytes | None], **more: Any) -> Any:
    with pytest.raises(FlopsError) as caught:
        await bench.build(repository, repository.commit(FILES | files), **more)
    return caught.value.body


def environment(*lines: str, pip: str = "") -> dict[str, str | bytes | None]:
    listed = "".join(f"  - {each}\n" for each in lines)
    pip = f"  - pip:\n      - {pip}\n" if pip else ""
    return {"environment.yml": f"dependencies:\n{listed}{pip}", "flops.toml": "[dependencies]\nconda = true\n"}


async def test_without_channels_the_error_says_that_there_could_be_some(bench, repository):
    body = await refused(bench, repository, {})
    assert (body.code, body.file, body.line) == ("FLOPS-B022", "environment.yml", 6)
    assert "lab-signal" in body.detail
    assert "FLOPS_CONDA_CHANNELS" in body.hint


async def test_a_version_that_no_channel_has(conda_bench, repository):
    body = await refused(conda_bench, repository, environment("python", "lab-signal>=3"))
    assert (body.code, body.file, body.line) == ("FLOPS-B050", "environment.yml", 3)
    assert body.detail == "linux/amd64: no channel has lab-signal >=3; there are 1.0, 1.1"


async def test_a_package_that_no_channel_has_and_pypi_neither(conda_bench, repository):
    body = await refused(conda_bench, repository, {"environment.yml": "dependencies:\n  - lab-signol\n"})
    assert (body.code, body.file, body.line) == ("FLOPS-B050", "environment.yml", 2)
    assert "no channel has a package lab-signol (asked: lab)" in body.detail
    assert "PyPI cannot serve it either" in body.detail


async def test_a_package_that_another_platform_has(conda_bench, repository):
    body = await refused(conda_bench, repository, environment("lab-amd64"), supported_platforms=BOTH)
    assert (body.code, body.file, body.line) == ("FLOPS-B051", "environment.yml", 2)
    assert "linux/arm64" in body.detail


async def test_packages_that_contradict_each_other(conda_bench, repository):
    body = await refused(conda_bench, repository, environment("python 3.9.*|3.8.*", "lab-signal"))
    assert body.code == "FLOPS-B050"
    body = await refused(conda_bench, repository, environment("lab-new"))
    assert (body.code, body.file, body.line) == ("FLOPS-B050", "environment.yml", 2)
    assert "__glibc" in body.detail


async def test_what_pip_is_to_bring_fits_what_conda_brings(conda_bench, repository):
    body = await refused(conda_bench, repository, environment("python", "six", pip="six==1.15.0"))
    assert (body.code, body.file, body.line) == ("FLOPS-B022", "environment.yml", 5)
    assert "conda brings six 1.16.0" in body.detail


async def test_a_channel_that_is_none(conda_bench, repository, tmp_path):
    conda_bench.settings = conda_bench.settings.model_copy(update={"conda_channels": [str(tmp_path / "nothing")]})
    body = await refused(conda_bench, repository, environment("lab-signal"))
    assert body.code == "FLOPS-B052"
    assert str(tmp_path) not in body.detail


async def test_a_package_with_other_bytes_than_the_channel_says(conda_bench, repository, tmp_path):
    channel = await make_channel(tmp_path / "forged")
    package = Package("lab-forged", subdir="linux-64", files={"share/lab-forged": b"what was indexed"})
    package.write(channel)
    await index_fs(channel)
    replace(package, files={"share/lab-forged": b"something else"}).write(channel)
    conda_bench.settings = conda_bench.settings.model_copy(update={"conda_channels": [str(channel)]})
    body = await refused(conda_bench, repository, environment("python", "lab-forged"))
    assert body.code == "FLOPS-B052"
    assert "lab-forged" in body.detail


async def test_a_build_string_of_one_platform_gives_way(conda_bench, repository):
    files = FILES | environment(f"python={MINOR}", "lab-core=2.1=hlinux64_0", "lab-signal")
    outcome = await conda_bench.build(repository, repository.commit(files), supported_platforms=BOTH)
    assert any(each.startswith("[conda-build] lab-core=2.1=hlinux64_0") for each in outcome.repairs)


async def test_pypi_stays_the_way_where_it_can_serve(conda_bench, repository):
    files = {**FILES, "model_manager.py": MODEL.replace("import lab_signal\n", "").replace(" * lab_signal.scale()", "")}
    files["environment.yml"] = f"channels: [conda-forge]\ndependencies:\n  - python={MINOR}\n  - six\n"
    outcome = await conda_bench.build(repository, repository.commit(files))
    inside = members(layers(conda_bench.registry, outcome.images.learner)["mlenv"])
    assert "six.py" in inside
    assert "bin/python3" not in inside
