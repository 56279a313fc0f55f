"""Lock files: what is wanted under which condition, and nothing but typed errors from broken ones."""

from __future__ import annotations

import contextlib
import json

import pytest
from flops_builder.dependencies.choice import ORDER
from flops_builder.dependencies.files.locked import ALWAYS, MAX_TERMS, Edge, Wanted, conditions, marker_text
from flops_protocol.errors import FlopsError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from packaging.markers import Marker

LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"}
MARKERS = [
    "",
    'sys_platform == "linux"',
    'sys_platform == "win32"',
    'platform_machine == "x86_64"',
    'python_version < "3.9"',
]
NAMES = st.sampled_from("abcdef")
EDGES = st.dictionaries(NAMES, st.lists(st.builds(Edge, NAMES, st.sampled_from(MARKERS)), max_size=4))


@given(st.lists(st.builds(Edge, NAMES, st.sampled_from(MARKERS)), max_size=4), EDGES)
def test_a_condition_holds_just_where_a_way_leads_to_the_package(roots, edges):
    found = conditions(roots, edges)
    reached, waiting = set(), [edge for edge in roots if holds(edge.marker)]
    while waiting:
        edge = waiting.pop()
        if edge.package not in reached:
            reached.add(edge.package)
            waiting += [each for each in edges.get(edge.package, ()) if holds(each.marker)]
    assert {name for name, condition in found.items() if holds(marker_text(condition))} == reached


def holds(marker: str) -> bool:
    return not marker or Marker(marker).evaluate(LINUX)


def test_too_many_conditions_are_no_condition():
    roots = [Edge("a", f'python_version != "3.{number}"') for number in range(MAX_TERMS + 1)]
    assert conditions(roots, {})["a"] == ALWAYS


def test_a_ring_ends():
    assert set(conditions([Edge("a")], {"a": [Edge("b")], "b": [Edge("a", MARKERS[1])]})) == {"a", "b"}


KEYS = [
    "package", "packages", "name", "version", "source", "registry", "virtual", "dependencies", "marker", "extra",
    "default", "_meta", "requires", "python_version", "git", "path", "groups", "metadata", "python-versions", "project",
    "optional-dependencies", "markers", "file", "requirements", "vcs", "directory",
]  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(["1.0", ".", "", "==1", "main", 1, True, 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock", "Pipfile", "pyproject.toml"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
@example(document={"package": [], "metadata": {"python-versions": []}})
def test_nothing_but_a_typed_error_comes_out(name, document, write):
    folder = write({name: json.dumps(document) if name == "Pipfile.lock" else toml(document)})
    with contextlib.suppress(FlopsError):
        ORDER[name](folder, name, Wanted())


def toml(value, top=True):
    """A document as TOML, with inline tables."""
    if isinstance(value, dict) and top:
        return "".join(f'"{key}" = {toml(each, top=False)}\n' for key, each in value.items())
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(each, top=False)}' for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each, top=False) for each in value) + "]"
    return json.dumps(value)
