"""Which file asks for an engine, and what it says."""

from __future__ import annotations

import pytest
from flops_builder.engine.recipe import find_recipe
from flops_protocol.errors import FlopsError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("files", "subdir", "file", "ignored"),
    [
        ({"Dockerfile": "FROM scratch"}, "", "Dockerfile", ()),
        ({"Dockerfile": "FROM scratch", "binder/Dockerfile": "FROM scratch"}, "", "binder/Dockerfile", ("Dockerfile",)),
        ({"apt.txt": "hello", "Dockerfile": "FROM scratch"}, "", "Dockerfile", ("apt.txt",)),
        ({"binder/apt.txt": "hello"}, "", "binder/apt.txt", ()),
        ({"ml/Dockerfile": "FROM scratch", "Dockerfile": "FROM x"}, "ml", "ml/Dockerfile", ("Dockerfile",)),
        ({"ml/Dockerfile": "FROM scratch", "apt.txt": "hello"}, "", "apt.txt", ()),
    ],
)
def test_the_file_that_counts(write, files, subdir, file, ignored):
    recipe = find_recipe(write(files), subdir)
    assert recipe is not None
    assert (recipe.file, recipe.ignored) == (file, ignored)
    assert file in recipe.why


@pytest.mark.parametrize("files", [{}, {"apt.txt": "# nothing\n\n"}, {"docs/Dockerfile": "FROM scratch"}])
def test_nothing_that_asks_for_an_engine(write, files):
    assert find_recipe(write({"README": ""} | files)) is None


def test_debian_packages(write):
    recipe = find_recipe(write({"apt.txt": "# for OpenCV\nlibgl1  libglib2.0-0\nlibgl1\ng++=4:12.2.0-3 # pinned\n"}))
    assert recipe is not None
    assert recipe.packages == ("libgl1", "libglib2.0-0", "g++=4:12.2.0-3")
    assert "FROM python:3.12-slim\n" in recipe.dockerfile("python:3.12-slim")
    assert "libgl1 libglib2.0-0 g++=4:12.2.0-3" in recipe.dockerfile("python:3.12-slim")


@pytest.mark.parametrize("line", ["hello; rm -rf /", "$(reboot)", "--allow-unauthenticated", "../evil", "a\\"])
def test_what_is_no_package_is_refused(write, line):
    with pytest.raises(FlopsError) as caught:
        find_recipe(write({"apt.txt": f"hello\n{line}\n"}))
    assert (caught.value.body.code, caught.value.body.file, caught.value.body.line) == ("FLOPS-B021", "apt.txt", 2)


@given(st.text())
def test_nothing_gets_past_the_shell(tmp_path_factory, text):
    tree = tmp_path_factory.mktemp("tree")
    (tree / "apt.txt").write_text(text, encoding="utf-8", errors="replace")
    try:
        recipe = find_recipe(tree)
    except FlopsError:
        return
    for package in recipe.packages if recipe else ():
        assert not set(package) & set(" \n\r\t;&|$`<>(){}'\"\\#*?!")
        assert not package.startswith("-")
