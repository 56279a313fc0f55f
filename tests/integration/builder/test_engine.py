"""What cannot be assembled, made with a real engine: Dockerfiles, Debian packages, wheels for another platform."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest
from flops_builder.dependencies.declaration import requirement
from flops_builder.engine.grounds import write_files
from flops_builder.engine.recipe import find_recipe
from flops_builder.engine.saved import read_saved
from flops_builder.engine.wheels import engine_bench
from flops_builder.forecast import forecast
from flops_builder.image.packing import Packer
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.relax import Relaxation
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.sources import Sources
from flops_builder.resolve.uv import Target, Uv
from flops_builder.sdist.fetching import Fetcher
from flops_builder.sdist.sandbox import Limits
from flops_builder.sdist.wheelhouse import Wheelhouse
from flops_builder.settings import BuilderSettings
from flops_builder.tools import host_platform
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import BuildPhase
from flops_registry.documents import CONFIG_TYPE, MANIFEST_TYPE, document
from flops_registry.interface import Push
from flops_registry.names import REFERENCE
from flops_registry.opening import open_registry
from flops_registry.reference import ImageName

from tests.integration.builder.engines import ADDRESS, IMAGE, Pushed, docker, engine, needed
from tests.integration.builder.sdists import native, own_backend, write_sdist
from tests.integration.builder.test_refusals import DATA, MODEL

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

SEES = "import site; site.addsitedir('/opt/flops/mlenv'); import numpy, flobrought; print(flobrought.ANSWER)"


@pytest.fixture(autouse=True)
def there():
    needed()


@pytest.fixture
def on_engine(bench):
    """Builds with the engine of the tests."""
    names = {"engine_base_image": f"{IMAGE}-{{arch}}", "engine_wheel_image": f"{IMAGE}-{{arch}}"}
    bench.settings = bench.settings.model_copy(update={"engine_builds": True, "engine": ADDRESS, **names})
    return bench


def dockerfile(architecture: str, more: str = "") -> str:
    return (
        f"FROM {IMAGE}-{architecture}\n"
        "ENV FLOBROUGHT=yes\n"
        "RUN folder=/usr/local/lib/python3.11/dist-packages && mkdir -p $folder/flobrought-1.5.dist-info"
        " && echo 'ANSWER = 42' > $folder/flobrought.py"
        " && printf 'Metadata-Version: 2.1\\nName: flobrought\\nVersion: 1.5\\n'"
        f" > $folder/flobrought-1.5.dist-info/METADATA\n{more}"
    )


def written(folder: Path, text: str) -> Path:
    """A repository of one Dockerfile."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(text)
    return folder


def files(**more: str) -> dict[str, str]:
    model = MODEL.replace("import numpy as np", "import flobrought\nimport numpy as np")
    return {"model_manager.py": model, "data_manager.py": DATA, **more}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
async def test_a_dockerfile_brings_the_environment(on_engine, repository, architecture):
    commit = repository.commit(files(Dockerfile=dockerfile(architecture)))
    outcome = await on_engine.build(repository, commit, supported_platforms=[f"linux/{architecture}"])
    told = [line for _, line in on_engine.recorder.lines]
    assert any("Dockerfile asks for the repository's own image" in line for line in told)
    assert (BuildPhase.SMOKE in on_engine.recorder.phases) == (host_platform() == f"linux/{architecture}")
    pushed = Pushed(on_engine.registry, outcome.images.learner.digest, f"linux/{architecture}")
    assert pushed.kinds == [*["base"] * (len(pushed.kinds) - 3), "runtime", "mlenv", "code"]
    assert pushed.kinds.count("base") >= 2
    assert "FLOBROUGHT=yes" in pushed.configuration["config"]["Env"]
    assert pushed.configuration["architecture"] == architecture
    assert pushed.run("python3", "-I", "-S", "-c", SEES) == "42\n"


async def test_apt_txt_brings_debian_packages(on_engine, repository):
    commit = repository.commit(
        {
            "model_manager.py": MODEL,
            "data_manager.py": DATA,
            "requirements.txt": "numpy\n",
            "binder/apt.txt": "# for its greeting\nhello\n",
        }
    )
    outcome = await on_engine.build(repository, commit, supported_platforms=["linux/amd64"])
    pushed = Pushed(on_engine.registry, outcome.images.learner.digest, "linux/amd64")
    assert pushed.kinds[-3:] == ["runtime", "mlenv", "code"]
    assert pushed.run("hello") == "Hello, world!\n"


async def test_apt_txt_on_the_configured_base_image(on_engine, repository, tmp_path):
    """The base image lies in a folder, compressed: its layers stay as they are there, and only one comes on top."""
    name = f"oci:{tmp_path / 'base'}:python"
    borrowed = await put_image(f"{IMAGE}-amd64", name, tmp_path)
    on_engine.settings = on_engine.settings.model_copy(update={"base_image": name, "engine_base_image": "unused"})
    commit = repository.commit(
        files(**{"apt.txt": "hello\n", "requirements.txt": "numpy\n", "model_manager.py": MODEL})
    )
    outcome = await on_engine.build(repository, commit, supported_platforms=["linux/amd64"])
    pushed = Pushed(on_engine.registry, outcome.images.learner.digest, "linux/amd64")
    digests = [layer["digest"] for layer in pushed.manifest["layers"]]
    assert digests[: len(borrowed)] == borrowed
    assert pushed.kinds == ["base"] * (len(borrowed) + 1) + ["runtime", "mlenv", "code"]
    assert len(pushed.configuration["rootfs"]["diff_ids"]) == len(digests)
    assert pushed.run("hello") == "Hello, world!\n"


async def put_image(image: str, name: str, folder: Path) -> list[str]:
    """Puts an image of the engine into a registry, compressed; the digests of its layers there."""
    reference = ImageName.parse(name)
    (folder / "saved").mkdir()
    await engine().save(image, folder / "image.tar")
    saved = read_saved(folder / "image.tar", folder / "saved")
    packer = Packer(folder / "packed", "gzip")
    packed = [await packer.pack(layer, saved.files[layer.digest]) for layer in saved.layers]
    configuration = document(CONFIG_TYPE, saved.configuration)
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": configuration.descriptor(),
        "layers": [{"mediaType": each.media_type, "digest": each.digest, "size": each.size} for each in packed],
    }
    manifest = document(MANIFEST_TYPE, value)
    files = {each.digest: each.file for each in packed}
    async with open_registry(reference.registry) as registry:
        await registry.push(Push(files, [configuration, manifest], [(manifest, {REFERENCE: "python"})]))
    return [each.digest for each in packed]


async def test_a_plan_runs_no_engine(on_engine, repository):
    commit = repository.commit(files(Dockerfile=dockerfile("amd64", "RUN echo about to fail && false\n")))
    found = await forecast(
        *on_engine.order(repository, commit, supported_platforms=["linux/amd64"]), on_engine.settings
    )
    assert found.errors == []
    assert [each.way for each in found.platforms] == ["engine"]


async def test_a_dockerfile_that_fails(on_engine, repository):
    commit = repository.commit(files(Dockerfile=dockerfile("amd64", "RUN echo about to fail && false\n")))
    with pytest.raises(FlopsError) as caught:
        await on_engine.build(repository, commit, supported_platforms=["linux/amd64"])
    assert (caught.value.body.code, caught.value.body.file) == ("FLOPS-B061", "Dockerfile")
    assert "about to fail" in caught.value.body.detail


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("np.zeros(3)", "np.zeros(nobody)", "FLOPS-B030", 7),
        ("np.zeros(3)", "__import__('os')._exit(3)", "FLOPS-B034", None),
    ],
)
async def test_the_smoke_round_is_in_the_image(on_engine, repository, old, new, code, line):
    wrong = {"model_manager.py": files()["model_manager.py"].replace(old, new)}
    commit = repository.commit(files(Dockerfile=dockerfile("amd64")) | wrong)
    with pytest.raises(FlopsError) as caught:
        await on_engine.build(repository, commit, supported_platforms=["linux/amd64"])
    assert (caught.value.body.code, caught.value.body.line) == (code, line)


async def test_a_dockerfile_for_buildkit(tmp_path):
    """Its platform's name, a cache that outlives the build, and its log in words."""
    lines: list[str] = []
    text = f"FROM {IMAGE}-${{TARGETARCH}}\nRUN --mount=type=cache,target=/root/.cache echo here we are\n"
    write_files({"Dockerfile": text.encode()}, tmp_path / "context.tar")
    recipe = find_recipe(written(tmp_path / "tree", text))
    assert recipe is not None
    assert recipe.buildkit
    for platform in ("linux/amd64", "linux/arm64"):
        image = await engine().build(tmp_path / "context.tar", "Dockerfile", platform, lines.append, buildkit=True)
        assert docker("image", "inspect", "--format={{.Os}}/{{.Architecture}}", image).strip() == platform
    assert any("here we are" in line for line in lines)
    write_files({"Dockerfile": f"{text}RUN echo about to fail; false\n".encode()}, tmp_path / "context.tar")
    with pytest.raises(FlopsError) as caught:
        await engine().build(tmp_path / "context.tar", "Dockerfile", "linux/amd64", lines.append, buildkit=True)
    assert caught.value.body.code == "FLOPS-B061"
    assert "about to fail" in caught.value.body.detail


async def test_an_image_without_python(on_engine, repository):
    commit = repository.commit(files(Dockerfile=dockerfile("amd64", "RUN rm /usr/bin/python3\n")))
    with pytest.raises(FlopsError) as caught:
        await on_engine.build(repository, commit, supported_platforms=["linux/amd64"])
    assert (caught.value.body.code, caught.value.body.file) == ("FLOPS-B062", "Dockerfile")


async def test_an_image_for_another_platform_than_it_says(on_engine, repository):
    commit = repository.commit(files(Dockerfile=dockerfile("arm64")))
    with pytest.raises(FlopsError) as caught:
        await on_engine.build(repository, commit, supported_platforms=["linux/amd64"])
    assert caught.value.body.code in {"FLOPS-B061", "FLOPS-B062"}


class Elsewhere:
    """Builds wheels for arm64 in the engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.limits = Limits(120, 2 << 30, 128, 1 << 28)

    async def lock(self, name: str):
        index = site_index(os.environ, self.folder)
        resolver = Resolver(Uv(index, 60), LockStore(self.folder / "locks", 1), self.folder)
        target = Target("linux/arm64", "3.11", "2.36")
        house = Wheelhouse(
            self.folder / "wheels", self.folder, resolver, Path(sys.executable), target, self.limits, self.lines.append,
            bench=engine_bench(engine(), f"{IMAGE}-arm64"),
        )  # fmt: skip
        sources = Sources(Fetcher(index, BuilderSettings(), self.folder), {"linux/arm64": house})
        request = Request((requirement(name, "requirements.txt", 1),), (), (target,))
        return (await Relaxation(JointResolver(resolver, request), sources).resolve()).locks[target]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    given = os.environ.get("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{given} {tmp_path / 'links'}".strip())
    return Elsewhere(tmp_path)


async def test_native_code_is_built_for_both_platforms(on_engine, repository, tmp_path, monkeypatch):
    """On this machine for its own, in the engine for the other; and then the image is assembled as ever."""
    write_sdist(tmp_path / "links", "flonative", native("flonative"))
    given = os.environ.get("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{given} {tmp_path / 'links'}".strip())
    model = MODEL.replace("import numpy as np", "import flonative\nimport numpy as np")
    commit = repository.commit({"model_manager.py": model, "data_manager.py": DATA, "requirements.txt": "flonative\n"})
    await on_engine.build(repository, commit, supported_platforms=["linux/amd64", "linux/arm64"])
    told = [line for _, line in on_engine.recorder.lines]
    other = {"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[host_platform()]
    assert any(f"flonative==1.0: its backend runs in the engine, for {other}" in line for line in told)
    wheels = (on_engine.settings.cache_dir / "wheels" / "files").glob("*/flonative-*.whl")
    assert {wheel.name.rpartition("-linux_")[2]: machine(wheel) for wheel in wheels} == {
        "x86_64.whl": 62,
        "aarch64.whl": 183,
    }


def machine(wheel: Path) -> int:
    """For which machine a wheel's extension is (e_machine of ELF's header)."""
    with zipfile.ZipFile(wheel) as archive:
        (extension,) = (each for each in archive.namelist() if each.endswith(".so"))
        return int.from_bytes(archive.read(extension)[18:20], "little")


async def test_a_build_in_the_engine_has_no_network_and_ends_in_time(elsewhere, tmp_path):
    write_sdist(tmp_path / "links", "flobad", own_backend("import time\ntime.sleep(600)"))
    elsewhere.limits = Limits(10, 1 << 30, 64, 1 << 24)
    with pytest.raises(FlopsError) as caught:
        await elsewhere.lock("flobad")
    assert caught.value.body.code == "FLOPS-B027"
    code = "import socket\nsocket.create_connection(('192.0.2.1', 443), 2)"
    write_sdist(tmp_path / "links", "flobad", own_backend(code), "2.0")
    with pytest.raises(FlopsError) as caught:
        await elsewhere.lock("flobad==2.0")
    assert caught.value.body.code == "FLOPS-B029"
    assert not docker("ps", "--quiet", "--all", "--filter", "label=mesh.flops.build").strip()
