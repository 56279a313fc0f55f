"""A lock that uv has made, read by us and exported by uv: the same packages, on every platform and Python."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from flops_builder.dependencies.files.locked import Wanted
from flops_builder.dependencies.files.uv_lock import read_uv_lock
from packaging.requirements import Requirement
from uv import find_uv_bin

PROJECT = """
[project]
name = "example"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["scikit-learn", "pandas[excel]", "uvicorn[standard]", "colorama ; sys_platform == 'win32'"]
[project.optional-dependencies]
train = ["tqdm", "example[plot]"]
plot = ["matplotlib"]
[dependency-groups]
dev = ["pytest"]
"""
PLATFORMS = [
    {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11", "python_full_version": "3.11.9"},
    {"sys_platform": "linux", "platform_machine": "aarch64", "python_version": "3.13", "python_full_version": "3.13.1"},
    {"sys_platform": "win32", "platform_machine": "AMD64", "python_version": "3.12", "python_full_version": "3.12.4"},
]


def uv(folder: Path, *arguments: str) -> str:
    command = [find_uv_bin(), *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text(PROJECT)
    uv(folder, "lock", "--quiet")
    return folder


@pytest.mark.parametrize("extras", [(), ("train",)], ids=["plain", "with an extra"])
def test_uv_lock_is_read_as_uv_reads_it(project, extras):
    options = ["--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--no-annotate", "--no-header", "--quiet"]
    exported = uv(project, "export", *options, *(f"--extra={extra}" for extra in extras))
    theirs = [Requirement(line) for line in exported.splitlines() if line.strip()]
    ours = [each.parsed for each in read_uv_lock(project, "uv.lock", Wanted(extras=extras)).requirements]
    for platform in PLATFORMS:
        assert installed(ours, platform) == installed(theirs, platform)
    assert ("matplotlib" in {each.name for each in ours}) == bool(extras)


def installed(requirements: list[Requirement], platform: dict[str, str]) -> set[str]:
    common = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return {
        f"{each.name}{each.specifier}"
        for each in requirements
        if each.marker is None or each.marker.evaluate({**common, **platform})
    }
