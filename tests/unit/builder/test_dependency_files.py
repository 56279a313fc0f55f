"""pyproject.toml, setup.cfg, and which file counts."""

from __future__ import annotations

import pytest
from flops_builder.dependencies.choice import read_dependencies
from flops_builder.dependencies.files.pyproject import read_pyproject
from flops_protocol.errors import FlopsError

TOOLS_ONLY = '[tool.ruff]\nline-length = 100\n[project]\nname = "x"\n'


def texts(declaration):
    return [each.text for each in declaration.requirements]


PEP_621 = """[project]
name = "x"
requires-python = ">=3.10"
dependencies = [
  "numpy",
  "torch>2",
]
"""
DYNAMIC = """[project]
name = "x"
dynamic = ["dependencies"]
[tool.setuptools.dynamic]
dependencies = {file = ["req.txt"]}
"""


def test_pep_621(write):
    found = read_pyproject(write({"pyproject.toml": PEP_621}), "pyproject.toml")
    assert texts(found) == ["numpy", "torch>2"]
    assert str(found.python) == ">=3.10"
    assert [each.line for each in found.requirements] == [5, 6]
    assert found.python_line == 3


def test_dynamic_dependencies_come_from_their_file(write):
    assert texts(read_pyproject(write({"pyproject.toml": DYNAMIC, "req.txt": "scipy\n"}), "pyproject.toml")) == [
        "scipy"
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("^1.2.3", "numpy<2,>=1.2.3"),
        ("^0.2.3", "numpy<0.3,>=0.2.3"),
        ("^0.0.3", "numpy<0.0.4,>=0.0.3"),
        ("^1", "numpy<2,>=1"),
        ("~1.2", "numpy<1.3,>=1.2"),
        ("~1", "numpy<2,>=1"),
        ("~=1.2", "numpy~=1.2"),
        ("1.2.3", "numpy==1.2.3"),
        ("*", "numpy"),
        (">=1.2, <2", "numpy<2,>=1.2"),
    ],
)
def test_poetry_versions(write, version, expected):
    found = read_pyproject(
        write({"pyproject.toml": f'[tool.poetry.dependencies]\npython = "^3.10"\nnumpy = "{version}"\n'}),
        "pyproject.toml",
    )
    assert texts(found) == [expected]
    assert str(found.python) == "<4,>=3.10"


def test_poetry_tables(write):
    text = """[tool.poetry.dependencies]
a = {version = "^1", extras = ["x"]}
b = {version = "*", optional = true}
c = {version = "2", python = ">=3.9,<3.12"}
d = {git = "https://example.org/d.git", tag = "v1"}
"""
    found = read_pyproject(write({"pyproject.toml": text}), "pyproject.toml")
    assert texts(found) == [
        "a[x]<2,>=1",
        'c==2; python_version >= "3.9" and python_version < "3.12"',
        "d@ git+https://example.org/d.git@v1",
    ]
    assert "optional" in found.warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "[project\n",
        '[project]\ndependencies = "numpy"\n',
        '[project]\ndependencies = ["numpy=="]\n',
        "project = 3\n",
        '[tool.poetry.dependencies]\na = {path = "../a"}\n',
        '[tool.poetry.dependencies]\na = "1 || 2"\n',
        '[project]\ndependencies = []\nrequires-python = "new"\n',
    ],
)
def test_what_cannot_be_read_is_told(write, text):
    with pytest.raises(FlopsError) as caught:
        read_pyproject(write({"pyproject.toml": text}), "pyproject.toml")
    assert caught.value.body.code == "FLOPS-B021"
    assert caught.value.body.file == "pyproject.toml"


def test_the_first_file_that_declares_something_counts(write):
    folder = write(
        {"requirements.txt": "scipy\n", "environment.yml": "dependencies:\n- numpy\n", "pyproject.toml": TOOLS_ONLY}
    )
    found = read_dependencies(folder)
    assert (found.file, texts(found)) == ("environment.yml", ["numpy"])
    assert found.ignored == ("pyproject.toml", "requirements.txt")


def test_a_pyproject_that_only_configures_tools_does_not_count(write):
    found = read_dependencies(write({"requirements.txt": "scipy\n", "pyproject.toml": TOOLS_ONLY}))
    assert (found.file, found.ignored) == ("requirements.txt", ("pyproject.toml",))


def test_an_empty_declaration_counts_when_there_is_no_other(write):
    found = read_dependencies(write({"pyproject.toml": '[project]\nname = "x"\ndependencies = []\n'}))
    assert (found.file, found.requirements, found.ignored) == ("pyproject.toml", (), ())


def test_setup_cfg(write):
    found = read_dependencies(
        write({"setup.cfg": "[options]\npython_requires = >=3.9\ninstall_requires =\n    numpy\n    scipy>=1\n"})
    )
    assert (found.file, texts(found), str(found.python)) == ("setup.cfg", ["numpy", "scipy>=1"], ">=3.9")


@pytest.mark.parametrize("files", [{"README.md": "x"}, {"pyproject.toml": TOOLS_ONLY}])
def test_no_dependency_file(write, files):
    with pytest.raises(FlopsError) as caught:
        read_dependencies(write(files))
    assert caught.value.body.code == "FLOPS-B020"
    assert "requirements.txt" in caught.value.body.detail
