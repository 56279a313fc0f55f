"""Repairs: what becomes of a requirement, and how it is told."""

from __future__ import annotations

import re
from pathlib import Path

import flops_builder
import pytest
from flops_builder.dependencies.declaration import Declaration, requirement
from flops_builder.dependencies.guest import guest_requirements
from flops_builder.dependencies.python import choose_python
from flops_builder.dependencies.repairs import RULES, repair
from flops_builder.dependencies.rules import ALWAYS, Rule
from flops_protocol.errors import FlopsError
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet


def repaired(*texts, imports=(), off=()):
    wanted = tuple(requirement(text, "conda.yaml", number) for number, text in enumerate(texts, start=1))
    kept, repairs = repair(wanted, dict.fromkeys(imports, "model_manager.py:1"), frozenset(off))
    return [each.text for each in kept], [each.rule for each in repairs]


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("mlflow==2.12.1", [], "mlflow-out"),
        ("mlflow-skinny", [], "mlflow-out"),
        ("pip<=24.0", [], "installer"),
        ("setuptools==69", [], "installer"),
        ("flops-utils", [], "guest"),
        ("flops_utils @ git+https://example.org/u.git@main", [], "guest"),
        ("argparse", [], "standard-library"),
        ("sklearn", ["scikit-learn"], "renamed"),
        ("sklearn==0.0", ["scikit-learn"], "renamed"),
        ("tensorflow-gpu==2.10.0", ["tensorflow==2.10.0"], "renamed"),
        ("opencv-python==4.9.0.80", ["opencv-python-headless==4.9.0.80"], "headless"),
        ("numpy @ file:///croot/n/dist/numpy-1.26.4-cp311-cp311-linux_x86_64.whl", ["numpy==1.26.4"], "local-file"),
        ("numpy @ file:///home/me/numpy-1.26.4.tar.gz", ["numpy==1.26.4"], "local-file"),
        ("certifi @ file:///croot/certifi_1707229174982/work/certifi", ["certifi"], "local-file"),
    ],
)
def test_rules(before, after, rule):
    assert repaired(before) == (after, [rule])
    if rule != "local-file":
        assert repaired(before, off=[rule])[1] == []
        return
    with pytest.raises(FlopsError) as caught:
        repaired(before, off=[rule])
    assert (caught.value.body.code, caught.value.body.line) == ("FLOPS-B021", 1)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=60))
def test_any_file_of_another_machine_becomes_a_release_or_just_the_name(path):
    ((kept,), rules) = repaired(f"numpy @ file:///{path}")
    assert rules == ["local-file"]
    assert kept == "numpy" or kept.startswith("numpy==")


@pytest.mark.parametrize(
    ("texts", "imports", "kept"),
    [
        (["gmpy2==2.1.2", "torch"], ["torch", "torchvision"], ["torchvision", "torch"]),
        (["gmpy2==2.1.2"], ["torch"], ["gmpy2==2.1.2"]),
        (["gmpy2==2.1.2"], ["torchvision", "gmpy2"], ["gmpy2==2.1.2"]),
        (["gmpy2==2.1.2", "torchvision==0.18"], ["torchvision"], ["gmpy2==2.1.2", "torchvision==0.18"]),
    ],
)
def test_gmpy2_is_torchvision_only_where_the_code_says_so(texts, imports, kept):
    assert repaired(*texts, imports=imports)[0] == kept
    assert repaired(*texts, imports=imports, off=["gmpy2"]) == (texts, [])


def test_one_requirement_may_need_two_repairs():
    assert repaired("opencv") == (["opencv-python-headless"], ["renamed", "headless"])


@pytest.mark.parametrize(
    ("text", "module"), [("mlflow==2.12.1", "mlflow"), ("setuptools", "pkg_resources"), ("pip", "pip")]
)
def test_what_the_code_imports_stays(text, module):
    assert repaired(text, imports=[module]) == ([text], [])


def test_most_requirements_stay_as_they_are():
    texts = ["numpy==1.26.4", "cloudpickle", "psutil", "pyyaml", "scikit-learn==1.4.2", "scipy==1.13.0", "torch[x]>2"]
    assert repaired(*texts) == (texts, [])


def test_a_repair_tells_place_change_and_reason():
    _, (told,) = repair((requirement("pip<=24.0", "conda.yaml", 4),), {})
    assert str(told) == "[installer] pip<=24.0 dropped (conda.yaml:4): nothing is installed when the image runs"


def test_every_rule_has_a_name_of_its_own():
    assert len(RULES) == len(set(RULES.values()))


def test_every_rule_stands_in_the_documentation_and_in_italics_where_it_is_always_on():
    page = (Path(__file__).parents[3] / "docs" / "builder.md").read_text()
    rows = [line.split("|")[1] for line in page.split("## Repairs")[1].split("\n## ")[0].splitlines() if "|" in line]
    told = {name: mark == "*" for row in rows for mark, name in re.findall(r"(\*?)`([a-z0-9-]+)`", row)}
    assert told == {rule.value: rule in ALWAYS for rule in Rule}


def test_a_rule_is_made_somewhere_and_nowhere_by_another_name():
    sources = "".join(
        path.read_text() for path in Path(flops_builder.__path__[0]).rglob("*.py") if path.name != "rules.py"
    )
    assert [rule for rule in Rule if f"Rule.{rule.name}" not in sources] == []


def python(asked, pythons, line=3):
    specifier = None if asked is None else SpecifierSet(asked)
    return choose_python(Declaration("conda.yaml", python=specifier, python_line=line), pythons)


@pytest.mark.parametrize(
    ("asked", "pythons", "minor", "rules"),
    [
        (None, ["3.12", "3.11"], "3.12", []),
        (">=3.9", ["3.12", "3.11"], "3.12", []),
        (">=3.9,<3.12", ["3.12", "3.11"], "3.11", []),
        ("==3.11.*", ["3.12", "3.11"], "3.11", []),
        ("==3.11.4", ["3.12", "3.11"], "3.11", ["python-patch"]),
        ("==3.10.14", ["3.13", "3.11"], "3.11", ["python-pin"]),
        ("==3.8.*", ["3.10", "3.12"], "3.12", ["python-pin"]),
    ],
)
def test_python_minor(asked, pythons, minor, rules):
    choice = python(asked, pythons)
    assert choice.minor == minor
    assert [each.rule for each in choice.repairs] == rules


@pytest.mark.parametrize(
    ("asked", "pythons"),
    [("==3.14.*", ["3.11", "3.12"]), ("==2.7.*", ["3.11"]), (">=4", ["3.11"]), (None, ["3.9", "3.10"])],
)
def test_python_that_nobody_has(asked, pythons):
    with pytest.raises(FlopsError) as caught:
        python(asked, pythons)
    assert caught.value.body.code == "FLOPS-B024"


def test_the_guest_gets_what_it_needs_and_no_more():
    wanted, told = guest_requirements((), frozenset(), frozenset())
    assert [each.text for each in wanted] == ["numpy>=1.21"]
    wanted, told = guest_requirements(
        (requirement("numpy==1.26.4", "r"), requirement("datasets==2.19", "r")), {"load_dataset"}, set()
    )
    assert [each.text for each in wanted] == ["numpy==1.26.4", "datasets==2.19", "pyarrow<26", "pillow"]
    assert str(told[-1]) == "[guest-needs] pillow added: the code uses load_dataset()"


def test_what_flops_images_had_is_there_for_code_that_imports_it():
    wanted, told = guest_requirements((), set(), {"flwr_datasets", "sklearn"})
    assert [each.text for each in wanted] == ["numpy>=1.21", "flwr-datasets"]
    assert str(told[-1]) == "[guest-needs] flwr-datasets added: the code imports flwr_datasets"
    assert [each.text for each in guest_requirements(wanted, set(), {"flwr_datasets"})[0]] == [
        "numpy>=1.21",
        "flwr-datasets",
    ]
