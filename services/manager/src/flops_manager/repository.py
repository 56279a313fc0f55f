"""Repositories as the manager sees them: a URL, and the one commit that a ref of it stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from flops_protocol.errors import FlopsError

_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:(?!//)[^:]+")
_OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Transport(StrEnum):
    """How a repository is reached."""

    HTTPS = "https"
    HTTP = "http"
    SSH = "ssh"
    LOCAL = "local"


@dataclass(frozen=True)
class Allowed:
    """Which repositories may be used."""

    local_roots: Sequence[Path] = ()
    http: bool = False


class RefResolver(Protocol):
    """Finds the commit behind a ref, wherever the repository is."""

    async def resolve(self, url: str, ref: str | None) -> str:
        """The full ID of the one commit that `ref` (a branch, a tag, a full commit ID; None: HEAD) stands for now.

        :raises FlopsError: FLOPS-B001 when there is no such repository, B002 when it wants credentials, B003 when it is
            empty, B004 when it has no such ref, B006 when its URL is not allowed, B008 when it does not answer in time
        """
        ...


def transport(url: str, allowed: Allowed) -> Transport:
    """How the repository is reached, if it may be.

    :raises FlopsError: FLOPS-B006 when the URL is of another kind, or carries a password, or is not allowed here
    """
    if any(ord(letter) < 32 for letter in url) or url.startswith("-"):
        raise FlopsError("FLOPS-B006", f"{url!r} is no repository URL")
    if url.startswith("/"):
        return _local(Path(url), allowed)
    parts = urlsplit(url)
    if "://" in url:
        if parts.password is not None:
            # The URL stands in retained messages and in the history, for everybody who may see the project.
            raise FlopsError(
                "FLOPS-B006",
                f"the URL of {parts.hostname} carries a password, which everybody who sees the project would see",
                hint="Take it out of the URL, and give the mesh a deploy key or a credential file.",
            )
        match parts.scheme:
            case "https":
                return Transport.HTTPS
            case "ssh":
                return Transport.SSH
            case "http" if allowed.http:
                return Transport.HTTP
            case "file" if parts.netloc in {"", "localhost"}:
                return _local(Path(unquote(parts.path)), allowed)
        raise FlopsError("FLOPS-B006", f"{parts.scheme}:// in {url}")
    if _SCP_LIKE.fullmatch(url):
        return Transport.SSH
    raise FlopsError("FLOPS-B006", f"{url} is neither a URL nor an absolute path")


def _local(path: Path, allowed: Allowed) -> Transport:
    real = path.resolve()
    if not any(real.is_relative_to(root.resolve()) for root in allowed.local_roots):
        roots = ", ".join(str(root) for root in allowed.local_roots) or "no folder"
        raise FlopsError("FLOPS-B006", f"{path} is outside of what is allowed ({roots})")
    return Transport.LOCAL


def choose(refs: dict[str, str], ref: str | None, url: str) -> str:
    """The commit that a ref stands for among a repository's refs (`refs/heads/main`, `refs/tags/v1^{}`, `HEAD`).

    A name is looked for among the branches, then among the tags; an annotated tag stands for its commit. A full commit
    ID is taken at its word: whether it exists shows when it is fetched.

    :raises FlopsError: FLOPS-B003 when there are no refs, FLOPS-B004 when there is none of this name
    """
    if ref is not None and _OBJECT.fullmatch(ref):
        return ref
    if not refs:
        raise FlopsError("FLOPS-B003", url)
    if ref is None or ref == "HEAD":
        if "HEAD" not in refs:
            raise FlopsError("FLOPS-B004", f"HEAD of {url} is a branch without commits; name one in ml_repo_ref")
        return refs["HEAD"]
    for name in (ref,) if ref.startswith("refs/") else (f"refs/heads/{ref}", f"refs/tags/{ref}"):
        commit = refs.get(f"{name}^{{}}") or refs.get(name)
        if commit is not None:
            return commit
    known = sorted(name.split("/", 2)[2] for name in refs if name.startswith("refs/heads/"))
    branches = f"; its branches are {', '.join(known[:10])}{' …' if len(known) > 10 else ''}" if known else ""
    raise FlopsError("FLOPS-B004", f"'{ref}' in {url}{branches}")
