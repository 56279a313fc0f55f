"""A resolved lock: what is in it, and keeping it for the next build."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flops_protocol.identifiers import Digest, uuid7
from packaging.utils import canonicalize_name

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;\\]+)|@\s*(\S+))")
YANKED = re.compile(r"(?m)^# yanked: ([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+?)(?:: (.*))?$")
"""A line of ours at the end of a lock: uv says it once, and then the release is in the lock like any other."""
VIA = re.compile(r"(?m)^\s+#(?:\s+via)?\s+([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*$")


def _entries(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Normalised name, version (or URL) and who wants it, of every package."""
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        if found := PINNED.match(entry):
            by: list[str] = [canonicalize_name(name) for name in VIA.findall(entry)]
            yield canonicalize_name(found.group(1)), found.group(2) or found.group(3), by


@dataclass(frozen=True)
class Lock:
    """Every package with one version and its hashes, for one target."""

    text: str

    @property
    def digest(self) -> Digest:
        """The lock's identity."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"

    @property
    def versions(self) -> dict[str, str]:
        """Version by normalised name; for one by URL, the URL."""
        return {name: version for name, version, _ in _entries(self.text)}

    @property
    def yanked(self) -> dict[str, tuple[str, str]]:
        """Version and reason by normalised name, of releases that their projects have taken back."""
        return {canonicalize_name(name): (version, why or "") for name, version, why in YANKED.findall(self.text)}

    def wanted_by(self, name: str) -> list[str]:
        """Which other packages want one (names normalised)."""
        versions = self.versions
        return [who for package, _, by in _entries(self.text) if package == name for who in by if who in versions]

    def closure(self, name: str) -> frozenset[str]:
        """The package with everything that it wants, and that those want, by who wants what (normalised names)."""
        wants: dict[str, set[str]] = {}
        for package, _, by in _entries(self.text):
            for each in by:
                wants.setdefault(each, set()).add(package)
        found, waiting = set(), [name]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += wants.get(each, ())
        return frozenset(found)

    def without(self, names: set[str]) -> Lock:
        """The lock without these packages (normalised names)."""
        entries = re.split(r"(?m)^(?=\S)", self.text)
        kept = [
            entry
            for entry in entries
            if not (found := PINNED.match(entry)) or canonicalize_name(found.group(1)) not in names
        ]
        return Lock("".join(kept))


def yanked_line(name: str, version: str, reason: str) -> str:
    """The line of a lock that says that a release was taken back."""
    return f"# yanked: {name}=={version}" + (f": {' '.join(reason.split())[:300].rstrip()}" if reason.strip() else "")


def lock_key(*parts: str | Sequence[str]) -> str:
    """A name for everything that a lock depends on."""
    return hashlib.sha256(repr([part if isinstance(part, str) else list(part) for part in parts]).encode()).hexdigest()


@dataclass(frozen=True)
class LockStore:
    """Locks of earlier builds on this machine, by what they were resolved from.

    Packages that are not pinned move on at the index; so a lock counts for `hours` only, and then it is resolved anew.
    """

    folder: Path
    hours: float

    def get(self, key: str) -> Lock | None:
        """The lock, unless it is too old."""
        file = self.folder / key
        try:
            if time.time() - file.stat().st_mtime > self.hours * 3600:
                return None
            return Lock(file.read_text())
        except FileNotFoundError:
            return None

    def put(self, key: str, lock: Lock) -> None:
        """Keeps the lock. Two builders may do so at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".{uuid7()}"
        new.write_text(lock.text)
        new.replace(self.folder / key)
