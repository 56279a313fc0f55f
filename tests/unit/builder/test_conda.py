"""conda environments, as people and MLflow write them."""

from __future__ import annotations

import contextlib

import pytest
from flops_builder.dependencies.files.conda import read_conda
from flops_protocol.errors import FlopsError
from hypothesis import given
from hypothesis import strategies as st


def read(write, text):
    return read_conda(write({"conda.yaml": text}), "conda.yaml")


def texts(declaration):
    return [each.text for each in declaration.requirements]


def rules(declaration):
    return [each.rule for each in declaration.repairs]


def test_pip_list_among_its_neighbours(write):
    found = read(write, "dependencies:\n- python=3.10.14\n- pip<=24.0\n- pip:\n  - mlflow==2.12.1\n  - numpy\n")
    assert texts(found) == ["pip<=24.0", "mlflow==2.12.1", "numpy"]
    assert str(found.python) == "==3.10.14"
    assert found.repairs == ()


def test_pip_list_at_the_wrong_depth_is_mended(write):
    text = (
        "name: x\ndependencies:\n  - python=3.10.14\n  - pip<=24.0\n- pip:\n  - numpy==1.26.4\n  - scipy\nprefix: /x\n"
    )
    found = read(write, text)
    assert texts(found) == ["pip<=24.0", "numpy==1.26.4", "scipy"]
    assert rules(found) == ["conda-indentation"]
    assert (found.repairs[0].file, found.repairs[0].line) == ("conda.yaml", 5)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.4", "numpy==1.26.4"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy>=1.2,<2", "numpy<2,>=1.2"),
        ("numpy >=1.2", "numpy>=1.2"),
        ("numpy 1.26.*", "numpy==1.26.*"),
        ("numpy=1.26.4=py310h5f9d8c6_0", "numpy==1.26.4"),
        ("numpy 1.26.4 py310h5f9d8c6_0", "numpy==1.26.4"),
        ("conda-forge::numpy=1.26.4", "numpy==1.26.4"),
        ("numpy[version='>=1.2,<2']", "numpy<2,>=1.2"),
        ("numpy>=1.2.*", "numpy>=1.2"),
        ("numpy=*", "numpy"),
        ("pytorch=2.2", "torch==2.2.*"),
        ("py-opencv", "opencv-python"),
        ("NumPy", "numpy"),
    ],
)
def test_specs_are_translated(write, spec, expected):
    assert texts(read(write, f'dependencies:\n- "{spec}"\n')) == [expected]


def test_every_translation_that_changes_something_is_told(write):
    found = read(write, "dependencies:\n- pytorch=2.2.0\n- numpy=1.26.4=py310_0\n- cudatoolkit=11.8\n")
    assert rules(found) == ["conda-name", "conda-build", "conda-not-python"]
    assert texts(found) == ["torch==2.2.0", "numpy==1.26.4"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("dependencies: [a\n", 2, ""),
        ("- a\n", 1, "mapping"),
        ("dependencies: numpy\n", 1, "no list"),
        ("dependencies:\n- numpy\n- {a: 1, b: 2}\n", 3, "text"),
        ("dependencies:\n- pip: numpy\n", 2, "list"),
        ("dependencies:\n- pip:\n  - a: b\n", 3, "text"),
        ("dependencies:\n- numpy\n- '!!'\n", 3, "no conda requirement"),
        ("dependencies:\n- python=three\n", 2, "Python versions"),
        ("dependencies:\n- pip:\n  - numpy\n  - 'numpy=='\n", 4, "no requirement"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(write, text, line, said):
    with pytest.raises(FlopsError) as caught:
        read(write, text)
    assert caught.value.body.code == "FLOPS-B021"
    assert (caught.value.body.file, caught.value.body.line) == ("conda.yaml", line)
    assert said in caught.value.body.detail


def test_an_environment_without_dependencies_does_not_count(write):
    assert read(write, "name: x\n") is None


def test_a_nested_requirements_file_is_read(write):
    folder = write({"conda.yaml": "dependencies:\n- pip:\n  - -r more.txt\n", "more.txt": "scipy\n"})
    found = read_conda(folder, "conda.yaml")
    assert [(each.text, each.file) for each in found.requirements] == [("scipy", "more.txt")]


@given(st.text(max_size=200))
def test_nothing_but_a_typed_error_comes_out(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("conda")
    (folder / "conda.yaml").write_text(f"dependencies:\n- {text}\n", encoding="utf-8", errors="replace")
    with contextlib.suppress(FlopsError):
        read_conda(folder, "conda.yaml")


def test_what_only_conda_can_say_is_told_with_its_line(write):
    found = read(write, "channels: [lab]\ndependencies:\n- python=3.11\n- lab::numpy=1.2|1.3\n- pip: [six]\n")
    assert found.conda is not None
    assert found.conda.refused is not None
    assert (found.conda.refused.body.file, found.conda.refused.body.line) == ("conda.yaml", 4)
    assert "alternatives" in found.conda.refused.body.detail
    assert [(each.channel, each.text) for each in found.conda.specs] == [
        (None, "python=3.11"),
        ("lab", "numpy=1.2|1.3"),
    ]
    assert [each.text for each in found.conda.pip] == ["six"]
    assert found.conda.channels == ("lab",)
