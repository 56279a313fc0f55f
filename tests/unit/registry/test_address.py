"""How registries and what is in them are called."""

from __future__ import annotations

import re

import pytest
from flops_registry.address import Address, check
from flops_registry.names import image_tag, lock_tag, repository_slug, source_tag
from hypothesis import given
from hypothesis import strategies as st

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
KEY = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("reference", "origin", "namespace"),
    [
        ("https://registry.example.org", "https://registry.example.org", ""),
        ("http://localhost:5000/", "http://localhost:5000", ""),
        ("https://Example.org/team/mesh", "https://example.org", "team/mesh"),
        ("http://[::1]:5000", "http://[::1]:5000", ""),
    ],
)
def test_addresses(reference: str, origin: str, namespace: str) -> None:
    address = Address.parse(reference)
    assert (address.origin, address.namespace) == (origin, namespace)
    assert Address.parse(str(address)) == address
    assert address.url("a/b", "tags/list").startswith(f"{origin}/v2/{namespace}")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "registry.example.org",
        "oci:relative",
        "ftp://example.org",
        "https://",
        "https://user:word@example.org",
        "https://example.org/UPPER",
        "https://example.org/a?b=c",
        "https://example.org:port",
        "docker://example.org",
    ],
)
def test_what_is_no_registry_is_refused(reference: str) -> None:
    with pytest.raises(ValueError) as caught:
        check(reference)
    assert "word" not in str(caught.value)


def test_a_folder_is_taken_as_it_is() -> None:
    assert check("oci:/a/b") == "oci:/a/b"


def test_only_the_registry_itself_sees_what_we_show() -> None:
    address = Address.parse("https://example.org/team")
    assert address.owns("https://example.org/v2/x")
    assert not address.owns("http://example.org/v2/x")
    assert not address.owns("https://example.org.evil.org/v2/x")
    assert not address.owns("https://user@example.org/v2/x")


@given(st.text(min_size=1))
def test_tags_are_tags_whatever_a_lock_is_called(lock_key: str) -> None:
    for tag in (source_tag(KEY), image_tag(KEY), lock_tag(lock_key)):
        assert TAG.fullmatch(tag)


@pytest.mark.parametrize(
    ("url", "slug"),
    [
        ("https://github.com/People/Digits.git", "people-digits"),
        ("git@host.example.org:people/digits.git", "people-digits"),
        ("/home/me/My Project", "my-project"),
        ("https://host.example.org/user/site.github.io", "user-site-github-io"),
    ],
)
def test_what_images_of_a_repository_are_called(url: str, slug: str) -> None:
    assert repository_slug(url) == slug
