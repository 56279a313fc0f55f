"""Locks, the CPU builds of PyTorch, and uv's words in ours. The texts are uv's own."""

from __future__ import annotations

import os
import time

import pytest
from flops_builder.dependencies.declaration import requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.dependencies.unused import unused
from flops_builder.resolve.explain import contradiction, mentioned, reason, similar
from flops_builder.resolve.lock import Lock, LockStore, lock_key, yanked_line
from flops_builder.resolve.torch import cpu_constraints, same_release
from flops_builder.resolve.uv import Target
from hypothesis import given
from hypothesis import strategies as st

TARGET = Target("linux/amd64", "3.11", "2.28")
LOCK = Lock(
    "Numpy==1.26.4 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    "scikit-learn==1.4.2 ; python_version >= '3' \\\n    --hash=sha256:cc\n"
    "own @ https://example.org/own-1-py3-none-any.whl \\\n    --hash=sha256:dd\n"
)
NO_WHEEL = """error: No solution found when resolving dependencies
  cause: Because numpy==1.23.5 has no usable wheels and you require numpy==1.23.5, we can conclude that your \
requirements are unsatisfiable.

hint: Wheels are required for `numpy` because building from source is disabled for all packages
"""
WRONG_ABI = """error: No solution found when resolving dependencies
  cause: Because torch==2.0.0 has no wheels with a matching Python ABI tag (e.g., `cp312`) and you require \
torch==2.0.0, we can conclude that your requirements are unsatisfiable.

hint: You require CPython 3.12 (`cp312`), but we only found wheels for `torch` (v2.0.0) with other tags
"""
NONE_AT_ALL = """error: No solution found when resolving dependencies
  cause: Because all versions of pyspark have no usable wheels and you require pyspark, we can conclude that your \
requirements are unsatisfiable.
"""
RANGE = """error: No solution found when resolving dependencies
  cause: Because all of:
             numpy<=1.9.3
             numpy>=1.10.4,<=1.19.5
          have no usable wheels and only the following versions of numpy are available:
             numpy<=1.9.3
             numpy>=1.10.4
         we can conclude that numpy<=1.19.5 cannot be used.
         And because you require numpy<1.20, we can conclude that your requirements are unsatisfiable.
"""
CONFLICT = """error: No solution found when resolving dependencies
  cause: Because scipy==1.9.3 depends on numpy>=1.18.5,<1.26.0 and you require numpy==2.2.0, we can conclude that your \
requirements and scipy==1.9.3 are incompatible.
         And because you require scipy==1.9.3, we can conclude that your requirements are unsatisfiable.
"""
NOT_FOUND = """error: No solution found when resolving dependencies
  cause: Because scikit-lern was not found in the package registry and you require scikit-lern, we can conclude that \
your requirements are unsatisfiable.
"""


@pytest.mark.parametrize(
    ("explanation", "field", "name"),
    [
        (NO_WHEEL, "no_wheel", "numpy"),
        (WRONG_ABI, "no_wheel", "torch"),
        (NONE_AT_ALL, "no_wheel_at_all", "pyspark"),
        (RANGE, "no_wheel", "numpy"),
        (NOT_FOUND, "not_found", "scikit-lern"),
        ("  cause: Because there is no version of numpy==99.0 and you require it", "no_version", "numpy"),
    ],
)
def test_reasons(explanation, field, name):
    assert getattr(reason(explanation), field) == {name}


def test_a_conflict_in_fewer_words():
    why = reason(CONFLICT)
    assert not why.no_wheel | why.not_found | why.no_version
    assert why.text == (
        "scipy==1.9.3 depends on numpy>=1.18.5,<1.26.0 and you require numpy==2.2.0, so your requirements and "
        "scipy==1.9.3 are incompatible; and because you require scipy==1.9.3"
    ).replace("; and because", "; and")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONFLICT, "scipy==1.9.3 needs numpy>=1.18.5,<1.26.0, but numpy==2.2.0 (r.txt:1) is asked for"),
        (
            "Because scipy<=1.9.3 depends on numpy<1.26.0 and you require",
            "scipy==1.9.3 needs numpy<1.26.0, but numpy==2.2.0 (r.txt:1) is asked for",
        ),
        (
            "Because other[x]>=1,<2 depends on numpy>=1.18,<1.26 and you require",
            "other>=1,<2 needs numpy>=1.18,<1.26, but numpy==2.2.0 (r.txt:1) is asked for",
        ),
        ("Because a depends on b and you require a", "Because a depends on b and you require a"),
        ("Because numpy==2.2.0 depends on x==1, we can", "Because numpy==2.2.0 depends on x==1, we can"),
    ],
)
def test_a_contradiction_as_a_person_would_say_it(text, said):
    wanted = [requirement(text, "r.txt", line) for line, text in enumerate(("numpy==2.2.0", "scipy==1.9.3"), 1)]
    assert contradiction(text, wanted) == said


@given(st.text(max_size=300))
def test_no_explanation_breaks_the_readers(text):
    wanted = [requirement("numpy==2.2.0", "r.txt", 1)]
    assert isinstance(contradiction(text, wanted), str)
    assert reason(text)


@given(st.text(max_size=400), st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True))
def test_what_was_yanked_comes_back_from_the_lock(why, name):
    line = yanked_line(name, "1.2.3", why)
    assert "\n" not in line
    lock = Lock(f"{LOCK.text}{line}\n")
    assert lock.versions == LOCK.versions
    version, told = lock.yanked[name]
    assert version == "1.2.3"
    assert told == " ".join(why.split())[:300].strip()
    assert lock.without({"numpy"}).yanked == lock.yanked


HEAVY = Lock(
    "jupyterlab==4 \\\n    --hash=sha256:aa\n    # via -r wanted.in\n"
    "tornado==6 \\\n    --hash=sha256:bb\n    # via jupyterlab\n"
    "numpy==1 \\\n    --hash=sha256:cc\n    # via\n    #   -r wanted.in\n    #   jupyterlab\n    #   torch\n"
    "torch==2 \\\n    --hash=sha256:dd\n    # via\n    #   -r wanted.in\n    #   timm\n"
    "timm==1 \\\n    --hash=sha256:ee\n    # via -r wanted.in\n"
)


def test_big_packages_that_nobody_needs_are_told_with_what_they_bring():
    wanted = [requirement(text, "r.txt", line) for line, text in enumerate(("numpy", "jupyterlab", "torch", "timm"), 1)]
    sizes = {"jupyterlab": 11_000_000, "tornado": 1_000_000, "numpy": 18_000_000, "torch": None}
    told = unused(wanted, {"numpy": "m.py:1", "timm": "m.py:2"}, HEAVY, frozenset(), sizes)
    assert told == [
        "r.txt:2: the code does not import jupyterlab, and no other package needs it; without it the image has 2 "
        "packages and 12 MB of wheels less"
    ]
    assert unused(wanted, {"jupyterlab": "m.py:1"}, HEAVY, frozenset()) == []
    assert unused(wanted, {}, HEAVY, frozenset({Rule.UNUSED})) == []


def test_requirements_that_an_explanation_names():
    wanted = [requirement(text, "r.txt") for text in ("numpy==2.2.0", "num", "scipy==1.9.3", "pandas")]
    assert [each.name for each in mentioned(wanted, reason(CONFLICT).text)] == ["numpy", "scipy"]


def test_a_misspelt_name_is_recognised():
    assert similar("scikit-lern") == "scikit-learn"
    assert similar("qwertz") is None


def test_versions_of_a_lock():
    assert LOCK.versions == {
        "numpy": "1.26.4",
        "scikit-learn": "1.4.2",
        "own": "https://example.org/own-1-py3-none-any.whl",
    }


def test_a_lock_without_some():
    assert (
        LOCK.without({"numpy", "own"}).text == "scikit-learn==1.4.2 ; python_version >= '3' \\\n    --hash=sha256:cc\n"
    )
    assert LOCK.without(set()) == LOCK


def test_who_wants_what():
    lock = Lock(
        "a==1 \\\n    --hash=sha256:aa\n    # via -r requirements.in\n"
        "B.b==2\n    # via a\n"
        "c==3\n    # via\n    #   b-b\n    #   other[extra]\n"
        "other==4\n    # via -r requirements.in\n"
    )
    assert lock.versions == {"a": "1", "b-b": "2", "c": "3", "other": "4"}
    assert lock.closure("a") == {"a", "b-b", "c"}
    assert lock.closure("other") == {"other", "c"}
    assert lock.without({"b-b", "c", "other"}).text.startswith("a==1")
    assert "b" not in lock.without({"b-b"}).versions


def test_kept_locks_grow_old(tmp_path):
    store = LockStore(tmp_path, hours=1)
    key = lock_key(["numpy"], "linux/amd64")
    assert store.get(key) is None
    store.put(key, LOCK)
    assert store.get(key) == LOCK
    os.utime(tmp_path / key, (0, 0))
    assert store.get(key) is None
    assert key != lock_key(["numpy", "linux/amd64"])


def test_that_there_is_no_lock_counts_for_minutes_only(tmp_path):
    store = LockStore(tmp_path, hours=24)
    store.put_refusal("key", CONFLICT)
    assert (store.get_refusal("key"), store.get("key")) == (CONFLICT, None)
    os.utime(tmp_path / "key.none", (time.time() - 3600, time.time() - 3600))
    assert store.get_refusal("key") is None


@pytest.fixture
def wheels(tmp_path):
    for name in (
        "torch-2.3.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
        "torch-2.4.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
        "torch-2.5.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl",
        "torch-2.6.0+cu124-cp311-cp311-manylinux_2_28_x86_64.whl",
        "torchvision-0.18.0+cpu-cp311-cp311-linux_x86_64.whl",
        "torch-broken.whl",
    ):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "pins"),
    [
        (["torch"], ("torch==2.4.0+cpu", "torchvision==0.18.0+cpu")),
        (["torch==2.3.0"], ("torch==2.3.0+cpu", "torchvision==0.18.0+cpu")),
        (["torch<2", "torchvision==0.1"], ()),
    ],
)
def test_cpu_wheels_of_the_site_are_taken_where_they_fit(wheels, wanted, pins):
    requirements = [requirement(text, "r.txt") for text in wanted]
    assert cpu_constraints(requirements, TARGET, [str(wheels)]) == pins
    assert cpu_constraints(requirements, TARGET, [wheels.as_uri()]) == pins


def test_no_cpu_wheels_for_another_platform(wheels):
    assert cpu_constraints([requirement("torch", "r")], Target("linux/arm64", "3.11", "2.28"), [str(wheels)]) == ()
    assert cpu_constraints([requirement("torch", "r")], TARGET, ["https://example.org/wheels", "/nowhere"]) == ()


def test_the_other_platform_gets_the_same_release():
    assert same_release(("torch==2.4.0+cpu",)) == ("torch==2.4.0",)
