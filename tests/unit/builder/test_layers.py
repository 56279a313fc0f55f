"""Layers, and the documents above them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import anyio
import pytest
from flops_builder.image import documents
from flops_builder.image.bytecode import Compiler
from flops_builder.image.environment import prune
from flops_builder.image.files import Member, code_members, environment_members
from flops_builder.image.layer import Layer, LayerCache, header, write_tar
from flops_builder.image.packing import Packed
from flops_builder.image.records import source_hashes
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import Role
from flops_registry.documents import index
from hypothesis import given
from hypothesis import strategies as st

LONG = "opt/flops/mlenv/" + "a" * 90 + "/" + "b" * 90 + "/ünï.py"


def test_an_archive_that_every_reader_reads(tmp_path):
    members = [
        Member("opt/flops/code/run.sh", executable=True, content=b"#!/bin/sh\n"),
        Member("opt/flops/code/a.py", content=b"x" * 1000),
        Member("opt/flops/code/link", link="a.py"),
        Member(LONG, content=b""),
    ]
    digest, size = write_tar(members, tmp_path / "x.tar")
    content = (tmp_path / "x.tar").read_bytes()
    assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (digest, size)
    with tarfile.open(tmp_path / "x.tar") as archive:
        found = {member.name: member for member in archive}
    assert list(found) == sorted(found)
    assert {"opt", "opt/flops", "opt/flops/code"} <= found.keys()
    assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in found.values()} == {(0, 0, "", "", 0)}
    assert found["opt/flops/code/run.sh"].mode == 0o755
    assert found["opt/flops/code/a.py"].mode == 0o644
    assert found["opt/flops/code/link"].linkname == "a.py"
    assert LONG in found
    subprocess.run(["tar", "-tf", tmp_path / "x.tar"], check=True, capture_output=True)


@given(st.permutations([f"opt/{name}" for name in "abcdef"]))
def test_the_order_of_the_members_does_not_matter(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("tar")
    digest, _ = write_tar([Member(name, content=name.encode()) for name in names], folder / "x.tar")
    assert digest == write_tar([Member(name, content=name.encode()) for name in sorted(names)], folder / "y.tar")[0]


def test_neither_times_nor_owners_of_the_files_matter(tmp_path):
    digests = set()
    for number, mode in enumerate((0o600, 0o666)):
        file = tmp_path / f"{number}.py"
        file.write_text("same")
        file.chmod(mode)
        os.utime(file, (number, number))
        digests.add(write_tar([Member("a.py", file=file)], tmp_path / "x.tar")[0])
    assert len(digests) == 1


def test_what_installers_leave_is_left_out(tmp_path):
    for name in ("a/__init__.py", "a-1.dist-info/METADATA", "a-1.dist-info/RECORD", "a-1.dist-info/INSTALLER", ".lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    names = {member.name for member in environment_members(tmp_path, "mlenv")}
    assert names == {"opt/flops/mlenv/a/__init__.py", "opt/flops/mlenv/a-1.dist-info/METADATA"}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"#!/home/me/venv/bin/python\nprint(1)\n", b"#!/usr/bin/env python3\nprint(1)\n"),
        (
            b"#!/bin/sh\n'''exec' /a/very/long/python \"$0\" \"$@\"\n' '''\nprint(1)\n",
            b"#!/usr/bin/env python3\nprint(1)\n",
        ),
    ],
)
def test_console_scripts_name_no_machine(tmp_path, script, expected):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_bytes(script)
    (member,) = environment_members(tmp_path, "mlenv")
    assert member.content == expected
    assert environment_members(tmp_path, "runtime") == []


def test_code_with_links(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "shared.py").write_text("x = 1\n")
    (tmp_path / "sub" / "a.py").write_text("")
    (tmp_path / "sub" / "inside").symlink_to("a.py")
    (tmp_path / "sub" / "outside.py").symlink_to("../shared.py")
    found = {member.name: member for member in code_members(tmp_path / "sub", tmp_path)}
    assert found["opt/flops/code/inside"].link == "a.py"
    assert found["opt/flops/code/outside.py"].file == tmp_path / "shared.py"
    (tmp_path / "sub" / "folder").symlink_to("..")
    with pytest.raises(FlopsError, match="FLOPS-B005"):
        code_members(tmp_path / "sub", tmp_path)


def test_the_cache_gives_back_what_is_whole(tmp_path):
    cache = LayerCache(tmp_path)
    assert cache.get("key", "mlenv") is None
    layer = cache.put("key", "mlenv", [Member("a", content=b"x")])
    assert cache.get("key", "mlenv") == layer
    path = cache.path(layer.digest)
    assert not path.stat().st_mode & stat.S_IWUSR
    path.chmod(0o644)
    path.write_bytes(b"short")
    assert cache.get("key", "mlenv") is None


def test_a_layer_that_fails_leaves_nothing(tmp_path):
    cache = LayerCache(tmp_path)
    with pytest.raises(FileNotFoundError):
        cache.put("key", "mlenv", [Member("a", file=tmp_path / "missing")])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_byte_code_is_the_same_wherever_it_is_made(tmp_path):
    source = "import os\nNAMES = {'b', 'a', 'c'}\ndef f(x):\n    return x in {'u', 'v', 'w'} and 'os' in NAMES\n"
    found = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "package" / "tests").mkdir(parents=True)
        (folder / "package" / "a.py").write_text(source)
        (folder / "package" / "broken.py").write_text("def (\n")
        (folder / "package" / "tests" / "t.py").write_text(source)
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        compiler = Compiler(sys.executable, minor, tmp_path / f"cache-{name}", anyio.CapacityLimiter(2))
        compiled = await compiler.compile(folder, "mlenv")
        (relative,) = compiled
        assert relative == f"package/__pycache__/a.{sys.implementation.cache_tag}.pyc"
        found.add(compiled[relative].read_bytes())
    (content,) = found
    assert int.from_bytes(content[4:8], "little") == 1  # PEP 552: hash-based, unchecked
    assert b"/opt/flops/mlenv/package/a.py" in content
    assert str(tmp_path).encode() not in content


def test_documents_are_what_the_specification_says():
    layers = [Layer("runtime", f"sha256:{'a' * 64}", 10), Layer("code", f"sha256:{'b' * 64}", 5)]
    packed = {each.digest: Packed(f"sha256:{'c' * 64}", 3, "type+gzip", Path("x")) for each in layers}
    configuration, manifest = documents.image(Role.LEARNER, "linux/arm64", "3.11", layers, packed, {"x": "y"})
    config = json.loads(configuration.content)
    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    assert config["config"]["Entrypoint"][-2:] == ["/opt/flops/runtime/flops_start.py", "learner"]
    body = json.loads(manifest.content)
    assert body["schemaVersion"] == 2
    assert body["config"] == {
        "mediaType": configuration.media_type,
        "digest": configuration.digest,
        "size": configuration.size,
    }
    assert [layer["annotations"]["mesh.flops.layer"] for layer in body["layers"]] == ["runtime", "code"]
    assert {(each["mediaType"], each["digest"], each["size"]) for each in body["layers"]} == {
        ("type+gzip", f"sha256:{'c' * 64}", 3)
    }
    joined = json.loads(index({"linux/arm64": manifest, "linux/amd64": manifest}, {}).content)
    assert [each["platform"]["architecture"] for each in joined["manifests"]] == ["amd64", "arm64"]
    assert manifest.digest == f"sha256:{hashlib.sha256(manifest.content).hexdigest()}"


@pytest.mark.parametrize(
    ("name", "kind", "mode", "size"),
    [
        ("a", tarfile.REGTYPE, 0o644, 0),
        ("a" * 100, tarfile.REGTYPE, 0o755, 12345),
        ("opt/flops", tarfile.DIRTYPE, 0o755, 0),
    ],
)
def test_a_header_is_the_one_that_tarfile_writes(name, kind, mode, size):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size = kind, mode, size
    expected = tarfile.TarInfo.frombuf(info.tobuf(tarfile.USTAR_FORMAT), "utf-8", "strict")
    found = tarfile.TarInfo.frombuf(header(name, kind, mode, size), "utf-8", "strict")
    # The checksum was verified when it was read; it differs, because for files the device's number may be left empty.
    assert {**found.get_info(), "chksum": 0} == {**expected.get_info(), "chksum": 0}


def test_what_a_package_says_of_its_files_is_believed_only_when_it_is_true(tmp_path):
    lie = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(b"good").digest()).decode().rstrip("=")
    (tmp_path / "a-1.dist-info").mkdir()
    (tmp_path / "a-1.dist-info" / "RECORD").write_text(f"a.py,{lie},4\nb.py,,\n")
    (tmp_path / "a.py").write_text("evil = 1\n")
    (tmp_path / "b.py").write_text("plain = 1\n")
    hashes = source_hashes(tmp_path)
    assert hashes["a.py"] == hashlib.sha256(b"good").hexdigest()
    assert hashes["b.py"] == hashlib.sha256(b"plain = 1\n").hexdigest()


async def test_byte_code_of_a_file_that_is_not_what_was_said_is_not_kept(tmp_path):
    folder = tmp_path / "environment"
    (folder / "a-1.dist-info").mkdir(parents=True)
    lie = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(b"good").digest()).decode().rstrip("=")
    (folder / "a-1.dist-info" / "RECORD").write_text(f"a.py,{lie},4\n")
    (folder / "a.py").write_text("evil = 1\n")
    compiler = Compiler(sys.executable, "3.11", tmp_path / "cache", anyio.CapacityLimiter(2))
    assert await compiler.compile(folder, "mlenv") == {}
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_layers_that_nobody_uses_are_removed(tmp_path):
    cache = LayerCache(tmp_path)
    old = cache.put("old", "mlenv", [Member("a", content=b"old")])
    new = cache.put("new", "mlenv", [Member("a", content=b"new")])
    linked = tmp_path / "registry-blob"
    os.link(cache.path(old.digest), linked)
    for path in (tmp_path / "keys" / "old", cache.path(old.digest), cache.path(new.digest)):
        os.utime(path, (0, 0))
    cache.prune()
    assert cache.get("old", "mlenv") is None
    assert not cache.path(old.digest).exists()
    assert linked.read_bytes()
    assert cache.get("new", "mlenv") == new


def test_environments_beyond_the_newest_few_are_removed(tmp_path):
    for number in range(12):
        (tmp_path / f"mlenv-{number}").mkdir()
        os.utime(tmp_path / f"mlenv-{number}", (number, number))
    (tmp_path / "mlenv-fresh").mkdir()
    (tmp_path / ".left").mkdir()
    os.utime(tmp_path / ".left", (0, 0))
    prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mlenv-fresh"} | {
        f"mlenv-{number}" for number in range(5, 12)
    }
