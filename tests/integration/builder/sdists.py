"""Small source archives for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

PYPROJECT = '[build-system]\nrequires = ["setuptools>=61,<81"]\nbuild-backend = "setuptools.build_meta"\n'
OWN_BACKEND = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
EXTENSION = """#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, 0}, {0, 0, 0, 0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "NAME", 0, -1, methods};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModule_Create(&module); }
"""


def pure(name: str, version: str = "1.0", requires: str = "") -> dict[str, str]:
    """A project of one module, built by setuptools."""
    setup = f"from setuptools import setup\nsetup(name={name!r}, version={version!r}, py_modules=[{name!r}]"
    setup += f", install_requires=[{requires!r}])\n" if requires else ")\n"
    return {"pyproject.toml": PYPROJECT, "setup.py": setup, f"{name}.py": "ANSWER = 42\n"}


def native(name: str, version: str = "1.0") -> dict[str, str]:
    """A project of one extension module."""
    setup = f"from setuptools import Extension, setup\nsetup(name={name!r}, version={version!r}, "
    setup += f"ext_modules=[Extension({name!r}, ['{name}.c'])])\n"
    return {"pyproject.toml": PYPROJECT, "setup.py": setup, f"{name}.c": EXTENSION.replace("NAME", name)}


def own_backend(code: str) -> dict[str, str]:
    """A project that brings its own backend, whose `build_wheel` does what is given."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return {"pyproject.toml": OWN_BACKEND, "own.py": f"def build_wheel(folder, settings=None, metadata=None):\n{body}"}


def write_sdist(
    folder: Path, name: str, files: Mapping[str, str], version: str = "1.0", members: tuple[tarfile.TarInfo, ...] = ()
) -> Path:
    """Writes `NAME-VERSION.tar.gz`, with further members as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}-{version}.tar.gz"
    root = f"{name}-{version}"
    information = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with tarfile.open(archive, "w:gz") as tar:
        for path, text in {**files, "PKG-INFO": information}.items():
            member = tarfile.TarInfo(f"{root}/{path}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for member in members:
            tar.addfile(member)
    return archive


def write_wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any") -> Path:
    """Writes a wheel of one module."""
    import zipfile

    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "ANSWER = 41\n")
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return wheel
