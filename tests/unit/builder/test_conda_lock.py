"""Locks of conda environments, and what is asked for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flops_builder.conda.explain import facts
from flops_builder.conda.lock import CondaLock, CondaPackage
from flops_builder.conda.prefix import prefix_members, unrun_scripts
from flops_builder.conda.stubs import stub_requirements
from flops_builder.dependencies.conda import CondaSpec
from flops_builder.image.attestations import bill_of_materials
from flops_builder.resolve.lock import Lock
from hypothesis import given
from hypothesis import strategies as st

names = st.from_regex(r"[a-z_][a-z0-9_.-]{0,12}", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
packages = st.builds(
    CondaPackage,
    url=st.builds(lambda name: f"https://packages.example.org/lab/noarch/{name}-1-0.conda", names),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    name=names,
    version=versions,
    build=names,
    build_number=st.integers(0, 9),
    subdir=st.sampled_from(["noarch", "linux-64", "linux-aarch64"]),
    noarch=st.sampled_from(["python", "generic", None]),
    depends=st.lists(texts, max_size=3).map(tuple),
    site_packages=st.none() | texts,
)
WHEELS = "six==1.16.0 \\\n    --hash=sha256:abc\n    # via -r requirements.in\n"


@given(st.lists(packages, max_size=4), st.dictionaries(names, versions, max_size=4), st.sampled_from(["", WHEELS]))
def test_a_lock_is_read_as_it_was_written(listed, provided, wheels):
    lock = CondaLock(tuple(listed), "3.12", provided, Lock(wheels))
    assert CondaLock.read(lock.lock) == lock
    assert lock.lock.digest == CondaLock.read(lock.lock).lock.digest


@given(texts)
def test_another_lock_is_none_of_condas(text):
    assert CondaLock.read(Lock(f"numpy==1.26.4\n{text}")) is None


def package(name: str, **more) -> CondaPackage:
    url = f"https://packages.example.org/lab/noarch/{name}-1.0-0.conda"
    return CondaPackage(url, "0" * 64, name, "1.0", "py_0", 0, "noarch", "python", (), **more)


def test_what_other_layers_have_to_fit_is_all_that_python_sees():
    lock = CondaLock((package("pytorch"),), "3.12", {"torch": "2.4.0"}, Lock(WHEELS))
    assert lock.python_packages.versions == {"torch": "2.4.0", "six": "1.16.0"}


def test_the_bill_of_materials_says_where_a_package_is_from():
    lock = CondaLock((package("pytorch"),), "3.12", {"torch": "2.4.0"}, Lock(WHEELS))
    bill = bill_of_materials("x/learner", f"sha256:{'0' * 64}", "linux/amd64", {"mlenv": lock.lock})
    components = json.loads(bill.content)["components"]
    assert [each["purl"] for each in components] == [
        "pkg:pypi/six@1.16.0",
        "pkg:conda/pytorch@1.0?build=py_0&subdir=noarch&type=conda",
    ]


def test_what_conda_brings_has_the_same_address_in_every_build(tmp_path):
    first = stub_requirements({"six": "1.16.0", "python-dateutil": "2.9"}, tmp_path)
    content = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for file in tmp_path.iterdir():
        file.unlink()
    assert stub_requirements({"python-dateutil": "2.9", "six": "1.16.0"}, tmp_path) == first
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == content
    assert first[1] == f"six @ {(tmp_path / 'six-1.16.0-py3-none-any.whl').as_uri()}"


TREE = """\
The following packages are incompatible
├─ a * can be installed with any of the following options:
│  └─ a 1.0 would require
│     └─ core <2, which can be installed with any of the following options:
│        └─ core 1.0
└─ b * cannot be installed because there are no viable options:
   └─ b 1.0 would require
      ├─ core >=2, which cannot be installed because there are no viable options:
      │  └─ core 2.0, which conflicts with the versions reported above.
      └─ __cuda >=12, for which no candidates were found."""


def test_a_tree_of_reasons_becomes_facts():
    assert facts(TREE, []) == [
        "a 1.0 needs core <2",
        "b 1.0 needs core >=2",
        "b 1.0 needs __cuda >=12 of the machine, which does not have it: these exclude each other",
    ]


def test_what_the_file_excludes_is_said_with_its_place():
    tree = "a * cannot be installed because there are no viable options:\n└─ a 1.0 would require\n   "
    tree += "└─ core <2, for which no candidates were found."
    assert facts(tree, [CondaSpec("core>=2", "core", "e.yml", 4)]) == [
        "a 1.0 needs core <2, which core>=2 (e.yml:4) excludes"
    ]
    assert facts(tree, []) == ["a 1.0 needs core <2, which no channel has"]


@given(st.text())
def test_any_explanation_is_survived(text):
    assert isinstance(facts(text, []), list)


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        ("#!/opt/flops/mlenv/bin/python3.12", "#!/usr/bin/env python3"),
        ("#!/opt/flops/mlenv/bin/perl -w", "#!/usr/bin/env perl"),
        ("#!/bin/sh", "#!/bin/sh"),
        ("#!/usr/bin/env bash", "#!/usr/bin/env bash"),
    ],
)
def test_programs_run_wherever_the_prefix_lies(tmp_path, first, wanted):
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    program = prefix / "bin" / "tool"
    program.write_text(f"{first}\nthe rest\n")
    program.chmod(0o755)
    (member,) = [each for each in prefix_members(prefix, tmp_path / "cache") if each.name.endswith("bin/tool")]
    content = member.content if member.content is not None else Path(member.file or "").read_bytes()
    assert content.decode() == f"{wanted}\nthe rest\n"
    assert member.executable


def test_a_prefix_without_its_makers_notes(tmp_path):
    prefix, cached = tmp_path / "prefix", tmp_path / "cache" / "package" / "data"
    for name in ("conda-meta/a-1-0.json", "CACHEDIR.TAG", "share/a", "bin/.a-post-link.sh", "bin/.a-pre-unlink.sh"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text("x")
    cached.parent.mkdir(parents=True)
    cached.write_text("big")
    (prefix / "share" / "linked").symlink_to(cached)
    (prefix / "share" / "beside").symlink_to("a")
    members = {each.name.removeprefix("opt/flops/mlenv/"): each for each in prefix_members(prefix, tmp_path / "cache")}
    assert {name for name in members if not name.startswith("bin/")} == {
        "conda-meta/history",
        "share/a",
        "share/beside",
        "share/linked",
    }
    assert members["share/beside"].link == "a"
    assert (members["share/linked"].link, members["share/linked"].file) == (None, cached)
    assert unrun_scripts(prefix) == ["a"]
