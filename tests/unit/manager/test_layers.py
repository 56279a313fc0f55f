"""Layers come out whole, once, and never outside of their folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import threading
from pathlib import Path

import pytest
from flops_manager.adapters.process_engine.layers import BadLayerError, compose, unpack
from hypothesis import given, settings
from hypothesis import strategies as st


def archive(*members: tuple[str, str, str]) -> bytes:
    """(name, kind, content or target)."""
    stream = io.BytesIO()
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}
    kinds |= {"fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kinds[kind]
            if kind == "file":
                info.size = len(content.encode())
                tar.addfile(info, io.BytesIO(content.encode()))
            else:
                info.linkname = content
                tar.addfile(info)
    return stream.getvalue()


def store(folder: Path, content: bytes) -> tuple[Path, str]:
    digest = hashlib.sha256(content).hexdigest()
    blob = folder / "blob"
    blob.write_bytes(content)
    return blob, f"sha256:{digest}"


def extract(folder: Path, content: bytes) -> Path:
    blob, digest = store(folder, content)
    return unpack(blob, digest, folder / "layers", folder / "new")


def test_a_layer_is_unpacked_below_the_image_root(tmp_path: Path) -> None:
    root = extract(
        tmp_path,
        archive(
            ("opt/", "dir", ""),
            ("opt/flops/", "dir", ""),
            ("opt/flops/runtime/", "dir", ""),
            ("opt/flops/runtime/start.py", "file", "print()"),
            ("./opt/flops/runtime/again.py", "sym", "start.py"),
            ("opt/flops/runtime/hard.py", "hard", "opt/flops/runtime/start.py"),
            ("etc/passwd", "file", "root"),
            ("dev/null", "device", ""),
        ),
    )
    assert sorted(path.name for path in (root / "runtime").iterdir()) == ["again.py", "hard.py", "start.py"]
    assert (root / "runtime/again.py").read_text() == (root / "runtime/hard.py").read_text() == "print()"
    assert not (root / "etc").exists()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_compressed_layer_is_unpacked_too(tmp_path: Path) -> None:
    root = extract(tmp_path, gzip.compress(archive(("opt/flops/code/a.py", "file", "x"))))
    assert (root / "code/a.py").read_text() == "x"


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([("/opt/flops/a", "file", "x")], id="absolute"),
        pytest.param([("opt/flops/../../x", "file", "x")], id="upwards"),
        pytest.param([("opt/flops/a", "sym", "/etc")], id="absolute link"),
        pytest.param([("opt/flops/a", "sym", "../../../etc")], id="link upwards"),
        pytest.param([("opt/flops/d/a", "sym", "x/../../../y")], id="link that turns upwards"),
        pytest.param([("opt/flops/a", "sym", "b"), ("opt/flops/a/c", "file", "x")], id="behind a link"),
        pytest.param([("opt/flops/a", "hard", "etc/passwd")], id="hard link outside"),
        pytest.param([("opt/flops/a", "hard", "/etc/passwd")], id="absolute hard link"),
        pytest.param([("opt/flops/s", "sym", "t"), ("opt/flops/a", "hard", "opt/flops/s")], id="hard link to a link"),
        pytest.param([("opt/flops/a", "fifo", "")], id="fifo"),
        pytest.param([("opt/flops/a", "device", "")], id="device"),
        pytest.param([("opt/flops/a", "file", "x"), ("opt/flops/a", "file", "y")], id="twice"),
        pytest.param([("opt/flops/a", "sym", "b"), ("opt/flops/a", "file", "y")], id="file over a link"),
    ],
)
def test_a_layer_that_leads_outside_is_refused_and_leaves_nothing(
    tmp_path: Path, members: list[tuple[str, str, str]]
) -> None:
    with pytest.raises(BadLayerError):
        extract(tmp_path, archive(*members))
    assert list((tmp_path / "new").iterdir()) == []
    assert list((tmp_path / "layers").iterdir()) == []


def test_other_bytes_than_the_digest_says_are_refused(tmp_path: Path) -> None:
    blob, _ = store(tmp_path, archive(("opt/flops/a", "file", "x")))
    with pytest.raises(BadLayerError, match="digest"):
        unpack(blob, f"sha256:{'0' * 64}", tmp_path / "layers", tmp_path / "new")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadLayerError, match="no tar archive"):
        extract(tmp_path, b"<html>not found</html>" * 100)


def test_a_layer_is_unpacked_once(tmp_path: Path) -> None:
    content = archive(("opt/flops/a", "file", "x"))
    first = extract(tmp_path, content)
    (first / "mark").write_text("")
    assert (extract(tmp_path, content) / "mark").exists()


def test_a_layer_that_the_machine_went_down_after_is_unpacked_again(tmp_path: Path) -> None:
    content = archive(("opt/flops/a", "file", "x"))
    root = extract(tmp_path, content)
    mark = root.with_suffix(".boot")
    (root / "a").write_text("")
    mark.write_text("another run of the machine")
    assert (extract(tmp_path, content) / "a").read_text() == "x"
    # After a while it is on the disk, and a reboot makes no difference.
    os.utime(mark, (1, 1))
    extract(tmp_path, content)
    assert not mark.exists()
    (root / "a").write_text("y")
    assert (extract(tmp_path, content) / "a").read_text() == "y"


def test_two_who_unpack_at_once_do_not_meet(tmp_path: Path) -> None:
    members = [(f"opt/flops/code/{number}", "file", "x" * 1000) for number in range(300)]
    blob, digest = store(tmp_path, archive(*members))
    results: list[Path] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        results.append(unpack(blob, digest, tmp_path / "layers", tmp_path / "new"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(results) == 4
    assert len(list((results[0] / "code").iterdir())) == 300


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab./", min_size=1, max_size=12))
def test_no_link_ever_leads_outside(target: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            root = extract(folder, archive(("opt/flops/d/e/link", "sym", target)))
        except BadLayerError:
            return
        link = root / "d/e/link"
        assert link.resolve().is_relative_to(root.resolve())


def test_an_image_root_is_links_to_its_layers(tmp_path: Path) -> None:
    layers = []
    for name in ("runtime", "code"):
        layer = tmp_path / "layers" / (name * 8)
        (layer / name).mkdir(parents=True)
        (layer / name / "file").write_text(name)
        layers.append(layer)
    root = compose(layers, f"sha256:{'1' * 64}", tmp_path / "images", tmp_path / "new")
    assert {path.name: (path / "file").read_text() for path in root.iterdir()} == {"runtime": "runtime", "code": "code"}
    assert not str((root / "code").readlink()).startswith("/")
    assert compose(layers, f"sha256:{'1' * 64}", tmp_path / "images", tmp_path / "new") == root


def test_two_layers_with_the_same_folder_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "code").mkdir(parents=True)
    with pytest.raises(BadLayerError, match="two layers"):
        compose([tmp_path / "a", tmp_path / "b"], f"sha256:{'1' * 64}", tmp_path / "images", tmp_path / "new")


def test_a_layer_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = archive(("opt/flops/a", "file", "x" * 5000))
    with pytest.raises(BadLayerError):
        extract(tmp_path, content[:3000])
    assert list((tmp_path / "layers").iterdir()) == []
