"""Refs of a repository by `git ls-remote`: no clone, no prompt, and never without a bound."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from urllib.parse import unquote

import anyio
from anyio.abc import ByteReceiveStream
from flops_protocol.errors import FlopsError

from flops_manager.repository import Allowed, Transport, choose, transport
from flops_manager.settings import Settings

MAX_ANSWER_BYTES = 64 * 1024 * 1024

_WANTS_CREDENTIALS = re.compile(
    r"could not read (username|password)|authentication failed|terminal prompts disabled|permission denied"
    r"|http basic: access denied|returned error: 40[13]|invalid credentials",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(
    r"repository .*not found|does not appear to be a git repository|does not exist|no such file or directory"
    r"|not a git repository|returned error: 404|project you were looking for could not be found",
    re.IGNORECASE,
)
_NOT_ALLOWED = re.compile(r"transport '.*' not allowed|protocol '.*' is not supported", re.IGNORECASE)


class GitResolver:
    """`RefResolver` by the Git that is installed."""

    def __init__(self, settings: Settings) -> None:
        """Takes what concerns repositories from the settings."""
        self._settings = settings
        self._allowed = Allowed(settings.local_repositories, http=settings.allow_http)

    async def resolve(self, url: str, ref: str | None) -> str:
        """See `RefResolver.resolve`."""
        kind = transport(url, self._allowed)
        try:
            with anyio.fail_after(self._settings.git_seconds):
                if ref is None and (
                    head := _refs(await self._git(url, [*self._options(kind), "ls-remote", "--", url, "HEAD"]))
                ):
                    return choose(head, ref, url)
                # All refs: also to tell an empty repository from one whose HEAD has no commits.
                refs = _refs(await self._git(url, [*self._options(kind), "ls-remote", "--", url]))
                commit = choose(refs, ref, url)
                if kind is Transport.LOCAL and commit not in refs.values():
                    await self._check_commit(url, commit)
                return commit
        except TimeoutError:
            raise FlopsError("FLOPS-B008", f"{url} did not answer in {self._settings.git_seconds:g} s") from None

    async def _check_commit(self, url: str, commit: str) -> None:
        folder = unquote(url.removeprefix("file://").removeprefix("localhost"))
        try:
            await self._git(url, ["-C", folder, "cat-file", "-e", f"{commit}^{{commit}}"])
        except FlopsError as error:
            raise FlopsError("FLOPS-B004", f"{commit} in {url}") from error

    async def _git(self, url: str, arguments: list[str]) -> bytes:
        """Runs Git; ends it with all its helpers, which would go on waiting for a silent host by themselves."""
        try:
            with anyio.CancelScope(shield=True):
                # asyncio forgets the pipes of a program whose start is cancelled.
                process = await anyio.open_process(
                    ["git", *arguments],
                    stdin=subprocess.DEVNULL,
                    env=self._environment(),
                    cwd="/",
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise FlopsError(
                "FLOPS-B008", "git is not installed", hint="Install Git where the manager runs."
            ) from error
        output = bytearray()
        complaints = bytearray()
        async with process:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(_drain, process.stdout, output)
                    group.start_soon(_drain, process.stderr, complaints)
                    await process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            raise _failure(url, complaints.decode(errors="replace"))
        return bytes(output)

    def _options(self, kind: Transport) -> list[str]:
        if kind is Transport.HTTPS and self._settings.git_credentials is not None:
            store = shlex.quote(str(self._settings.git_credentials.absolute()))
            return ["-c", f"credential.helper=store --file {store}"]
        return []

    def _environment(self) -> dict[str, str]:
        # The user's own ssh and Git settings hold, but nothing may ask a question that nobody sees.
        return os.environ | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": "https:ssh:file" + (":http" if self._settings.allow_http else ""),
            "GIT_SSH_COMMAND": self._ssh(),
            "LC_ALL": "C",
        }

    def _ssh(self) -> str:
        if self._settings.git_ssh_command is not None:
            return self._settings.git_ssh_command
        words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(self._settings.git_seconds))}"]
        if self._settings.git_ssh_key is not None:
            words += ["-i", str(self._settings.git_ssh_key.absolute()), "-o", "IdentitiesOnly=yes"]
        if self._settings.git_known_hosts is not None:
            words += ["-o", f"UserKnownHostsFile={self._settings.git_known_hosts.absolute()}"]
        return shlex.join(words)


async def _drain(stream: ByteReceiveStream | None, into: bytearray) -> None:
    if stream is not None:
        async for chunk in stream:
            if len(into) < MAX_ANSWER_BYTES:
                into.extend(chunk)


def _refs(output: bytes) -> dict[str, str]:
    refs: dict[str, str] = {}
    for line in output.decode(errors="replace").splitlines():
        commit, _, name = line.partition("\t")
        refs[name] = commit
    return refs


def _failure(url: str, output: str) -> FlopsError:
    """Git's complaint, as one of our errors; the whole of it stands in the detail."""
    said = "; ".join(line.strip() for line in output.splitlines() if line.strip())[:1000]
    detail = f"{url}: {said}"
    if _NOT_ALLOWED.search(output):
        return FlopsError("FLOPS-B006", detail)
    if _NOT_FOUND.search(output) and not _WANTS_CREDENTIALS.search(output):
        return FlopsError("FLOPS-B001", detail)
    if _WANTS_CREDENTIALS.search(output):
        return FlopsError(
            "FLOPS-B002",
            detail,
            hint="Check the URL first: many hosts ask for credentials where there is no such repository, too. "
            "If it is private, give the mesh a deploy key or a credential for this host.",
        )
    return FlopsError("FLOPS-B008", detail)
