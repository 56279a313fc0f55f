"""Fetching repositories with a real git, from hosts of every kind, the hostile ones included."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from pathlib import Path

import anyio
import pytest
import trustme
from flops_builder.settings import BuilderSettings
from flops_builder.source.checkout import check_out
from flops_protocol.errors import FlopsError

from tests.integration.builder.hosting import https_host

FILES: dict[str, str | bytes | None] = {
    "model_manager.py": "x = 1\n",
    "sub/a.txt": "a\n",
    "sub/deep/b.bin": b"\0\r\n\xff",
}


async def fetched(url, commit, tmp_path, *, subdir=None, **settings):
    work = tmp_path / "work"
    work.mkdir()
    percents: list[float] = []
    return await check_out(str(url), commit, subdir, work, BuilderSettings(**settings), percents.append)


async def refused(url, commit, tmp_path, **more):
    with pytest.raises(FlopsError) as caught:
        await fetched(url, commit, tmp_path, **more)
    return caught.value.body


def contents(checkout):
    return {
        path.relative_to(checkout.tree).as_posix(): path.read_bytes()
        for path in checkout.tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """Has git trust the authority of the test hosts."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))


@pytest.mark.parametrize("as_url", [str, lambda folder: folder.as_uri()])
async def test_a_local_repository(repository, tmp_path, as_url):
    commit = repository.commit(FILES)
    found = await fetched(as_url(repository.folder), commit, tmp_path)
    assert contents(found) == {name: text if isinstance(text, bytes) else text.encode() for name, text in FILES.items()}
    assert found.code == found.tree
    assert (found.files, found.bytes) == (3, 12)


async def test_the_commit_counts_and_not_what_came_after(repository, tmp_path):
    old = repository.commit(FILES)
    repository.commit({"model_manager.py": "x = 2\n", "new.py": ""})
    assert contents(await fetched(repository.folder, old, tmp_path))["model_manager.py"] == b"x = 1\n"


async def test_only_the_commit_travels(repository, tmp_path):
    repository.commit({"old.bin": bytes(range(256)) * 4000})
    commit = repository.commit({"old.bin": None, "a.py": ""})
    found = await fetched(repository.folder, commit, tmp_path)
    assert list(contents(found)) == ["a.py"]
    assert repository.git("-C", str(tmp_path / "work" / "store"), "rev-list", "--count", commit) == "1"


async def test_a_subfolder(repository, tmp_path):
    commit = repository.commit(FILES)
    found = await fetched(repository.folder, commit, tmp_path, subdir="sub/")
    assert found.code == found.tree / "sub"


@pytest.mark.parametrize("subdir", ["missing", "..", "../..", "sub/a.txt", "/etc"])
async def test_a_subfolder_that_is_not_there(repository, tmp_path, subdir):
    commit = repository.commit(FILES)
    assert (await refused(repository.folder, commit, tmp_path, subdir=subdir)).code == "FLOPS-B007"


async def test_https(repository, tmp_path, authority, trusted):
    repository.commit({"first.txt": ""})
    commit = repository.commit(FILES)
    with https_host(tmp_path, authority) as host:
        found = await fetched(f"{host}/repository/.git", commit, tmp_path)
    assert "model_manager.py" in contents(found)


async def test_https_with_a_password(repository, tmp_path, authority, trusted):
    commit = repository.commit(FILES)
    credentials = tmp_path / "git credentials"
    with https_host(tmp_path, authority, password="secret") as host:
        url = f"{host}/repository/.git"
        body = await refused(url, commit, tmp_path)
        assert body.code == "FLOPS-B002"
        credentials.write_text(f"https://reader:secret@{host.removeprefix('https://')}\n")
        second = tmp_path / "second"
        second.mkdir()
        assert contents(await fetched(url, commit, second, git_credentials=credentials))
        credentials.write_text(f"https://reader:wrong@{host.removeprefix('https://')}\n")
        third = tmp_path / "third"
        third.mkdir()
        body = await refused(url, commit, third, git_credentials=credentials)
    assert body.code == "FLOPS-B002"
    assert "wrong" not in body.detail


async def test_https_with_an_unknown_authority(repository, tmp_path, authority, monkeypatch):
    commit = repository.commit(FILES)
    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    with https_host(tmp_path, authority) as host:
        assert (await refused(f"{host}/repository/.git", commit, tmp_path)).code == "FLOPS-B008"


async def test_https_without_the_repository(tmp_path, authority, trusted):
    with https_host(tmp_path, authority) as host:
        assert (await refused(f"{host}/nothing.git", "a" * 40, tmp_path)).code == "FLOPS-B001"


async def test_a_host_that_cannot_give_one_commit_gives_all(repository, tmp_path):
    old = repository.commit(FILES)
    repository.commit({"new.py": ""})
    repository.git("update-server-info")
    handler = functools.partial(QuietHandler, directory=str(repository.folder / ".git"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        found = await fetched(f"http://127.0.0.1:{server.server_address[1]}/", old, tmp_path, allow_http=True)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    assert "new.py" not in contents(found)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.mark.parametrize("form", ["ssh://git@127.0.0.1:22{path}", "git@127.0.0.1:{path}"])
async def test_ssh(repository, tmp_path, form):
    commit = repository.commit(FILES)
    ssh = tmp_path / "ssh"
    # Takes ssh's command line and runs its last argument here: the way from git to the other side is the real one.
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec env GIT_CONFIG_GLOBAL=/dev/null sh -c "$last"\n')
    ssh.chmod(0o755)
    found = await fetched(form.format(path=repository.folder), commit, tmp_path, git_ssh_command=str(ssh))
    assert "model_manager.py" in contents(found)


async def test_ssh_without_a_key(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'git@127.0.0.1: Permission denied (publickey).' >&2\nexit 255\n")
    ssh.chmod(0o755)
    body = await refused("git@127.0.0.1:a/b.git", "a" * 40, tmp_path, git_ssh_command=str(ssh))
    assert body.code == "FLOPS-B002"


async def test_a_host_that_is_not_there(tmp_path, trusted):
    assert (await refused("https://127.0.0.1:9/a.git", "a" * 40, tmp_path)).code == "FLOPS-B008"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.git",
        "git://127.0.0.1/a.git",
        "ext::sh -c true",
        "fd::1",
        "ssh://-oProxyCommand=true/a",
        "-oProxyCommand=true:a",
        "--upload-pack=true",
        "relative/path",
        "https:///a.git",
        "https://a b/c.git",
    ],
)
async def test_urls_that_are_not_allowed(tmp_path, url):
    assert (await refused(url, "a" * 40, tmp_path)).code == "FLOPS-B006"


async def test_local_paths_outside_of_the_folders_that_are_allowed(repository, tmp_path):
    commit = repository.commit(FILES)
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "link").symlink_to(repository.folder)
    for url in (repository.folder, tmp_path / "allowed" / "link"):
        body = await refused(url, commit, tmp_path, local_repositories=[tmp_path / "allowed"])
        assert body.code == "FLOPS-B006"
        (tmp_path / "work").rmdir()


async def test_a_folder_that_is_no_repository(tmp_path):
    (tmp_path / "plain").mkdir()
    assert (await refused(tmp_path / "plain", "a" * 40, tmp_path)).code == "FLOPS-B001"


async def test_a_folder_that_is_not_there(tmp_path):
    assert (await refused(tmp_path / "plain", "a" * 40, tmp_path)).code == "FLOPS-B001"


async def test_a_commit_that_is_not_there(repository, tmp_path):
    repository.commit(FILES)
    assert (await refused(repository.folder, "a" * 40, tmp_path)).code == "FLOPS-B004"


async def test_a_commit_without_files(repository, tmp_path):
    commit = repository.commit({})
    assert (await refused(repository.folder, commit, tmp_path)).code == "FLOPS-B003"


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"max_files": 2}, "3 files"), ({"max_file_bytes": 5}, "allowed"), ({"max_repository_bytes": 10}, "allowed")],
)
async def test_limits(repository, tmp_path, limits, said):
    commit = repository.commit(FILES)
    body = await refused(repository.folder, commit, tmp_path, **limits)
    assert body.code == "FLOPS-B005"
    assert said in body.detail


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside"])
async def test_links_that_leave_the_repository(repository, tmp_path, target):
    (repository.folder / "link").symlink_to(target)
    commit = repository.commit(FILES)
    body = await refused(repository.folder, commit, tmp_path)
    assert (body.code, body.file) == ("FLOPS-B005", "link")


async def test_links_that_stay(repository, tmp_path):
    (repository.folder / "link").symlink_to("sub/a.txt")
    commit = repository.commit(FILES)
    found = await fetched(repository.folder, commit, tmp_path)
    assert (found.tree / "link").read_text() == "a\n"


async def test_nothing_of_the_repository_is_run(repository, tmp_path):
    witness = tmp_path / "witness"
    attributes = "* filter=evil\n*.txt text eol=crlf export-subst\n"
    commit = repository.commit(
        {**FILES, ".gitattributes": attributes, ".lfsconfig": "[lfs]\n\turl = https://127.0.0.1:9/\n"}
    )
    for key in ("filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.sshCommand"):
        repository.git("config", key, f"touch {witness}")
    hooks = repository.folder / ".git" / "hooks"
    for name in ("post-checkout", "post-upload-pack", "reference-transaction", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {witness}\n")
        (hooks / name).chmod(0o755)
    found = await fetched(repository.folder, commit, tmp_path)
    assert contents(found)["sub/a.txt"] == b"a\n"
    assert not witness.exists()


async def test_submodules_and_lfs_pointers_are_told_and_not_followed(repository, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n"
    repository.commit(
        {"big.bin": pointer, ".gitmodules": '[submodule "m"]\n\tpath = m\n\turl = https://127.0.0.1:9/m.git\n'}
    )
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'b' * 40},m")
    repository.git("commit", "--quiet", "--message=module")
    found = await fetched(repository.folder, repository.git("rev-parse", "HEAD"), tmp_path)
    assert any("submodule m" in notice for notice in found.notices)
    assert any("big.bin" in notice for notice in found.notices)
    assert not (found.tree / "m").exists()


@pytest.mark.parametrize("name", [b"..", b".git", b"."])
async def test_a_tree_that_climbs_out_is_refused(repository, tmp_path, name):
    repository.commit(FILES)
    blob = bytes.fromhex(repository.git("rev-parse", "HEAD:model_manager.py"))
    inner = repository.tree(b"100644 a.py\0" + blob)
    outer = repository.tree(b"40000 " + name + b"\0" + bytes.fromhex(inner))
    commit = repository.git("commit-tree", outer, "-m", "evil")
    assert (await refused(repository.folder, commit, tmp_path)).code in {"FLOPS-B005", "FLOPS-B008"}
    assert not list(tmp_path.rglob("a.py"))


def running(program):
    """Whether a process runs whose command line has this in it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(program).encode() in (folder / "cmdline").read_bytes():
                return True
    return False


async def test_a_clone_that_never_ends_is_ended(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nsleep 600\n")
    ssh.chmod(0o755)
    body = await refused("git@127.0.0.1:a/b.git", "a" * 40, tmp_path, git_ssh_command=str(ssh), clone_seconds=0.5)
    assert body.code == "FLOPS-B008"
    with anyio.fail_after(10):
        while running(ssh):  # noqa: ASYNC110 - a killed process takes a moment to be gone, and says so nowhere else
            await anyio.sleep(0.01)
