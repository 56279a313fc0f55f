"""Refs of real repositories: by path, over https, over ssh, and from hosts that misbehave."""

from __future__ import annotations

import http.server
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from flops_manager.adapters.git import GitResolver
from flops_manager.settings import Settings
from flops_protocol.errors import FlopsError

from tests.integration.manager.harness import commit, git, make_repository


@pytest.fixture(autouse=True)
def own_git_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer has set up for Git has no say here."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


def resolver(**settings: Any) -> GitResolver:
    return GitResolver(Settings(**settings))


async def failing(url: str, ref: str | None = None, **settings: Any) -> FlopsError:
    with pytest.raises(FlopsError) as caught:
        await resolver(**settings).resolve(url, ref)
    return caught.value


# a local path


async def test_refs_of_a_local_path(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "-b", "feature/x")
    second = commit(repository, "second")
    git(repository, "-c", "user.name=T", "-c", "user.email=t@example.org", "tag", "-a", "v2", "-m", "v2")
    third = commit(repository, "third")
    git(repository, "checkout", "-q", "main")
    git(repository, "branch", "-q", "-D", "feature/x")
    git(repository, "branch", "-q", "feature/x", second)
    expected = {None: first, "HEAD": first, "main": first, "v1": first, "feature/x": second, "v2": second}
    for ref, wanted in expected.items():
        assert await resolver().resolve(str(repository), ref) == wanted, ref
    # A commit that no branch leads to any more.
    assert await resolver().resolve(str(repository), third) == third
    assert await resolver().resolve(f"file://{repository}", None) == first


async def test_a_commit_that_is_not_there(repository: Path) -> None:
    assert (await failing(str(repository), "a" * 40)).body.code == "FLOPS-B004"


async def test_a_ref_that_is_not_there(repository: Path) -> None:
    error = await failing(str(repository), "develop")
    assert error.body.code == "FLOPS-B004"
    assert "its branches are main" in error.body.detail


async def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert (await failing(str(tmp_path / "none"))).body.code == "FLOPS-B001"


async def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert (await failing(str(tmp_path / "folder"))).body.code == "FLOPS-B001"


async def test_an_empty_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q", "-b", "main")
    for ref in (None, "main"):
        assert (await failing(str(tmp_path / "empty"), ref)).body.code == "FLOPS-B003"


async def test_a_head_without_commits(repository: Path) -> None:
    git(repository, "symbolic-ref", "HEAD", "refs/heads/nothing")
    error = await failing(str(repository))
    assert error.body.code == "FLOPS-B004"
    assert "ml_repo_ref" in error.body.detail


async def test_a_path_outside_of_what_is_allowed(repository: Path, tmp_path: Path) -> None:
    assert (await failing(str(repository), local_repositories=[tmp_path / "other"])).body.code == "FLOPS-B006"
    assert (await failing(str(repository), local_repositories=[])).body.code == "FLOPS-B006"


async def test_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    error = await failing(str(repository))
    assert error.body.code == "FLOPS-B008"
    assert "git is not installed" in error.body.detail


# https


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/private"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nobody reads it."""


@contextmanager
def https_server(folder: Path) -> Iterator[str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_https(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(repository, "update-server-info")
    wanted = git(repository, "rev-parse", "HEAD")
    with https_server(tmp_path) as url:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
        assert await resolver().resolve(f"{url}/repository/.git", None) == wanted
        assert await resolver().resolve(f"{url}/repository/.git", "v1") == wanted
        assert (await failing(f"{url}/nothing.git")).body.code == "FLOPS-B001"
        error = await failing(f"{url}/private.git")
        assert error.body.code == "FLOPS-B002"
        assert "many hosts ask for credentials" in error.body.hint


async def test_a_host_that_does_not_listen() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert (await failing(f"https://127.0.0.1:{port}/a.git")).body.code == "FLOPS-B008"


async def test_a_host_that_accepts_and_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with anyio.fail_after(10):
            error = await failing(f"https://127.0.0.1:{port}/a.git", git_seconds=0.5)
    assert error.body.code == "FLOPS-B008"
    assert "did not answer in 0.5 s" in error.body.detail
    # Nor does Git's helper go on waiting for it.
    with anyio.fail_after(5):
        while any(f"127.0.0.1:{port}" in line for line in command_lines()):  # noqa: ASYNC110
            await anyio.sleep(0.02)


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().decode(errors="replace")
        except OSError:
            continue


async def test_a_host_that_asks_over_plain_http_only_where_it_is_allowed(repository: Path) -> None:
    assert (await failing("http://127.0.0.1:1/a.git")).body.code == "FLOPS-B006"
    assert (await failing("http://127.0.0.1:1/a.git", allow_http=True)).body.code == "FLOPS-B008"


# ssh: Git's own protocol with a program in the place of ssh, as GIT_SSH_COMMAND has it


def ssh_program(tmp_path: Path, script: str) -> str:
    path = tmp_path / "ssh.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_ssh(repository: Path, tmp_path: Path) -> None:
    # Called as `ssh [options] host command`: the command is the last word.
    program = ssh_program(tmp_path, 'for word; do last=$word; done; exec sh -c "$last"')
    wanted = git(repository, "rev-parse", "HEAD")
    for url in (f"ssh://git@example.org{repository}", f"git@example.org:{repository}"):
        assert await resolver(git_ssh_command=program).resolve(url, "main") == wanted


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("git@example.org: Permission denied (publickey).", "FLOPS-B002"),
        ("ERROR: Repository not found.", "FLOPS-B001"),
        ("ssh: Could not resolve hostname example.org: Name or service not known", "FLOPS-B008"),
        ("Host key verification failed.", "FLOPS-B008"),
    ],
)
async def test_what_ssh_says_is_understood(tmp_path: Path, said: str, code: str) -> None:
    program = ssh_program(tmp_path, f"echo '{said}' >&2; exit 255")
    error = await failing("git@example.org:a/b.git", git_ssh_command=program)
    assert error.body.code == code
    assert said.strip(".") in error.body.detail


async def test_ssh_is_never_asked_to_ask(tmp_path: Path) -> None:
    program = ssh_program(tmp_path, f'env > {tmp_path}/environment; echo "$@" > {tmp_path}/arguments; exit 255')
    await failing("git@example.org:a/b.git", git_ssh_command=program)
    environment = (tmp_path / "environment").read_text()
    assert "GIT_TERMINAL_PROMPT=0" in environment
