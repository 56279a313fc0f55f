"""Git, kept on a short leash: one commit is fetched, and no file of it is ever checked out by Git itself.

So no hook, filter, attribute, submodule or LFS pointer of the repository can do anything: they are bytes to us.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError

from flops_builder.failing import tasks
from flops_builder.process import Finished, run
from flops_builder.settings import BuilderSettings
from flops_builder.source.location import Location, public_url

RECEIVING = re.compile(r"(?:Receiving objects|remote: Counting objects|Resolving deltas):\s+(\d+)%")
WANTS_CREDENTIALS = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|terminal prompts disabled|"
    r"returned error: 40[13]|host key verification failed|access denied"
)
NOT_THERE = re.compile(
    r"repository .*not found|does not exist|does not appear to be a git repository|not a git repository|"
    r"returned error: 404"
)
PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "SSH_AUTH_SOCK"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE"),
)
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")

CONFIGURATION = """\
[protocol]
	allow = never
[protocol "%s"]
	allow = always
[core]
	hooksPath = /dev/null
	fsmonitor = false
	symlinks = false
	protectHFS = true
	protectNTFS = true
[fetch]
	fsckObjects = true
	recurseSubmodules = false
[fetch "fsck"]
	missingSpaceBeforeDate = ignore
	zeroPaddedFilemode = ignore
	badTimezone = ignore
[submodule]
	recurse = false
[http]
	followRedirects = initial
	lowSpeedLimit = 1000
	lowSpeedTime = 30
[gc]
	auto = 0
[maintenance]
	auto = false
[advice]
	detachedHead = false
"""


@dataclass(frozen=True)
class Store:
    """A bare object store that holds the commit."""

    folder: Path
    environment: dict[str, str]
    seconds: float

    async def git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        on_error_line: Callable[[str], None] | None = None,
        output_file: Path | None = None,
    ) -> Finished:
        """Runs git in the store.

        :raises FlopsError: FLOPS-B008 when it takes too long, FLOPS-B040 when the disk is full
        """
        try:
            return await run(
                ["git", *arguments],
                environment=self.environment,
                folder=self.folder,
                seconds=self.seconds,
                stdin=stdin,
                on_error_line=on_error_line,
                output_file=output_file,
            )
        except TimeoutError as error:
            raise FlopsError("FLOPS-B008", f"git {arguments[0]} took longer than {self.seconds:.0f} s") from error
        except FileNotFoundError as error:
            raise FlopsError("FLOPS-B008", "git is not installed on the machine that builds") from error


async def fetch(
    location: Location, commit: str, folder: Path, settings: BuilderSettings, on_percent: Callable[[float], None]
) -> Store:
    """Fetches exactly the commit where the server allows that, else everything; `folder` is created.

    :raises FlopsError: FLOPS-B001 to FLOPS-B005 and FLOPS-B008, as the server's answer is
    """
    await anyio.Path(folder).mkdir(parents=True)
    store = Store(folder, _environment(location, folder, settings), settings.clone_seconds)
    object_format = "sha256" if len(commit) == 64 else "sha1"
    created = await store.git("init", "--quiet", "--bare", f"--object-format={object_format}", "--template=", ".")
    if created.returncode != 0:
        raise FlopsError("FLOPS-B008", created.errors.strip()[-500:])

    def on_line(line: str) -> None:
        if found := RECEIVING.search(line):
            on_percent(int(found.group(1)) / 100)

    async def fetch_refs(*refs: str) -> Finished:
        arguments = ["fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", *refs]
        return await store.git(*arguments, on_error_line=on_line)

    finished: Finished | None = None
    async with tasks() as group:
        group.start_soon(_watch_size, folder, settings.max_repository_bytes)
        finished = await fetch_refs("--depth=1", "--", location.url, commit)
        if finished.returncode != 0 and _refuses_one_commit(finished.errors):
            finished = await fetch_refs("--", location.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        group.cancel_scope.cancel()
    if finished is None or finished.returncode != 0:
        raise _refusal(location, finished.errors if finished else "")
    if (await store.git("cat-file", "-e", f"{commit}^{{commit}}")).returncode != 0:
        raise FlopsError("FLOPS-B004", f"commit {commit} is on no branch or tag of {location.url}")
    return store


async def resolve_ref(location: Location, ref: str, folder: Path, settings: BuilderSettings) -> str:
    """The commit that a branch or tag points at now; `folder` is created.

    :raises FlopsError: FLOPS-B001 to FLOPS-B004 and FLOPS-B008, as the server's answer is
    """
    await anyio.Path(folder).mkdir(parents=True)
    store = Store(folder, _environment(location, folder, settings), settings.clone_seconds)
    finished = await store.git("ls-remote", "--", location.url, ref, f"{ref}^{{}}")
    if finished.returncode != 0:
        raise _refusal(location, finished.errors)
    found = {name: commit for commit, _, name in (line.partition("\t") for line in finished.output.splitlines())}
    # An annotated tag's own object is no commit; with ^{} it stands for what it points at (git-ls-remote(1)).
    order = [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", f"{ref}^{{}}", ref]
    commit = next((found[name] for name in order if name in found), None)
    if commit is None:
        raise FlopsError("FLOPS-B004", f"{public_url(location.url)} has no branch or tag {ref}")
    return commit


def _environment(location: Location, folder: Path, settings: BuilderSettings) -> dict[str, str]:
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    for name in PROXIES:
        environment |= {each: os.environ[each] for each in (name, name.upper()) if each in os.environ}
    configuration = CONFIGURATION % location.transport
    if location.path is not None:
        # Git refuses a folder of another user unless it is named here, and reads that from a protected file only.
        for path in (location.path, location.path / ".git"):
            configuration += f"[safe]\n\tdirectory = {_quoted(str(path))}\n"
    if settings.git_credentials is not None:
        helper = f"store --file={shlex.quote(str(settings.git_credentials))}"
        configuration += f"[credential]\n\thelper = {_quoted(helper)}\n"
    file = folder.parent / f"{folder.name}.gitconfig"
    file.write_text(configuration)
    ssh = [*shlex.split(settings.git_ssh_command or "ssh"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
    if settings.git_ssh_key is not None:
        ssh += ["-i", str(settings.git_ssh_key), "-o", "IdentitiesOnly=yes"]
    if settings.git_known_hosts is not None:
        ssh += ["-o", f"UserKnownHostsFile={settings.git_known_hosts}", "-o", "StrictHostKeyChecking=yes"]
    return environment | {
        "GIT_CONFIG_GLOBAL": str(file),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/true",
        "SSH_ASKPASS": "/bin/true",
        "GIT_ALLOW_PROTOCOL": location.transport,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_SSH_COMMAND": shlex.join(ssh),
        "LC_ALL": "C",
    }


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def _watch_size(folder: Path, limit: int) -> None:
    """Git has no limit of its own for what it fetches."""

    def size() -> int:
        return sum(file.stat().st_size for file in _files(folder))

    while True:
        await anyio.sleep(0.5)
        if await anyio.to_thread.run_sync(size, abandon_on_cancel=True) > limit:
            raise FlopsError("FLOPS-B005", f"its history is over {limit // 1_000_000} MB")


def _files(folder: Path) -> Sequence[Path]:
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.exists():  # git renames its temporary files under our eyes
                found.append(file)
    return found


def _refuses_one_commit(errors: str) -> bool:
    answers = ("unadvertised object", "not our ref", "does not support shallow", "not support --depth", "dumb http")
    return any(answer in errors for answer in answers)


def _refusal(location: Location, errors: str) -> FlopsError:
    """What git said, in our words."""
    text = errors.lower()
    lines = [
        line
        for line in errors.splitlines()
        if line.startswith(("fatal:", "error:", "ERROR:", "remote:", "ssh:")) or "denied" in line
    ]
    said = " ".join(line.strip() for line in lines)[-400:] or errors.strip()[-400:]
    detail = f"{public_url(location.url)}: {said}"
    if WANTS_CREDENTIALS.search(text):
        return FlopsError("FLOPS-B002", detail)
    if NOT_THERE.search(text):
        return FlopsError("FLOPS-B001", detail)
    if "not our ref" in text or "couldn't find remote ref" in text or "bad object" in text:
        return FlopsError("FLOPS-B004", detail)
    return FlopsError("FLOPS-B008", detail)
