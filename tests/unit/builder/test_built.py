"""Wheels built from source in a lock, and what a source says of a wheel that is not there yet."""

from __future__ import annotations

import pytest
from flops_builder.forecast import built_from_source
from flops_builder.resolve.built import BuiltWheel, installable, with_origins
from flops_builder.resolve.lock import IN_IMAGE, Built, Lock
from flops_builder.sdist.metadata import Foretold, foretold
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHA = "ab" * 32
NUMPY = f"numpy==2.2.0 \\\n    --hash=sha256:{'cd' * 32}\n    # via -r requirements.in\n"
PINNED = f"fed-metrics==1.0 \\\n    --hash=sha256:{SHA}\n    # via -r requirements.in\n"
DIRECT = f"Fed_Metrics @ file:///cache/fed_metrics-1.0-py3-none-any.whl \\\n    --hash=sha256:{SHA}\n    # via\n"


@pytest.fixture
def wheel(tmp_path):
    return BuiltWheel(
        "fed-metrics", "1.0", SHA, tmp_path / "fed_metrics-1.0-py3-none-any.whl", "fed-metrics-1.0.tar.gz"
    )


@pytest.mark.parametrize("entry", [PINNED, DIRECT, DIRECT.replace("Metrics @", "Metrics[x] @")])
def test_a_lock_says_what_was_built_without_a_path(entry, wheel):
    lock = Lock(with_origins(entry + NUMPY, [wheel]))
    assert lock.versions == {"fed-metrics": "1.0", "numpy": "2.2.0"}
    assert lock.built == {"fed-metrics": Built(SHA, "fed-metrics-1.0.tar.gz")}
    assert "file:" not in lock.text
    assert built_from_source(lock) == (
        "1 package has no wheel and is built from source: fed-metrics 1.0 (fed-metrics-1.0.tar.gz)"
    )


def test_what_the_index_has_in_the_same_version_is_not_taken_for_built(wheel):
    text = PINNED.replace(SHA, "ef" * 32) + NUMPY
    assert with_origins(text, [wheel]) == text
    assert built_from_source(Lock(text)) == ""


def test_a_lock_is_installed_from_the_files_of_what_was_built(wheel):
    lock = Lock(with_origins(PINNED + NUMPY, [wheel]))
    text = installable(lock, {SHA: wheel.file}.get)
    assert f"fed-metrics @ {wheel.file.as_uri()} \\\n    --hash=sha256:{SHA}" in text
    assert NUMPY in text
    with pytest.raises(KeyError, match="fed-metrics"):
        installable(lock, lambda _: None)


def test_what_an_image_has_is_not_installed():
    lock = Lock(f"own==1\n{IN_IMAGE}\n{NUMPY}")
    assert lock.versions == {"own": "1", "numpy": "2.2.0"}
    assert installable(lock, lambda _: None) == NUMPY
    assert installable(Lock(f"own==1\n{IN_IMAGE}\n"), lambda _: None) == ""


INFO = "Metadata-Version: 2.2\nName: a\nVersion: 1.0\nRequires-Dist: numpy<2\n"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, Foretold(None, None)),
        ({"PKG-INFO": INFO}, Foretold("1.0", ("numpy<2",))),
        ({"PKG-INFO": INFO.replace("2.2", "2.1")}, Foretold("1.0", None)),
        ({"PKG-INFO": f"{INFO}Dynamic: Requires-Dist\n"}, Foretold("1.0", None)),
        ({"PKG-INFO": INFO.replace("numpy<2", "numpy<")}, Foretold("1.0", None)),
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1.0"\n'}, Foretold("1.0", ())),
        ({"pyproject.toml": '[project]\nname = "a"\ndynamic = ["version", "dependencies"]\n'}, Foretold(None, None)),
        (
            {
                "pyproject.toml": '[project]\nname = "a"\nversion = "1"\ndependencies = ["b"]\n'
                "[project.optional-dependencies]\nx = [\"c; sys_platform == 'linux'\"]\n"
            },
            Foretold("1", ("b", 'c; sys_platform == "linux" and extra == "x"')),
        ),
    ],
    ids=["nothing", "reliable", "older", "dynamic", "broken", "project", "computed", "extras"],
)
def test_what_a_source_says_of_its_wheel(write, files, wanted):
    assert foretold(write(files)) == wanted


DYNAMIC = st.recursive(st.sampled_from(["", "a", "a<", 1, True]), lambda inner: st.lists(inner, max_size=2))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), DYNAMIC, DYNAMIC, DYNAMIC)
def test_nothing_that_a_source_says_stops_a_plan(write, information, dynamic, dependencies, version):
    folder = write({})
    (folder / "PKG-INFO").write_bytes(information)
    project = {"name": "a", "dynamic": dynamic, "dependencies": dependencies, "version": version}
    lines = "".join(
        f"{key} = {str(value).lower() if value is True else repr(value)}\n" for key, value in project.items()
    )
    (folder / "pyproject.toml").write_text(f"[project]\n{lines}".replace("True", "true"))
    told = foretold(folder)
    assert told.version is None or told.version[0].isdigit()
