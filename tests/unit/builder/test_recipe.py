"""Which file asks for an engine, and what it says."""

from __future__ import annotations

import base64
import json

import pytest
from flops_builder.adapters.buildkit import Answers, fields
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


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("RUN --mount=type=cache,target=/root/.cache pip install numpy", True),
        ("COPY --link a b", True),
        ("# syntax=docker/dockerfile:1", True),
        ("RUN <<EOF", True),
        ("ARG TARGETARCH", True),
        ("RUN pip install numpy", False),
        ("COPY --from=build --chown=0 a b", False),
        ("RUN test $(( 1 << 2 )) = 4", False),
    ],
)
def test_what_takes_buildkit(write, line, needed):
    recipe = find_recipe(write({"Dockerfile": f"FROM scratch\n{line}\n"}))
    assert recipe is not None
    assert recipe.buildkit is needed


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def test_buildkits_words():
    vertex = field(1, field(1, b"sha256:1") + field(3, b"[2/2] RUN make"))
    log = field(3, field(1, b"sha256:1") + b"\x18\x01" + field(4, b"one\ntwo\n"))
    answers = Answers()
    for content in (vertex, vertex + log):
        line = json.dumps({"id": "moby.buildkit.trace", "aux": base64.b64encode(content).decode()}).encode()
        told = list(answers.lines(line))
    assert told == ["one", "two"]
    list(answers.lines(b'{"id": "moby.image.id", "aux": {"ID": "sha256:2"}}'))
    list(answers.lines(b'{"error": "exit code: 1"}'))
    assert (answers.image, answers.error) == ("sha256:2", "exit code: 1")


@given(st.binary())
def test_bytes_that_are_no_message(content):
    try:
        for number, part in fields(content):
            assert number >= 0
            assert len(part) <= len(content)
    except ValueError:
        pass
