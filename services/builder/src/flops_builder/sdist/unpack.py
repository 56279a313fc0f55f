"""Source archives, unpacked without trusting them: no member lands outside, and nothing grows without a bound."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_PATH = 500
NATIVE = frozenset(
    {*(".c", ".cc", ".cpp", ".cxx", ".cu", ".f", ".f90", ".m", ".pyx", ".rs", ".s", ".swg", ".go"), ".i"}
)
"""Endings of sources that a compiler is needed for."""
NATIVE_NAMES = frozenset({"CMakeLists.txt", "meson.build", "Cargo.toml"})
ASIDE = frozenset({"test", "tests", "doc", "docs", "example", "examples", "benchmark", "benchmarks"})
"""Folders whose sources do not go into a wheel."""


class UnsafeArchiveError(Exception):
    """Raised when an archive would leave its folder, is over a limit, or is none. Its text says which."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How much may come out of an archive."""

    bytes: int
    files: int


def unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> Path:
    """Unpacks a `.tar.*` or `.zip` into `folder`, which is created; returns the folder of the project in it.

    :raises UnsafeArchiveError: when it cannot be unpacked safely
    """
    folder.mkdir(parents=True)
    with _told_as_unsafe():
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder, limits)
        else:
            _untar(archive, folder, limits)
    there = list(folder.iterdir())
    if len(there) == 1 and there[0].is_dir() and not there[0].is_symlink():
        return there[0]
    return folder


@contextmanager
def _told_as_unsafe() -> Iterator[None]:
    try:
        yield
    except tarfile.FilterError as error:  # absolute, outside, a device, a link that leaves (tarfile, "data" filter)
        raise UnsafeArchiveError(str(error)) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UnsafeArchiveError(f"it is no archive that can be read: {error}") from error


def _untar(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    with tarfile.open(archive, "r|*") as source:  # as a stream: a limit is met before what lies behind it is read
        count = Count(limits)
        for member in source:
            count.add(member.name, member.size)
            source.extract(member, folder, filter="data")


def _unzip(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    with zipfile.ZipFile(archive) as source:
        count = Count(limits)
        for member in source.infolist():
            count.add(member.filename, member.file_size)
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise UnsafeArchiveError(f"{member.filename!r} would be extracted outside of its folder")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UnsafeArchiveError(f"{member.filename!r} is a link")
            source.extract(member, folder)  # never more than file_size: zipfile stops there


class Count:
    """What has come out of an archive so far."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self._files = 0

    def add(self, name: str, size: int) -> None:
        """Counts one member.

        :raises UnsafeArchiveError: when it is one too many
        """
        self._bytes += size
        self._files += 1
        if name.startswith(("/", "\\")):
            raise UnsafeArchiveError(f"{name!r} is an absolute path")
        if len(name) > MAX_PATH:
            raise UnsafeArchiveError(f"{name[:100]!r}… is a path of {len(name)} characters")
        if self._files > self._limits.files:
            raise UnsafeArchiveError(f"it has more than {self._limits.files} members")
        if self._bytes > self._limits.bytes:
            raise UnsafeArchiveError(f"its files are over {self._limits.bytes // 1_000_000} MB")


def native_sources(folder: Path) -> list[str]:
    """Files that a compiler is needed for, relative and sorted; empty: the project is pure Python."""
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        named = path.suffix.lower() in NATIVE or path.name in NATIVE_NAMES
        if named and not ASIDE.intersection(relative.parts[:-1]) and path.is_file():
            found.append(relative.as_posix())
    return sorted(found)
