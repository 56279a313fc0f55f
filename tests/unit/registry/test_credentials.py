"""Credentials from a file as Docker has it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.errors import FlopsError
from flops_registry.distribution.credentials import Credentials, find

HOST = "registry.example.org:5000"


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("auths", "expected"),
    [
        ({HOST: {"auth": auth("me:pass:word")}}, ("me", "pass:word", "")),
        ({HOST: {"username": "me", "password": "word"}}, ("me", "word", "")),
        ({f"https://{HOST}/v1/": {"auth": auth("me:word")}}, ("me", "word", "")),
        ({HOST.upper(): {"auth": auth("me:word")}}, ("me", "word", "")),
        ({HOST: {"auth": auth("00000000-0000:"), "identitytoken": "t"}}, ("00000000-0000", "", "t")),
    ],
)
def test_what_stands_there_is_found(tmp_path: Path, auths: dict[str, Any], expected: tuple[str, str, str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": auths}))
    assert find(file, HOST) == Credentials(*expected)
    assert find(file, "registry.example.org") is None


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"auths": {HOST: {"auth": "!!hunter2"}}})])
def test_a_file_of_another_kind_is_told_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(FlopsError) as caught:
        find(file, HOST)
    assert caught.value.body.code == "FLOPS-B046"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "document", [{"auths": {HOST: {}}, "credsStore": "desktop"}, {"credHelpers": {HOST: "ecr-login"}}]
)
def test_a_store_of_the_desktop_is_told(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    with pytest.raises(FlopsError, match="store"):
        find(file, HOST)
    assert find(file, "other.example.org") is None


def test_they_are_never_shown() -> None:
    assert "word" not in repr(Credentials("me", "word", "t0ken"))
    assert "t0ken" not in repr(Credentials("me", "word", "t0ken"))
