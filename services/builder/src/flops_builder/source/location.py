"""Where a repository is: which URLs are allowed, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from flops_protocol.errors import FlopsError

SCP_LIKE = re.compile(r"^(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!:|//)[^\s]+$")
"""`git@host:owner/name.git`, Git's short form of an ssh URL (git-fetch(1), "GIT URLS")."""


@dataclass(frozen=True)
class Location:
    """A repository's place. `url` is what Git is given; it never begins with a hyphen."""

    url: str
    transport: Literal["http", "https", "ssh", "file"]
    path: Path | None = None
    """The folder, for a local repository."""


def locate(url: str, local_roots: Sequence[Path], *, allow_http: bool = False) -> Location:
    """Reads a repository URL.

    :raises FlopsError: FLOPS-B006 when this kind of URL is not allowed
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if any(ord(character) < 33 for character in url):
        raise FlopsError("FLOPS-B006", "the URL has spaces or control characters")
    if scheme == "https" or (allow_http and scheme == "http"):
        if not urlsplit(url).hostname:
            raise FlopsError("FLOPS-B006", f"{url} names no host")
        return Location(url, "https" if scheme == "https" else "http")
    if scheme == "ssh":
        host = urlsplit(url).hostname or ""
        # A host that begins with a hyphen would be an option to ssh (CVE-2017-1000117).
        if not host or host.startswith("-"):
            raise FlopsError("FLOPS-B006", f"{url} names no host")
        return Location(url, "ssh")
    if scheme == "file":
        return _local(Path(unquote(urlsplit(url).path)), url, local_roots)
    if scheme:
        raise FlopsError("FLOPS-B006", f"{scheme}:// in {url}")
    if url.startswith("/"):
        return _local(Path(url), url, local_roots)
    if SCP_LIKE.match(url) and not url.startswith("-"):
        return Location(url, "ssh")
    raise FlopsError("FLOPS-B006", f"{url} is neither a URL nor an absolute path")


def public_url(url: str) -> str:
    """The URL without what may be a secret in it."""
    parts = urlsplit(url)
    if "://" not in url or "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _local(path: Path, url: str, roots: Sequence[Path]) -> Location:
    real = path.resolve()
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise FlopsError("FLOPS-B006", f"{url} is on the machine that builds, outside the folders it allows")
    if not real.is_dir():
        raise FlopsError("FLOPS-B001", f"there is no folder {path} on the machine that builds")
    return Location(str(real), "file", real)
