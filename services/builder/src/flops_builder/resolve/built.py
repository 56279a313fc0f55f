"""Wheels that were built from source, and how a lock says so: the same on every machine, installable on one that has
them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flops_builder.resolve.lock import IN_IMAGE, PINNED, Lock


@dataclass(frozen=True)
class BuiltWheel:
    """A wheel in the cache, and what it was built from."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    sha256: str
    file: Path
    origin: str
    """The source: see `Source.origin`."""

    @property
    def pure(self) -> bool:
        """Whether it serves every platform."""
        return self.file.name.endswith("-none-any.whl")


def find_wheel(folder: Path, sha256: str) -> Path | None:
    """The wheel with these bytes in a cache of built wheels, if it is there."""
    return next((folder / "files" / sha256).glob("*.whl"), None)


def with_origins(text: str, wheels: Sequence[BuiltWheel]) -> str:
    """A lock's text as it is on every machine: what was built by version, hash and origin, without a path."""
    for each in wheels:
        entry = re.compile(
            rf"(?mi)^({_spelled(each.name)})(?:\[[^\]]*\])?(?:==[^\s;\\]+| @ \S+)(.*(?:\n    --hash=.*)*)"
        )
        found = entry.search(text)
        if found and each.sha256 in found.group(2):
            pinned = f"{found.group(1)}=={each.version} \\\n    --hash=sha256:{each.sha256}"
            text = f"{text[: found.start()]}{pinned}\n    # built from {each.origin}{text[found.end() :]}"
    return text


def installable(lock: Lock, find: Callable[[str], Path | None]) -> str:
    """What of a lock is to be installed, with the files of what was built from source, which no index has.

    :param find: the wheel with this SHA-256
    :raises KeyError: when one is not there
    """
    entries = re.split(r"(?m)^(?=\S)", lock.text)
    text = "".join(entry for entry in entries if PINNED.match(entry) and f"\n{IN_IMAGE}" not in entry)
    for name, built in lock.built.items():
        file = find(built.sha256)
        if file is None:
            raise KeyError(name)
        text = re.sub(rf"(?mi)^({_spelled(name)})==[^\s;\\]+", rf"\1 @ {file.as_uri()}", text)
    return text


def _spelled(name: str) -> str:
    """A pattern for a normalised name, however it is written (PEP 503)."""
    return name.replace("-", "[-_.]+")
