"""`flops base`: Debian's packages as a base image, and Python running in it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)
HERE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[platform.machine()]
OTHER = {"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[HERE]
MACHINE_CODE = {"linux/amd64": b"\x3e\x00", "linux/arm64": b"\xb7\x00"}
"""e_machine of an ELF file (System V ABI): x86-64 and AArch64."""


@pytest.fixture
def _debian():
    """A machine that can make one."""
    reason = None
    if shutil.which("mmdebstrap") is None:
        reason = "there is no mmdebstrap on this machine (apt-get install mmdebstrap)"
    elif not Path("/etc/apt").is_dir():
        reason = "this machine has no package sources of Debian"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def flops_base(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flops_cli", "base", f"oci:{folder}:python", "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def document(folder: Path, digest: str) -> dict:
    return json.loads((folder / "blobs" / digest.replace(":", "/")).read_bytes())


def rootfs(folder: Path, image: str, wanted: str) -> Path:
    index = document(folder, image.rpartition("@")[2])
    (digest,) = [
        each["digest"]
        for each in index["manifests"]
        if f"{each['platform']['os']}/{each['platform']['architecture']}" == wanted
    ]
    (layer,) = document(folder, digest)["layers"]
    return folder / "blobs" / layer["digest"].replace(":", "/")


@pytest.mark.usefixtures("_debian")
def test_a_base_image_of_debians_packages(tmp_path):
    done = flops_base(tmp_path / "base", "--platform", HERE, "--platform", OTHER)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["python"].startswith("3.")
    for each in (HERE, OTHER):
        with tarfile.open(rootfs(tmp_path / "base", made["image"], each)) as archive:
            names = archive.getnames()
            python = archive.extractfile(f"usr/bin/python{made['python']}")
            assert python is not None
            assert python.read(20)[18:20] == MACHINE_CODE[each]
            bundle = archive.extractfile("etc/ssl/certs/ca-certificates.crt")
            assert bundle is not None
            assert bundle.read().count(b"BEGIN CERTIFICATE") > 50
            assert not [name for name in names if name.startswith(("etc/apt", "usr/share/doc/", "var/cache/apt/"))]
            assert {"etc/passwd", "tmp", "bin/sh"} <= set(names)
            assert max(member.mtime for member in archive) == 0
    if os.geteuid() != 0:
        return  # only root may go into it
    with tarfile.open(rootfs(tmp_path / "base", made["image"], HERE)) as archive:
        archive.extractall(tmp_path / "root", filter="fully_trusted")
    script = "import ssl, ctypes, sqlite3, lzma, pwd; ctypes.CDLL('libstdc++.so.6'); print(pwd.getpwuid(0).pw_name)"
    inside = subprocess.run(
        ["chroot", tmp_path / "root", "/usr/bin/python3", "-c", script], capture_output=True, text=True, check=True
    )
    assert inside.stdout == "root\n"


def test_without_mmdebstrap_it_says_what_to_install(tmp_path):
    done = flops_base(tmp_path / "base", PATH=str(tmp_path))
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "FLOPS-B048"
    assert "apt-get install mmdebstrap" in error["hint"]
    assert not (tmp_path / "base" / "index.json").exists()
