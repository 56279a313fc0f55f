"""Packages without a wheel: built from source in a sandbox, with real uv, setuptools and compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from flops_builder.dependencies.declaration import requirement
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.relax import Relaxation, Resolution
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.sources import Sources
from flops_builder.resolve.uv import Target, Uv
from flops_builder.sdist.fetching import Fetcher
from flops_builder.sdist.sandbox import Limits
from flops_builder.sdist.wheelhouse import Wheelhouse
from flops_builder.settings import BuilderSettings
from flops_builder.tools import host_platform
from flops_protocol.errors import ErrorBody, FlopsError

from tests.integration.builder.bench import Repository
from tests.integration.builder.sdists import native, own_backend, pure, write_sdist, write_wheel
from tests.integration.builder.test_refusals import DATA, MODEL

pytestmark = pytest.mark.timeout(120)

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = Target(host_platform(), PYTHON, "2.28")
ELSEWHERE = Target("linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64", PYTHON, "2.28")
MEBIBYTE = 1024 * 1024
NO_COMPILER = "import sys\nsys.exit(\"error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory\")"
FORKS = "import os, time\nfor _ in range(200):\n    os.fork() or (time.sleep(60), os._exit(0))\ntime.sleep(60)"


class Site:
    """A machine that builds, and a folder of archives and wheels that its index settings name."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.links = folder / "links"
        self.links.mkdir()
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.limits = Limits(60, 4096 * MEBIBYTE, 64, 256 * MEBIBYTE)
        # Beside what the machine has: what a build needs still comes from there.
        given = os.environ.get("PIP_FIND_LINKS", "")
        monkeypatch.setenv("PIP_FIND_LINKS", f"{given} {self.links}".strip())

    async def resolve(self, *texts: str, targets: tuple[Target, ...] = (HERE,), cache: str = "cache") -> Resolution:
        cache_dir, work = self.folder / cache, self.folder / f"{cache}-work{len(list(self.folder.iterdir()))}"
        (work / "fetched").mkdir(parents=True)
        index = site_index(os.environ, cache_dir)
        resolver = Resolver(Uv(index, 60), LockStore(cache_dir / "locks", 1), work)
        house = Wheelhouse(
            cache_dir / "wheels", work, resolver, Path(sys.executable), HERE, self.limits, self.lines.append
        )
        sources = Sources(Fetcher(index, BuilderSettings(), work / "fetched"), {HERE.platform: house})
        wanted = tuple(requirement(text, "requirements.txt", line) for line, text in enumerate(texts, 1))
        try:
            return await Relaxation(JointResolver(resolver, Request(wanted, (), targets)), sources).resolve()
        finally:
            self.warnings += house.warnings

    async def refused(self, *texts: str, **more: tuple[Target, ...]) -> ErrorBody:
        with pytest.raises(FlopsError) as caught:
            await self.resolve(*texts, **more)
        assert caught.value.body.file == "requirements.txt"
        return caught.value.body


def running(command: str) -> list[Path]:
    """The processes of a command line, its words separated by NUL."""
    return [file for file in Path("/proc").glob("[0-9]*/cmdline") if command in file.read_text(errors="replace")]


def anywhere(name: str) -> list[Path]:
    """What was written beside the folder it should be in."""
    return [place for place in (Path("/tmp") / name, Path("/etc") / name) if place.exists()]


def answer_of(wheel: Path, folder: Path) -> bytes:
    """What the wheel's module answers."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    code = "import flonative; print(flonative.answer())"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=True).stdout


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path, monkeypatch)


async def test_a_pure_package_is_built_once_and_serves_every_platform(site):
    write_sdist(site.links, "flopure", pure("flopure"))
    resolution = await site.resolve("flopure", targets=(HERE, ELSEWHERE))
    here, elsewhere = (resolution.locks[target] for target in (HERE, ELSEWHERE))
    assert here == elsewhere
    assert here.versions == {"flopure": "1.0"}
    assert here.built["flopure"].origin == "flopure-1.0.tar.gz"
    assert str(site.folder) not in here.text
    assert not resolution.repairs
    built = [line for line in site.lines if "has no wheel: it is built from" in line]
    assert len(built) == 1
    again = await site.resolve("flopure", targets=(HERE,))
    assert again.locks[HERE] == here
    assert [line for line in site.lines if "has no wheel: it is built from" in line] == built


async def test_a_pure_package_for_another_platform_is_built_here(site):
    write_sdist(site.links, "flopure", pure("flopure"))
    resolution = await site.resolve("flopure", targets=(ELSEWHERE,))
    assert resolution.locks[ELSEWHERE].built


async def test_the_same_source_gives_the_same_bytes(site):
    write_sdist(site.links, "flonative", native("flonative"))
    first, second = [await site.resolve("flonative", cache=cache) for cache in ("one", "two")]
    assert first.locks[HERE].built == second.locks[HERE].built


async def test_what_another_package_needs_is_built_in_a_version_that_fits_it(site):
    write_wheel(site.links, "flowanting", "1.0")
    write_sdist(site.links, "flowanting", pure("flowanting", "2.0", "flopure<2"), "2.0")
    for version in ("1.0", "1.5", "2.0"):
        write_sdist(site.links, "flopure", pure("flopure", version), version)
    (lock,) = (await site.resolve("flowanting==2.0")).locks.values()
    assert lock.versions == {"flowanting": "2.0", "flopure": "1.5"}


async def test_a_pin_to_a_pure_source_stays_though_a_release_near_has_a_wheel(site):
    write_sdist(site.links, "flopure", pure("flopure"))
    write_wheel(site.links, "flopure", "1.1")
    resolution = await site.resolve("flopure==1.0")
    assert resolution.locks[HERE].versions == {"flopure": "1.0"}
    assert not resolution.repairs


async def test_a_pin_whose_source_cannot_be_built_gives_way_and_says_why(site):
    write_sdist(site.links, "flopure", own_backend("raise RuntimeError('not on my watch')"))
    write_wheel(site.links, "flopure", "1.1")
    resolution = await site.resolve("flopure==1.0")
    assert resolution.locks[HERE].versions == {"flopure": "1.1"}
    (repair,) = resolution.repairs
    assert "its source could not be built" in repair.why


async def test_a_pin_to_native_code_gives_way_to_a_release_with_wheels(site):
    """Building it takes a compiler, libraries, minutes: what a person would do is take the next release."""
    machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[HERE.platform]
    interpreter = f"cp{PYTHON.replace('.', '')}"
    write_sdist(site.links, "flonative", native("flonative"))
    write_wheel(site.links, "flonative", "1.1", f"{interpreter}-{interpreter}-manylinux_2_17_{machine}")
    resolution = await site.resolve("flonative==1.0")
    assert resolution.locks[HERE].versions == {"flonative": "1.1"}
    assert [repair.rule for repair in resolution.repairs] == ["no-wheel"]


async def test_native_code_without_any_wheel_is_built_for_this_platform(site, tmp_path):
    write_sdist(site.links, "flonative", native("flonative"))
    resolution = await site.resolve("flonative")
    wheel = next((tmp_path / "cache" / "wheels" / "files").glob("*/*.whl"))
    assert resolution.locks[HERE].built["flonative"].sha256 == wheel.parent.name
    assert answer_of(wheel, tmp_path / "there") == b"42\n"


async def test_native_code_is_not_built_for_another_platform(site):
    write_sdist(site.links, "flonative", native("flonative"))
    body = await site.refused("packaging", "flonative", targets=(HERE, ELSEWHERE))
    assert (body.code, body.line) == ("FLOPS-B023", 2)
    assert ELSEWHERE.platform in body.detail
    assert "flonative.c" in body.detail


async def test_git_at_a_tag_is_built_at_its_commit(site, tmp_path):
    repository = Repository(tmp_path / "flogit")
    commit = repository.commit({f"sub/{name}": text for name, text in pure("flogit").items()})
    repository.git("tag", "-a", "v1", "-m", "one")
    repository.commit({"sub/flogit.py": "ANSWER = 43\n"})
    url = f"git+file://{repository.folder}@v1#subdirectory=sub"
    (lock,) = (await site.resolve(f"flogit @ {url}")).locks.values()
    assert lock.versions == {"flogit": "1.0"}
    assert lock.built["flogit"].origin == f"git+file://{repository.folder}@{commit}#subdirectory=sub"


async def test_git_of_another_package(site, tmp_path):
    repository = Repository(tmp_path / "flogit")
    repository.commit(pure("flogit"))
    body = await site.refused(f"packaging @ git+file://{repository.folder}")
    assert body.code == "FLOPS-B028"
    assert "the source is of flogit, not of packaging" in body.detail


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        ("raise RuntimeError('no such thing')", "FLOPS-B026", "no such thing"),
        (NO_COMPILER, "FLOPS-B026", "compiler"),
        ("import time\ntime.sleep(600)", "FLOPS-B027", "not done within 4 s"),
        ("held = [bytearray(10**7) for _ in range(1000)]", "FLOPS-B027", "memory"),
        (FORKS, "FLOPS-B027", "processes"),
        ("open(folder + '/big', 'wb').truncate(10**10)", "FLOPS-B027", "a file of more than 64 MiB"),
        ("import socket\nsocket.create_connection(('192.0.2.1', 443), 2)", "FLOPS-B029", "unreachable"),
        ("import urllib.request\nurllib.request.urlopen('https://example.org/')", "FLOPS-B029", "urlopen"),
    ],
    ids=["raises", "no-compiler", "hangs", "memory", "processes", "big-file", "network", "name"],
)  # fmt: skip
async def test_a_build_that_goes_wrong(site, code, error, told):
    write_sdist(site.links, "flobad", own_backend(code))
    seconds = 4 if "within 4 s" in told else 60
    site.limits = Limits(seconds, 512 * MEBIBYTE, 32, 64 * MEBIBYTE)
    body = await site.refused("packaging", "flobad")
    assert (body.code, body.line) == (error, 2)
    assert told in body.detail
    assert body.hint


async def test_a_build_sees_no_secrets_and_leaves_nothing_running(site, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOPS_CREDENTIAL_FILE", "/run/secret")
    monkeypatch.setenv("UV_INDEX_PASSWORD", "secret")
    code = "import os, subprocess\nsubprocess.Popen(['sleep', '617'], start_new_session=True)\n"
    code += "raise RuntimeError(sorted(os.environ) + [os.environ['HOME']])"
    write_sdist(site.links, "flobad", own_backend(code))
    body = await site.refused("flobad")
    assert "FLOPS_CREDENTIAL" not in body.detail
    assert "UV_" not in body.detail
    assert str(tmp_path) in body.detail
    assert not running("sleep\0617")


async def test_nothing_of_a_package_runs_outside_of_the_sandbox(site, tmp_path):
    """uv is told what it would ask the backend for; only our build calls it, and that has no network."""
    seen = tmp_path / "seen"
    files = own_backend("raise RuntimeError('built')")
    files["own.py"] = "import os, socket\nwith open('/proc/net/dev') as file:\n    devices = file.read()\n"
    files["own.py"] += (
        f"open({str(seen)!r}, 'a').write(str(devices.count(':')) + '\\n')\n"
        + own_backend("raise RuntimeError('built')")["own.py"]
    )
    write_sdist(site.links, "flobad", files)
    await site.refused("flobad")
    assert set(seen.read_text().split()) == {"1"}, "the loopback, and nothing else"


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../../evil", tarfile.REGTYPE, ""),
        ("/tmp/evil", tarfile.REGTYPE, ""),
        ("flobad-1.0/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("flobad-1.0/link", tarfile.SYMTYPE, "../../../etc"),
        ("flobad-1.0/hard", tarfile.LNKTYPE, "../../etc/passwd"),
        ("flobad-1.0/device", tarfile.CHRTYPE, ""),
    ],
)
async def test_an_archive_that_leaves_its_folder(site, name, kind, link):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    write_sdist(site.links, "flobad", pure("flobad"), members=(member,))
    body = await site.refused("flobad")
    assert body.code == "FLOPS-B028"
    assert "flobad-1.0.tar.gz" in body.detail
    assert not anywhere("evil")


async def test_a_whole_build_with_what_was_built_from_source(bench, repository, monkeypatch, tmp_path):
    write_sdist(tmp_path / "links", "flopure", pure("flopure"))
    monkeypatch.setenv("PIP_FIND_LINKS", f"{os.environ.get('PIP_FIND_LINKS', '')} {tmp_path / 'links'}".strip())
    model = MODEL.replace("import numpy as np", "import flopure\nimport numpy as np")
    commit = repository.commit({"model_manager.py": model, "data_manager.py": DATA, "requirements.txt": "flopure\n"})
    outcome = await bench.build(repository, commit, supported_platforms=["linux/amd64", "linux/arm64"])
    documents = [
        json.loads(each.read_text()) for each in (bench.registry / "blobs" / "sha256").glob("*") if small(each)
    ]
    found = [
        each
        for document in documents
        for each in document.get("components", [])
        if each["name"] == "flopure" and document["bomFormat"] == "CycloneDX"
    ]
    (wheel,) = (bench.settings.cache_dir / "wheels" / "files").glob("*/flopure-*.whl")
    assert found
    for each in found:
        assert each["hashes"] == [{"alg": "SHA-256", "content": wheel.parent.name}]
        assert {"name": "mesh.flops.built-from", "value": "flopure-1.0.tar.gz"} in each["properties"]
    # Another commit with the same requirements: the same lock, so the wheel is not built again.
    again = await bench.build(repository, repository.commit({"model_manager.py": f"{model}\n"}))
    assert again.images.lock_digest
    assert outcome.images.image_key != again.images.image_key
    assert sum("it is built from flopure" in line for _, line in bench.recorder.lines) == 1


def small(blob: Path) -> bool:
    """Whether a blob is a JSON document."""
    with blob.open("rb") as file:
        return file.read(1) == b"{"
