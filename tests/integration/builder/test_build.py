"""Whole builds of real repositories, into a layout folder."""

from __future__ import annotations

import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from flops_builder.build import build
from flops_builder.settings import BuilderSettings
from flops_protocol.errors import FlopsError

from tests.integration.builder.bench import Bench, Repository

pytestmark = pytest.mark.timeout(600)

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"
BOTH = ["linux/amd64", "linux/arm64"]
MACHINE_CODE = {"amd64": b"\x3e\x00", "arm64": b"\xb7\x00"}
"""e_machine of an ELF file (System V ABI): x86-64 and AArch64."""


def blob(registry: Path, digest: str) -> Path:
    return registry / "blobs" / "sha256" / digest.removeprefix("sha256:")


def document(registry: Path, digest: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(blob(registry, digest).read_bytes())
    return value


def layers(registry: Path, image: Any, architecture: str = "amd64") -> dict[str, Path]:
    """The layers of one platform of an image, by their kind."""
    index = document(registry, image.digest)
    (manifest,) = [each for each in index["manifests"] if each["platform"]["architecture"] == architecture]
    return {
        layer["annotations"]["mesh.flops.layer"]: blob(registry, layer["digest"])
        for layer in document(registry, manifest["digest"])["layers"]
    }


def names(layer: Path) -> set[str]:
    with tarfile.open(layer) as archive:
        return {member.name for member in archive}


def blobs(registry: Path) -> set[str]:
    return {path.name for path in (registry / "blobs" / "sha256").iterdir()}


async def test_a_flops_repository_builds_unchanged(bench, fixture_repository):
    repository, commit = fixture_repository("sklearn-flops")
    bench.settings = BuilderSettings(cache_dir=bench.settings.cache_dir)  # our packages as they are installed here
    outcome = await bench.build(repository, commit)
    registry = bench.registry

    learner = layers(registry, outcome.images.learner)
    aggregator = layers(registry, outcome.images.aggregator)
    assert list(learner) == ["runtime", "mlenv", "code"]
    assert list(aggregator) == ["runtime", "mlenv", "code", "tracking"]
    assert {name: aggregator[name] for name in learner} == learner
    assert {"opt/flops/runtime/flops_start.py", "opt/flops/runtime/flwr/__init__.py"} <= names(learner["runtime"])
    environment = names(learner["mlenv"])
    assert {"opt/flops/mlenv/sklearn/__init__.py", "opt/flops/mlenv/flops_utils/__init__.py"} <= environment
    assert "opt/flops/mlenv/datasets/__init__.py" in environment
    assert not any(name.startswith("opt/flops/mlenv/mlflow/") for name in environment)
    assert "opt/flops/code/model_manager.py" in names(learner["code"])
    tracking = names(aggregator["tracking"])
    assert "opt/flops/tracking/mlflow/__init__.py" in tracking
    assert not any(name.startswith("opt/flops/tracking/numpy/") for name in tracking)
    rules = {repair.partition("]")[0].strip("[") for repair in outcome.repairs}
    assert {"conda-indentation", "python-pin", "installer", "mlflow-out", "guest-needs"} <= rules
    assert outcome.images.python == "3.11"
    assert set(outcome.phase_seconds) >= {"clone", "check", "resolve", "install", "smoke", "layers", "push"}


async def test_fedprox_without_a_place_for_its_term_is_told(bench, fixture_repository):
    repository, commit = fixture_repository("sklearn-flops")
    outcome = await bench.build(repository, commit, strategy={"name": "FedProx", "arguments": {"proximal_mu": 0.1}})
    assert any("set_fit_config" in warning for warning in outcome.warnings)


async def test_the_registry_is_a_layout_that_others_can_read(bench, fixture_repository):
    repository, commit = fixture_repository("numpy-only")
    outcome = await bench.build(repository, commit)
    assert json.loads((bench.registry / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    entries = json.loads((bench.registry / "index.json").read_bytes())["manifests"]
    by_name = {entry["annotations"]["org.opencontainers.image.ref.name"].partition(":")[0]: entry for entry in entries}
    attached = {f"numpy-only/{role}-{kind}" for role in ("learner", "aggregator") for kind in ("sbom", "provenance")}
    assert set(by_name) == {"numpy-only/learner", "numpy-only/aggregator", "numpy-only/locks"} | attached
    learner = by_name["numpy-only/learner"]
    assert learner["digest"] == outcome.images.learner.digest
    assert learner["annotations"]["mesh.flops.image-key"] == outcome.images.image_key
    assert json.loads(learner["annotations"]["mesh.flops.image-set"])["image_key"] == outcome.images.image_key
    assert document(bench.registry, learner["digest"])["annotations"]["org.opencontainers.image.revision"] == commit
    locks = document(bench.registry, by_name["numpy-only/locks"]["digest"])
    assert locks["subject"]["digest"] == learner["digest"]
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in locks["layers"]]
    assert titles == ["linux-amd64/mlenv.txt", "linux-amd64/runtime.txt", "linux-amd64/tracking.txt"]


async def test_bill_of_materials_and_provenance_refer_to_the_image(bench, fixture_repository):
    repository, commit = fixture_repository("numpy-only")
    outcome = await bench.build(repository, commit)
    index = json.loads((bench.registry / "index.json").read_text())
    by_name = {
        entry["annotations"]["org.opencontainers.image.ref.name"].partition(":")[0]: entry
        for entry in index["manifests"]
    }
    for role, image in (("learner", outcome.images.learner), ("aggregator", outcome.images.aggregator)):
        bills = document(bench.registry, by_name[f"numpy-only/{role}-sbom"]["digest"])
        assert bills["subject"]["digest"] == image.digest
        text = blob(bench.registry, bills["layers"][0]["digest"]).read_text()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        packages = {(each["name"], each["properties"][0]["value"]) for each in json.loads(text)["components"]}
        assert {("numpy", "mlenv"), ("flwr", "runtime")} <= packages
        assert (("mlflow-skinny", "tracking") in packages) == (role == "aggregator")
        statements = document(bench.registry, by_name[f"numpy-only/{role}-provenance"]["digest"])
        statement = document(bench.registry, statements["layers"][0]["digest"])
        assert statement["subject"][0]["digest"]["sha256"] == image.digest.removeprefix("sha256:")
        (source, *_) = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert source["digest"] == {"gitCommit": commit}


async def test_the_same_input_gives_the_same_digests(fixture_repository, runtime_wheels, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    found = []
    for name in ("one", "two"):
        settings = BuilderSettings(cache_dir=tmp_path / name / "cache", runtime_wheels=runtime_wheels)
        bench = Bench(settings, tmp_path / "registry")
        outcome = await bench.build(repository, commit)
        found.append((outcome.images, blobs(bench.registry)))
        bench.registry.rename(tmp_path / f"registry-{name}")
    assert found[0] == found[1]


async def test_an_image_that_is_there_is_found(bench, fixture_repository):
    repository, commit = fixture_repository("numpy-only")
    built = await bench.build(repository, commit)
    found = await bench.build(repository, commit)
    assert (built.images.lookup, found.images.lookup) == ("built", "found")
    assert found.images.model_copy(update={"lookup": "built"}) == built.images
    assert found.bytes_pushed == 0
    assert bench.recorder.percents[-1] == 100


async def test_an_image_with_a_part_missing_is_built_again(bench, fixture_repository):
    repository, commit = fixture_repository("numpy-only")
    built = await bench.build(repository, commit)
    layers(bench.registry, built.images.aggregator)["tracking"].unlink()
    again = await bench.build(repository, commit)
    assert again.images == built.images
    assert again.images.lookup == "built"
    assert layers(bench.registry, again.images.aggregator)["tracking"].is_file()


async def test_a_changed_line_pushes_kilobytes(bench, fixture_repository):
    repository, commit = fixture_repository("sklearn-flops")
    before = await bench.build(repository, commit)
    text = (repository.folder / "model_manager.py").read_text()
    changed = repository.commit({"model_manager.py": text.replace("max_iter=1", "max_iter=2")})
    after = await bench.build(repository, changed)
    assert after.images.image_key != before.images.image_key
    assert after.images.lock_digest == before.images.lock_digest
    assert 0 < after.bytes_pushed <= 100_000
    old, new = layers(bench.registry, before.images.aggregator), layers(bench.registry, after.images.aggregator)
    assert {name for name in old if old[name] != new[name]} == {"code"}


async def test_two_platforms_without_an_emulator(bench, fixture_repository):
    repository, commit = fixture_repository("sklearn-flops")
    outcome = await bench.build(repository, commit, supported_platforms=BOTH)
    assert outcome.images.learner.platforms == BOTH
    for architecture, code in MACHINE_CODE.items():
        found = set()
        for layer in layers(bench.registry, outcome.images.aggregator, architecture).values():
            with tarfile.open(layer) as archive:
                for member in archive:
                    if member.isfile() and ".so" in member.name:
                        head = archive.extractfile(member).read(20)
                        found |= {head[18:20]} if head[:4] == b"\x7fELF" else set()
        assert found == {code}
    assert any(
        name.endswith(".pyc") for name in names(layers(bench.registry, outcome.images.learner, "arm64")["mlenv"])
    )


async def test_two_builders_at_once(builder_cache, bench, fixture_repository, tmp_path):
    repository, commit = fixture_repository("numpy-only")
    other = repository.commit({"README.md": "changed\n"})
    second = Bench(bench.settings, bench.registry)
    outcomes: list[Any] = []

    async def one(bench: Bench, commit: str) -> None:
        outcomes.append(await bench.build(repository, commit))

    async with anyio.create_task_group() as group:
        for each in (bench, second):
            for commits in (commit, other):
                group.start_soon(one, each, commits)
    entries = json.loads((bench.registry / "index.json").read_bytes())["manifests"]
    assert len(entries) == 2 * len(["learner", "aggregator", "locks", *(2 * ["sbom", "provenance"])])
    assert len({outcome.images.image_key for outcome in outcomes}) == 2
    assert not [path for path in bench.registry.rglob(".*") if path.name != ".lock"]
    for outcome in outcomes:
        for image in (outcome.images.learner, outcome.images.aggregator):
            assert all(path.is_file() for path in layers(bench.registry, image).values())


async def test_locks_of_the_commit_are_used_again(bench, fixture_repository, monkeypatch):
    repository, commit = fixture_repository("numpy-only")
    first = await bench.build(repository, commit)
    again = Bench(bench.settings.model_copy(update={"builder_version": "another", "lock_hours": 0}), bench.registry)
    second = await again.build(repository, commit)
    assert second.images.image_key != first.images.image_key
    assert ("mesh", "the locks are those of an earlier build of this commit") in again.recorder.lines


async def test_the_image_runs(bench, fixture_repository, tmp_path):
    """What the layers hold, unpacked, is what a bootstrapper and an ML worker start from."""
    if platform.machine() != "x86_64":
        pytest.skip("the image is for amd64")
    outcome = await bench.build(*fixture_repository("sklearn-flops"))
    for layer in layers(bench.registry, outcome.images.aggregator).values():
        with tarfile.open(layer) as archive:
            archive.extractall(tmp_path / "image", filter="data")
    root = tmp_path / "image" / "opt" / "flops"
    start = await anyio.run_process(
        [sys.executable, "-I", "-S", str(root / "runtime" / "flops_start.py"), "nobody"],
        check=False,
        env={"PATH": "/usr/bin"},
    )
    assert b"aggregator|learner" in start.stderr
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]; import flops_learner.app, flops_aggregator.app, flwr; print(flwr)"
    )
    runtime = await anyio.run_process([sys.executable, "-I", "-S", "-B", "-c", script, str(root / "runtime")])
    assert str(root).encode() in runtime.stdout
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]; import mlflow.sklearn, sklearn, model_manager; print(mlflow.__file__)"
    )
    paths = [str(root / name) for name in ("mlenv", "code", "tracking")]
    worker = await anyio.run_process([sys.executable, "-I", "-S", "-B", "-c", script, *paths], stderr=subprocess.PIPE)
    assert str(root / "tracking").encode() in worker.stdout
    script = "import sys; sys.path[:0] = sys.argv[1:]; from mlflow.tracking import MlflowClient; print(MlflowClient)"
    await anyio.run_process([sys.executable, "-I", "-S", "-B", "-c", script, str(root / "tracking")])


async def test_percent_never_falls(bench, fixture_repository):
    await bench.build(*fixture_repository("numpy-only"))
    percents = bench.recorder.percents
    assert percents == sorted(percents)
    assert percents[0] < 5
    assert percents[-1] == 100
    assert bench.recorder.estimates[-1] == 0


async def test_a_deadline(bench, fixture_repository):
    repository, commit = fixture_repository("numpy-only")
    spec, command = bench.order(repository, commit)
    with pytest.raises(FlopsError) as caught:
        await build(spec, command.model_copy(update={"deadline_seconds": 0.01}), bench.settings, bench.recorder)
    assert caught.value.body.code == "FLOPS-B043"
    assert not list((bench.settings.cache_dir / "work").glob("*"))


async def test_wheels_that_the_repository_brings(bench, fixture_repository):
    repository, _ = fixture_repository("numpy-only")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("private.py", "ANSWER = 42\n")
        wheel.writestr("private-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: private\nVersion: 1.0\n")
        wheel.writestr("private-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("private-1.0.dist-info/RECORD", "")
    commit = repository.commit(
        {
            "wheels/private-1.0-py3-none-any.whl": archive.getvalue(),
            "requirements.txt": "--find-links wheels\nnumpy\nprivate\n",
            "model_manager.py": "import private\n" + (repository.folder / "model_manager.py").read_text(),
        }
    )
    outcome = await bench.build(repository, commit)
    assert "opt/flops/mlenv/private.py" in names(layers(bench.registry, outcome.images.learner)["mlenv"])


@pytest.mark.parametrize("example", ["digits-numpy", "digits-sklearn"])
async def test_the_examples(bench, tmp_path, example):
    repository = Repository(tmp_path / example)
    shutil.copytree(EXAMPLES / example, repository.folder, dirs_exist_ok=True)
    outcome = await bench.build(repository, repository.commit({}))
    assert outcome.images.learner.repository == f"{example}/learner"


async def test_code_in_a_subfolder_with_the_dependencies_at_the_root(bench, fixture_repository):
    repository, _ = fixture_repository("numpy-only")
    files = {name: (repository.folder / name).read_text() for name in ("model_manager.py", "data_manager.py")}
    moved = {f"ml/code/{name}": text for name, text in files.items()} | dict.fromkeys(files)
    commit = repository.commit({**moved, "README.md": "not part of the code"})
    outcome = await bench.build(repository, commit, ml_repo_subdir="ml/code")
    code = names(layers(bench.registry, outcome.images.learner)["code"])
    assert {name for name in code if name.endswith((".py", ".md"))} == {f"opt/flops/code/{name}" for name in files}
