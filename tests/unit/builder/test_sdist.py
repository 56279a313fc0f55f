"""Source archives and build systems, without building anything."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest
from flops_builder.sdist.build_system import LEGACY, BuildSystemError, read_build_system
from flops_builder.sdist.sandbox import Ended
from flops_builder.sdist.unpack import ArchiveLimits, UnsafeArchiveError, native_sources, unpack
from flops_builder.sdist.wheel import BadWheelError, needs_glibc, project_of, rewrite
from flops_builder.sdist.wheelhouse import failure
from hypothesis import given
from hypothesis import strategies as st

LIMITS = ArchiveLimits(10_000, 20)


def zipped(folder, *members):
    archive = folder / "a.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for name, content, mode in members:
            information = zipfile.ZipInfo(name)
            information.external_attr = mode << 16
            target.writestr(information, content)
    return archive


def test_a_zip_is_unpacked(tmp_path):
    archive = zipped(tmp_path, ("a-1/setup.py", "x", 0o644))
    assert (unpack(archive, tmp_path / "there", LIMITS) / "setup.py").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "mode"), [("../evil", 0o644), ("/evil", 0o644), ("a/../../evil", 0o644), ("link", stat.S_IFLNK | 0o777)]
)
def test_a_zip_that_leaves_its_folder(tmp_path, name, mode):
    with pytest.raises(UnsafeArchiveError):
        unpack(zipped(tmp_path, (name, "/etc/passwd", mode)), tmp_path / "there", LIMITS)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(("count", "size", "told"), [(21, 1, "more than 20 members"), (2, 9_000, "are over")])
def test_an_archive_over_a_limit(tmp_path, count, size, told):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for number in range(count):
            member = tarfile.TarInfo(f"a-1/{number}")
            member.size = size
            tar.addfile(member, io.BytesIO(b"x" * size))
    with pytest.raises(UnsafeArchiveError, match=told):
        unpack(tmp_path / "a.tar.gz", tmp_path / "there", LIMITS)


@given(st.binary(max_size=2_000))
def test_bytes_that_are_no_archive(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("archive")
    (folder / "a").write_bytes(content)
    with pytest.raises(UnsafeArchiveError):
        unpack(folder / "a", folder / "there", LIMITS)


def test_native_code_is_told_by_its_files(write):
    folder = write({"a/b.c": "", "a/c.py": "", "tests/d.c": "", "e.pyx": "", "Cargo.toml": ""})
    assert native_sources(folder) == ["Cargo.toml", "a/b.c", "e.pyx"]


def test_build_systems(write, tmp_path):
    folder = write({"setup.py": ""})
    assert read_build_system(folder).backend == LEGACY
    (folder / "pyproject.toml").write_text("[tool.black]\n")
    assert read_build_system(folder).backend == LEGACY
    (folder / "pyproject.toml").write_text('[build-system]\nrequires = ["a"]\nbuild-backend = "b:c"\n')
    assert read_build_system(folder).requires == ("a",)


@pytest.mark.parametrize(
    "text",
    [
        "[build-system",
        "[build-system]\n",
        "[build-system]\nrequires = 3\n",
        '[build-system]\nrequires = []\nbuild-backend = "a"\nbackend-path = [".."]\n',
        '[build-system]\nrequires = []\nbuild-backend = ["a"]\n',
    ],
)
def test_a_broken_build_system(write, text):
    with pytest.raises(BuildSystemError):
        read_build_system(write({"pyproject.toml": text}))


def test_a_folder_that_nothing_builds(write):
    with pytest.raises(BuildSystemError, match="neither"):
        read_build_system(write({"README": ""}))


def test_a_wheel_is_the_same_however_it_was_written(tmp_path):
    for number, names in enumerate((["a.py", "b.py"], ["b.py", "a.py"])):
        with zipfile.ZipFile(tmp_path / f"{number}.whl", "w", zipfile.ZIP_DEFLATED if number else 0) as wheel:
            for name in names:
                wheel.writestr(zipfile.ZipInfo(name, (1990 + number, 1, 1, 0, 0, 0)), name)
    first, second = (rewrite(tmp_path / f"{number}.whl", tmp_path / f"{number}.new") for number in (0, 1))
    assert first == second


def test_the_c_library_that_a_wheel_wants(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("a.so", b"\0GLIBC_2.4\0GLIBC_2.34\0")
        wheel.writestr("b.py", b"GLIBC_2.99")
    assert needs_glibc(tmp_path / "a.whl") == (2, 34)


@pytest.mark.parametrize(
    ("file", "told"),
    [("a-1-py3-none-any.whl", "of a, not"), ("some_name-2-py3-none-any.whl", "version 2"), ("x", "no name of a wheel")],
)
def test_a_wheel_of_something_else(file, told):
    with pytest.raises(BadWheelError, match=told):
        project_of(file, "some-name", "1.0")
    assert project_of("some_name-1.0-py3-none-any.whl", "some-name", "1.0") == "1.0"


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("error: command 'gcc' failed: No such file or directory", "FLOPS-B026", "compiler"),
        ("src/a.c:1:10: fatal error: hdf5.h: No such file or directory", "FLOPS-B026", "needs hdf5.h"),
        ("OSError: [Errno 101] Network is unreachable", "FLOPS-B029", "unreachable"),
        ("cc1: out of memory allocating 65536 bytes", "FLOPS-B027", "memory ran out"),
        ("KeyError: 'x'", "FLOPS-B026", "KeyError"),
        ("", "FLOPS-B026", "exit code 3"),
    ],
)
def test_why_a_build_failed(line, code, told):
    error = failure("a==1", Ended(3, (line,) if line else (), ""))
    assert error.body.code == code
    assert told in error.body.detail
