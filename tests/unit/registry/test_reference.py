"""How images are called."""

from __future__ import annotations

import pytest
from flops_registry.reference import ImageName

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://r.example.org/python:3.12-slim", ("https://r.example.org", "python", "3.12-slim", None)),
        ("r.example.org/team/python", ("https://r.example.org", "team/python", "latest", None)),
        ("localhost:5000/python", ("https://localhost:5000", "python", "latest", None)),
        ("http://localhost:5000/a/b:1", ("http://localhost:5000", "a/b", "1", None)),
        (f"http://localhost:5000/a@{DIGEST}", ("http://localhost:5000", "a", None, DIGEST)),
        (f"r.example.org/a:1@{DIGEST}", ("https://r.example.org", "a", "1", DIGEST)),
        ("oci:/a/b", ("oci:/a/b", "", None, None)),
        ("oci:/a/b:python:3", ("oci:/a/b", "", "python:3", None)),
        (f"oci:/a/b@{DIGEST}", ("oci:/a/b", "", None, DIGEST)),
    ],
)
def test_names(text: str, expected: tuple[str, str, str | None, str | None]) -> None:
    name = ImageName.parse(text)
    assert (name.registry, name.repository, name.tag, name.digest) == expected
    assert ImageName.parse(str(name)) == name
    assert str(name.at(DIGEST)).endswith(f"@{DIGEST}")


@pytest.mark.parametrize(
    "text",
    ["", "python", "python:3.12", "oci:relative", "https://r.example.org", "r.example.org/UPPER", "r.example.org/a:!",
     "ftp://r.example.org/a", "https://u:word@r.example.org/a", f"r.example.org/a@{DIGEST[:-1]}"],
)  # fmt: skip
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        ImageName.parse(text)
    assert "word" not in str(caught.value)
