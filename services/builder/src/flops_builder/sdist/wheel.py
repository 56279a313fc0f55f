"""A wheel that was built here: read, checked, and written again so that the same source gives the same bytes."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a ZIP archive can tell."""
GLIBC_SYMBOL = re.compile(rb"GLIBC_2\.(\d+)")


class BadWheelError(Exception):
    """Raised when what a backend has built is no wheel of the project. Its text says why."""


def rewrite(wheel: Path, target: Path) -> str:
    """Copies a wheel without what differs from one build to the next: order, times, compression. Its SHA-256.

    :raises BadWheelError: when it cannot be read
    """
    try:
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
            for member in sorted(source.infolist(), key=lambda each: each.filename):
                if member.is_dir():
                    continue
                information = zipfile.ZipInfo(member.filename, EPOCH)
                executable = (member.external_attr >> 16) & 0o111
                information.external_attr = (0o100755 if executable else 0o100644) << 16
                with source.open(member) as content, copy.open(information, "w", force_zip64=True) as written:
                    while chunk := content.read(1024 * 1024):
                        written.write(chunk)
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise BadWheelError(f"what was built cannot be read: {error}") from error
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def project_of(file: str, name: str, version: str | None) -> str:
    """The version of a wheel, by its file's name.

    :param name: the project that it has to be of
    :param version: the version that it has to have; None: any
    :raises BadWheelError: when it is of another project or version
    """
    try:
        found, has, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        raise BadWheelError(f"what was built is called {file}, which is no name of a wheel") from error
    if found != canonicalize_name(name):
        raise BadWheelError(f"the source is of {found}, not of {name}")
    if version is not None and has != Version(version):
        raise BadWheelError(f"the source is of version {has}, not {version}")
    return str(has)


def needs_glibc(wheel: Path) -> tuple[int, int] | None:
    """The C library that a wheel's compiled files want at least, by the versions of the symbols that they name."""
    wanted = 0
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.endswith(".so") or ".so." in member:
                wanted = max([wanted, *(int(each) for each in GLIBC_SYMBOL.findall(archive.read(member)))])
    return (2, wanted) if wanted else None
