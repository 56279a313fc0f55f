"""A laboratory's channel: Python, and packages that PyPI does not have."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from rattler.index import index_fs

from tests.conda.packages import PLACEHOLDER, Package, python_package

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION = f"{MINOR}.{sys.version_info.micro}"
PLATFORMS = ("linux-64", "linux-aarch64")
LEFT_OUT = frozenset(
    {"test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages", "__pycache__", "turtledemo"}
)
SIGNAL = """\
import os
import sys

import lab_core


def scale():
    # Only in conda's own Python, and with its programs at hand.
    assert os.path.isdir(os.path.join(sys.prefix, "conda-meta")), sys.prefix
    assert os.environ["PATH"].split(":")[0] == os.path.join(os.environ["CONDA_PREFIX"], "bin")
    return lab_core.SCALE


def main():
    print(scale())
"""
CONFIGURATION = f"prefix = {PLACEHOLDER}\n"
TOOL = f"#!{PLACEHOLDER}/bin/perl -w\nprint 'tool';\n"


async def make_channel(folder: Path, *, python: bool = False, signals: Sequence[str] = ("1.0", "1.1")) -> Path:
    """Writes and indexes the channel.

    :param python: whether its Python for this machine is a real one, a copy of the one that runs the tests
    :param signals: the versions of lab-signal
    """
    for subdir in PLATFORMS:
        here = python and subdir == f"linux-{'64' if sysconfig.get_platform() == 'linux-x86_64' else 'aarch64'}"
        (real_python(subdir) if here else hollow_python(subdir)).write(folder)
        core = f"lib/python{MINOR}/site-packages"
        Package(
            "lab-core",
            "2.1",
            f"h{subdir.replace('-', '')}_0",
            subdir,
            files={
                f"{core}/lab_core.py": b"SCALE = 2.0\n",
                f"{core}/lab_core-2.1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: lab-core\nVersion: 2.1\n",
                "etc/lab.conf": CONFIGURATION.encode(),
                "lib/liblab.so": b"\x7fELF\0" + PLACEHOLDER.encode() + b"/share/lab\0end",
                "bin/lab-tool": TOOL.encode(),
                "bin/.lab-core-post-link.sh": b"#!/bin/sh\ntouch $PREFIX/post-link-ran\n",
            },
            programs=["bin/lab-tool", "bin/.lab-core-post-link.sh"],
            depends=[f"python {MINOR}.*", "__glibc >=2.17", "__linux"],
            archive=".tar.bz2",
        ).write(folder)
    Package("lab-amd64", subdir="linux-64", files={"share/lab-amd64": b""}).write(folder)
    Package("lab-new", subdir="linux-64", files={"share/new": b""}, depends=["__glibc >=2.99"]).write(folder)
    python_package("lab-old", "1.0", {"lab_old.py": ""}).write(folder)
    for version in signals:
        python_package(
            "lab-signal",
            version,
            {"lab_signal/__init__.py": SIGNAL},
            depends=["lab-core >=2"],
            entry_points=["lab-signal = lab_signal:main"],
        ).write(folder)
    python_package("six", "1.16.0", {"six.py": "FROM_CONDA = True\n"}).write(folder)
    await index_fs(folder)
    return folder


def hollow_python(subdir: str) -> Package:
    """A Python that can be solved for and linked, not run."""
    files: dict[str, bytes | Path] = {f"bin/python{MINOR}": b"\x7fELF", f"lib/python{MINOR}/os.py": b"x = 1\n"}
    links = {"bin/python": f"python{MINOR}", "bin/python3": f"python{MINOR}"}
    return Package("python", VERSION, "0_cpython", subdir, files, links, programs=[f"bin/python{MINOR}"])


def real_python(subdir: str) -> Package:
    """The Python that runs the tests, as far as the ML worker needs it."""
    base, library = Path(sys.base_prefix), Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    files: dict[str, bytes | Path] = {}
    for path in sorted(library.rglob("*")):
        relative = path.relative_to(library)
        unwanted = not LEFT_OUT.isdisjoint(relative.parts) or relative.parts[0].startswith("config-")
        if path.is_file() and not unwanted:
            files[f"lib/python{MINOR}/{relative.as_posix()}"] = path
    files[f"bin/python{MINOR}"] = (base / "bin" / f"python{MINOR}").resolve()
    for shared in sorted((base / "lib").glob(f"libpython{MINOR}.so*")):
        files[f"lib/{shared.name}"] = shared
    links = {"bin/python": f"python{MINOR}", "bin/python3": f"python{MINOR}"}
    return Package("python", VERSION, "0_cpython", subdir, files, links)
