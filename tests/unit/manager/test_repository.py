"""Which repositories may be used, and which commit a ref stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from flops_manager.repository import Allowed, Transport, choose, transport
from flops_protocol.errors import FlopsError

ALLOWED = Allowed([Path("/srv/repositories")])
REFS = {
    "HEAD": "1" * 40,
    "refs/heads/main": "1" * 40,
    "refs/heads/v1": "2" * 40,
    "refs/tags/v1": "3" * 40,
    "refs/tags/v2": "4" * 40,
    "refs/tags/v2^{}": "5" * 40,
    "refs/pull/7/head": "6" * 40,
}


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://example.org/a/b.git", Transport.HTTPS),
        ("ssh://git@example.org:22/a/b.git", Transport.SSH),
        ("git@example.org:a/b.git", Transport.SSH),
        ("/srv/repositories/digits", Transport.LOCAL),
        ("file:///srv/repositories/digits%20new", Transport.LOCAL),
    ],
)
def test_an_allowed_url_has_its_transport(url: str, kind: Transport) -> None:
    assert transport(url, ALLOWED) is kind


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.git",
        "git://example.org/a.git",
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=touch /tmp/x",
        "file://otherhost/a",
        "/etc/repositories",
        "/srv/repositories/../secrets",
        "file:///srv/repositories/%2e%2e/secrets",
        "relative/path",
        "https://user:secret@example.org/a.git",
        "https://example.org/a\nb",
        "",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(FlopsError) as caught:
        transport(url, ALLOWED)
    assert caught.value.body.code == "FLOPS-B006"
    assert "secret@" not in str(caught.value)


def test_http_is_allowed_where_somebody_wants_it() -> None:
    assert transport("http://localhost:8000/a", Allowed(http=True)) is Transport.HTTP


def test_a_link_out_of_the_allowed_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside/link").symlink_to(tmp_path / "outside")
    with pytest.raises(FlopsError):
        transport(str(tmp_path / "inside/link"), Allowed([tmp_path / "inside"]))


@pytest.mark.parametrize(
    ("ref", "commit"),
    [
        (None, "1"),
        ("HEAD", "1"),
        ("main", "1"),
        ("v1", "2"),  # the branch, not the tag
        ("refs/tags/v1", "3"),
        ("v2", "5"),  # what the annotated tag stands for
        ("refs/pull/7/head", "6"),
        ("a" * 40, "a"),
        ("a" * 64, None),
    ],
)
def test_a_ref_stands_for_one_commit(ref: str | None, commit: str | None) -> None:
    assert choose(REFS, ref, "url") == (commit * 40 if commit else ref)


def test_an_unknown_ref_is_answered_with_the_branches() -> None:
    with pytest.raises(FlopsError) as caught:
        choose(REFS, "develop", "url")
    assert caught.value.body.code == "FLOPS-B004"
    assert "its branches are main, v1" in caught.value.body.detail


def test_an_abbreviated_commit_is_no_ref() -> None:
    with pytest.raises(FlopsError, match="B004"):
        choose(REFS, "1111111", "url")


def test_an_empty_repository_is_called_empty() -> None:
    with pytest.raises(FlopsError, match="B003"):
        choose({}, None, "url")


def test_a_head_without_commits_is_not_an_empty_repository() -> None:
    with pytest.raises(FlopsError, match="B004"):
        choose({"refs/heads/main": "1" * 40}, None, "url")
