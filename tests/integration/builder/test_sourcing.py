"""Wheels built from source as a part of everything else: in plans, from earlier builds, on top of conda."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from flops_builder.forecast import forecast
from flops_builder.settings import BuilderSettings
from flops_builder.tools import host_platform

from tests.conda.channel import MINOR, make_channel
from tests.integration.builder.sdists import PYPROJECT, native, own_backend, pure, write_sdist
from tests.integration.builder.test_build import layers
from tests.integration.builder.test_conda import locks, members
from tests.integration.builder.test_refusals import DATA, MODEL

pytestmark = pytest.mark.timeout(300)

BOTH = ["linux/amd64", "linux/arm64"]
ELSEWHERE = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
FILES = {"model_manager.py": MODEL, "data_manager.py": DATA}


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives that the index settings name beside what they have."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", f"{os.environ.get('PIP_FIND_LINKS', '')} {folder}".strip())
    return folder


def importing(name: str) -> str:
    return MODEL.replace("import numpy as np", f"import {name}\nimport numpy as np")


def wheels(bench: Any) -> set[Path]:
    """All that were built; the cache is that of the other tests, too, so each has packages of its own."""
    return set((bench.settings.cache_dir / "wheels" / "files").glob("*/*.whl"))


def built(bench: Any) -> int:
    return sum("has no wheel: it is built from" in line for _, line in bench.recorder.lines)


async def test_a_plan_says_what_would_be_built_and_builds_nothing(bench, repository, links):
    before = wheels(bench)
    write_sdist(links, "floplanned", pure("floplanned"))
    files = FILES | {"requirements.txt": "floplanned\n", "model_manager.py": importing("floplanned")}
    order = bench.order(repository, repository.commit(files), supported_platforms=BOTH)
    planned = await forecast(*order, bench.settings)
    assert not planned.errors
    told = "1 package has no wheel and is built from source: floplanned 1.0 (floplanned-1.0.tar.gz)"
    assert [each.why for each in planned.platforms] == [told, told]
    assert [each.unsized for each in planned.platforms] == [1, 1]
    assert all(each.wheel_bytes for each in planned.platforms)
    assert "floplanned==1.0 is built from floplanned-1.0.tar.gz: what it needs shows only then" in planned.warnings
    assert planned.kind == "new"
    assert wheels(bench) == before

    await bench.build(repository, order[0].commit, supported_platforms=BOTH)
    again = await forecast(*order, bench.settings)
    assert [each.why for each in again.platforms] == [told, told]
    assert not [each for each in again.warnings if "shows only then" in each]
    assert again.kind == "kept"
    assert built(bench) == 1


async def test_a_plan_knows_what_a_source_says_that_it_needs(bench, repository, links):
    before = wheels(bench)
    project = '\n[project]\nname = "flowanting"\nversion = "1.0"\ndependencies = ["floneeded<2"]\n'
    write_sdist(links, "flowanting", {"pyproject.toml": PYPROJECT + project, "flowanting.py": ""})
    for version in ("1.5", "2.0"):
        write_sdist(links, "floneeded", pure("floneeded", version), version)
    commit = repository.commit(FILES | {"requirements.txt": "flowanting\n"})
    planned = await forecast(*bench.order(repository, commit), bench.settings)
    (platform,) = planned.platforms
    told = "floneeded 1.5 (floneeded-1.5.tar.gz), flowanting 1.0 (flowanting-1.0.tar.gz)"
    assert platform.why == f"2 packages have no wheel and are built from source: {told}"
    assert wheels(bench) == before


async def test_a_plan_of_a_repository_at_a_commit(bench, repository, tmp_path):
    before = wheels(bench)
    source = type(repository)(tmp_path / "flogit")
    commit = source.commit(pure("flogit"))
    origin = f"git+file://{source.folder}@{commit}"
    wanted = repository.commit(FILES | {"requirements.txt": f"flogit @ {origin}\n"})
    planned = await forecast(*bench.order(repository, wanted), bench.settings)
    assert not planned.errors
    assert f"flogit is built from {origin}: its version shows only then" in planned.warnings
    assert wheels(bench) == before


async def test_a_plan_of_native_code_for_another_platform(bench, repository, links):
    before = wheels(bench)
    write_sdist(links, "flonative", native("flonative"))
    commit = repository.commit(FILES | {"requirements.txt": "numpy\nflonative\n"})
    here = await forecast(*bench.order(repository, commit, supported_platforms=[host_platform()]), bench.settings)
    assert not here.errors
    assert "flonative 1.0" in here.platforms[0].why
    both = await forecast(*bench.order(repository, commit, supported_platforms=[ELSEWHERE]), bench.settings)
    assert [(each.code, each.line) for each in both.errors] == [("FLOPS-B023", 2)]
    assert wheels(bench) == before


async def test_a_plan_where_nothing_is_built(bench, repository, links):
    bench.settings = bench.settings.model_copy(update={"build_wheels": False})
    write_sdist(links, "flopure", pure("flopure"))
    commit = repository.commit(FILES | {"requirements.txt": "flopure\n"})
    planned = await forecast(*bench.order(repository, commit), bench.settings)
    assert [each.code for each in planned.errors] == ["FLOPS-B023"]


async def test_an_earlier_lock_counts_only_where_its_wheels_are(bench, repository, links):
    write_sdist(links, "floearlier", pure("floearlier"))
    commit = repository.commit(
        FILES | {"requirements.txt": "floearlier\n", "model_manager.py": importing("floearlier")}
    )
    again = ("mesh", "the locks are those of an earlier build of this commit")
    first = await bench.build(repository, commit, ml_model_flavor="sklearn")
    for each in ("wheels", "locks", "environments"):
        shutil.rmtree(bench.settings.cache_dir / each)
    second = await bench.build(repository, commit, ml_model_flavor="pytorch")
    assert built(bench) == 2
    assert again not in bench.recorder.lines
    mlenv = layers(bench.registry, first.images.learner)["mlenv"]
    assert layers(bench.registry, second.images.learner)["mlenv"] == mlenv
    for each in ("locks", "environments"):
        shutil.rmtree(bench.settings.cache_dir / each)
    await bench.build(repository, commit, ml_model_flavor="keras")
    assert built(bench) == 2
    assert again in bench.recorder.lines


@pytest.fixture
async def conda_bench(bench: Any, tmp_path: Path) -> Any:
    channel = await make_channel(tmp_path / "lab", python=True)
    bench.settings = BuilderSettings(
        cache_dir=bench.settings.cache_dir, runtime_wheels=bench.settings.runtime_wheels, conda_channels=[str(channel)]
    )
    return bench


def environment(*specs: str, pip: str | None = None) -> dict[str, str]:
    lines = "".join(f"  - {each}\n" for each in specs) + (f"  - pip:\n      - {pip}\n" if pip else "")
    return FILES | {"environment.yml": f"channels: [conda-forge]\ndependencies:\n{lines}"}


async def test_what_pip_brings_on_top_of_conda_is_built_too(conda_bench, repository, links):
    before = wheels(conda_bench)
    write_sdist(links, "floontop", pure("floontop"))
    files = environment(f"python={MINOR}", "lab-signal", pip="floontop") | {"model_manager.py": importing("floontop")}
    order = conda_bench.order(repository, repository.commit(files), supported_platforms=BOTH)
    planned = await forecast(*order, conda_bench.settings)
    assert [each.way for each in planned.platforms] == ["conda", "conda"]
    assert all("built from source: floontop 1.0 (floontop-1.0.tar.gz)" in each.why for each in planned.platforms)
    assert wheels(conda_bench) == before

    outcome = await conda_bench.build(repository, order[0].commit, supported_platforms=BOTH)
    for architecture in ("amd64", "arm64"):
        inside = members(layers(conda_bench.registry, outcome.images.learner, architecture)["mlenv"])
        assert f"lib/python{MINOR}/site-packages/floontop.py" in inside
        assert "# built from floontop-1.0.tar.gz" in locks(conda_bench.registry)[f"linux-{architecture}/mlenv.txt"]
    assert built(conda_bench) == 1
    (wheel,) = wheels(conda_bench) - before
    bills = [
        each.read_text()
        for each in (conda_bench.registry / "blobs" / "sha256").glob("*")
        if each.stat().st_size < 10**6
    ]
    components = [each for bill in bills if '"CycloneDX"' in bill for each in json.loads(bill)["components"]]
    found = [each for each in components if each["name"] == "floontop"]
    assert found
    assert all(each["hashes"] == [{"alg": "SHA-256", "content": wheel.parent.name}] for each in found)


async def test_conda_brings_what_cannot_be_built(conda_bench, repository, links):
    write_sdist(links, "lab-signal", own_backend("raise RuntimeError('not on my watch')"))
    commit = repository.commit(environment(f"python={MINOR}", "lab-signal"))
    planned = await forecast(*conda_bench.order(repository, commit), conda_bench.settings)
    assert [each.way for each in planned.platforms] == ["assembled"], "that a build fails shows only when it is done"
    outcome = await conda_bench.build(repository, commit)
    assert "lib" in {
        each.split("/")[0] for each in members(layers(conda_bench.registry, outcome.images.learner)["mlenv"])
    }
    said = [line for _, line in conda_bench.recorder.lines]
    assert any("conda brings the ML environment" in line and "not on my watch" in line for line in said)
