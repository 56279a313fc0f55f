"""Layers, compressed and back."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from flops_registry.compression import MEDIA_TYPES, BadCompressionError, Compression, compress, decompress
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS: tuple[Compression, ...] = ("gzip", "zstd")
BIG = bytes(range(256)) * 20_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["empty", "small", "big"])
def test_the_same_bytes_whatever_the_number_of_cores(tmp_path: Path, kind: Compression, content: bytes) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    made = {compress(source, target, kind, threads) for threads in (1, 2, 7)}
    assert len(made) == 1
    packed = target.read_bytes()
    (only,) = made
    assert (only.digest, only.size) == (f"sha256:{hashlib.sha256(packed).hexdigest()}", len(packed))
    decompress(target, tmp_path / "back", MEDIA_TYPES[kind])
    assert (tmp_path / "back").read_bytes() == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.binary(max_size=5000), kind=st.sampled_from(KINDS))
def test_whatever_goes_in_comes_out(tmp_path: Path, content: bytes, kind: Compression) -> None:
    (tmp_path / "source").write_bytes(content)
    compress(tmp_path / "source", tmp_path / "target", kind)
    decompress(tmp_path / "target", tmp_path / "back", MEDIA_TYPES[kind])
    assert (tmp_path / "back").read_bytes() == content


def test_other_programs_read_it(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BIG)
    compress(tmp_path / "source", tmp_path / "target.gz", "gzip")
    assert gzip.decompress((tmp_path / "target.gz").read_bytes()) == BIG
    program = shutil.which("gzip")
    if program is not None:
        assert subprocess.run([program, "-dc", tmp_path / "target.gz"], capture_output=True, check=True).stdout == BIG


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_are_told(tmp_path: Path, kind: Compression) -> None:
    (tmp_path / "source").write_bytes(BIG)
    compress(tmp_path / "source", tmp_path / "target", kind)
    packed = (tmp_path / "target").read_bytes()
    for damaged in (packed[: len(packed) // 2], b"nothing of the kind", packed[:-3] + b"abc"):
        (tmp_path / "target").write_bytes(damaged)
        with pytest.raises(BadCompressionError):
            decompress(tmp_path / "target", tmp_path / "back", MEDIA_TYPES[kind])


def test_a_layer_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(BadCompressionError, match="xz"):
        decompress(tmp_path / "source", tmp_path / "back", "application/x-xz")
