"""What a registry wants to see."""

from __future__ import annotations

import pytest
from flops_registry.distribution.challenge import Challenge, read
from hypothesis import given
from hypothesis import strategies as st

TOKEN = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="Registry Realm"', Challenge("basic", {"realm": "Registry Realm"})),
        (
            'Bearer realm="https://auth.example.org/token",service="r.example.org",scope="repository:a/b:pull,push"',
            Challenge(
                "bearer",
                {
                    "realm": "https://auth.example.org/token",
                    "service": "r.example.org",
                    "scope": "repository:a/b:pull,push",
                },
            ),
        ),
        (
            'bearer realm=https://a/t , error="invalid_token"',
            Challenge("bearer", {"realm": "https://a/t", "error": "invalid_token"}),
        ),
        (r'Basic realm="a \"b\" c"', Challenge("basic", {"realm": 'a "b" c'})),
        ("Basic", Challenge("basic", {})),
        ('Negotiate realm="x"', None),
        ("", None),
    ],
)
def test_challenges(header: str, expected: Challenge | None) -> None:
    assert read(header) == expected


@given(st.dictionaries(TOKEN, st.text(st.characters(codec="ascii", min_codepoint=32)), max_size=5))
def test_whatever_is_quoted_comes_back(parameters: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"')

    written = ", ".join(f'{name}="{quoted(value)}"' for name, value in parameters.items())
    assert read(f"Bearer {written}") == Challenge("bearer", parameters)


@given(st.text())
def test_nothing_breaks_it(header: str) -> None:
    read(f"Bearer {header}")
    read(header)
