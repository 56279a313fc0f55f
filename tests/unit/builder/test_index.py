"""pip's settings as uv's arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from flops_builder.resolve.index import site_index

CACHE = Path("/cache")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine without any settings of pip."""
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), "PATH": "/usr/bin", "PIP_CONFIG_FILE": ""}


def configured(home, text):
    file = Path(home["HOME"]) / "pip.conf"
    file.write_text(text)
    return home | {"PIP_CONFIG_FILE": str(file)}


def test_environment_of_pip(home):
    index = site_index(
        home
        | {
            "PIP_INDEX_URL": "https://example.org/simple",
            "PIP_EXTRA_INDEX_URL": "https://a.example.org/simple https://b.example.org/simple",
            "PIP_FIND_LINKS": "/wheels",
            "PIP_CERT": "/ca.pem",
            "PIP_TRUSTED_HOST": "example.org",
            "PIP_DEFAULT_TIMEOUT": "180",
        },
        CACHE,
    )
    assert index.arguments == (
        "--default-index=https://example.org/simple",
        "--index=https://a.example.org/simple",
        "--index=https://b.example.org/simple",
        "--index-strategy=unsafe-best-match",
        "--find-links=/wheels",
        "--allow-insecure-host=example.org",
    )
    assert index.find_links == ("/wheels",)
    assert index.environment["SSL_CERT_FILE"] == "/ca.pem"
    assert index.environment["UV_HTTP_TIMEOUT"] == "180"


def test_files_of_pip_and_the_environment_above_them(home):
    environment = configured(
        home, "[global]\nindex-url = https://example.org/one\n[install]\nfind-links =\n  /a\n  /b\n"
    )
    assert "--default-index=https://example.org/one" in site_index(environment, CACHE).arguments
    assert site_index(environment, CACHE).find_links == ("/a", "/b")
    above = site_index(environment | {"PIP_INDEX_URL": "https://example.org/two"}, CACHE)
    assert "--default-index=https://example.org/two" in above.arguments


def test_what_uv_is_told_outright_wins(home):
    told = {"UV_DEFAULT_INDEX": "https://example.org/uv", "UV_FIND_LINKS": "/uv", "SSL_CERT_FILE": "/mine.pem"}
    index = site_index(
        home | told | {"PIP_INDEX_URL": "https://example.org/pip", "PIP_FIND_LINKS": "/pip", "PIP_CERT": "/ca.pem"},
        CACHE,
    )
    assert index.arguments == ()
    assert told.items() <= index.environment.items()


def test_secrets_of_the_mesh_are_not_passed_on(home):
    index = site_index(home | {"FLOPS_CREDENTIAL_FILE": "/secret", "AWS_SECRET_ACCESS_KEY": "x"}, CACHE)
    assert not {"FLOPS_CREDENTIAL_FILE", "AWS_SECRET_ACCESS_KEY"} & index.environment.keys()


def test_constraints_of_the_site_hold(home, tmp_path):
    limits = tmp_path / "limits.txt"
    limits.write_text("torch<3\n")
    environment = home | {"PIP_CONSTRAINT": str(limits)}
    assert site_index(environment, CACHE).constraints == (limits,)
    before = site_index(environment, CACHE).fingerprint
    limits.write_text("torch<2\n")
    assert site_index(environment, CACHE).fingerprint != before


def test_another_index_is_another_fingerprint(home):
    plain = site_index(home, CACHE).fingerprint
    assert plain == site_index(home | {"LANG": "C"}, CACHE).fingerprint
    assert plain != site_index(home | {"PIP_FIND_LINKS": "/wheels"}, CACHE).fingerprint
    assert plain != site_index(home | {"UV_INDEX": "https://example.org/simple"}, CACHE).fingerprint


def test_without_a_home_uv_caches_with_us(home):
    del home["HOME"]
    assert site_index(home, CACHE).environment["UV_CACHE_DIR"] == "/cache/uv"


def test_a_file_that_is_no_settings_file_is_passed_over(home):
    assert site_index(configured(home, "nonsense\n"), CACHE).arguments == ()
