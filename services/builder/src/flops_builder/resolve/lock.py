"""A resolved lock: what is in it, and keeping it for the next build."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flops_protocol.identifiers import Digest, uuid7
from packaging.utils import canonicalize_name

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;\\]+)|@\s*(\S+))")
YANKED = re.compile(r"(?m)^# yanked: ([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+?)(?:: (.*))?$")
"""A line of ours at the end of a lock: uv says it once, and then the release is in the lock like any other."""
REFUSAL_SECONDS = 600.0
"""For so long it counts that there is no lock: less than it takes to publish what is missing."""
BUILT = re.compile(r"(?m)^    # built from (\S+)$")
IN_IMAGE = "    # in the image"
"""Says of a package that the image below has it: it counts, and is not installed."""
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
VIA = re.compile(r"(?m)^\s+#(?:\s+via)?\s+([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*$")


@dataclass(frozen=True)
class Built:
    """What a lock says of a wheel that was built from source."""

    sha256: str
    """Of the wheel."""
    origin: str
    """The source: a file's name or a URL without credentials, at one commit."""


@dataclass(frozen=True)
class Lock:
    """Every package with one version and its hashes, for one target."""

    text: str

    @cached_property
    def _entries(self) -> tuple[tuple[str, str, tuple[str, ...], Built | None], ...]:
        """Normalised name, version (or URL), who wants it, and what it was built from, of every package."""
        return tuple(
            (
                canonicalize_name(found.group(1)),
                found.group(2) or found.group(3),
                tuple(canonicalize_name(name) for name in VIA.findall(entry)),
                _built(entry),
            )
            for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", self.text)
            if (found := PINNED.match(entry))
        )

    @property
    def digest(self) -> Digest:
        """The lock's identity."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"

    @property
    def versions(self) -> dict[str, str]:
        """Version by normalised name; for one by URL, the URL."""
        return {name: version for name, version, *_ in self._entries}

    @property
    def yanked(self) -> dict[str, tuple[str, str]]:
        """Version and reason by normalised name, of releases that their projects have taken back."""
        return {canonicalize_name(name): (version, why or "") for name, version, why in YANKED.findall(self.text)}

    def wanted_by(self, name: str) -> list[str]:
        """Which other packages want one (names normalised)."""
        versions = self.versions
        return [who for package, _, by, _ in self._entries if package == name for who in by if who in versions]

    @property
    def built(self) -> dict[str, Built]:
        """What was built from source, by normalised name."""
        return {name: built for name, *_, built in self._entries if built is not None}

    def closure(self, name: str) -> frozenset[str]:
        """The package with everything that it wants, and that those want, by who wants what (normalised names)."""
        wants: dict[str, set[str]] = {}
        for package, _, by, _ in self._entries:
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


def _built(entry: str) -> Built | None:
    origin, hashed = BUILT.search(entry), HASH.search(entry)
    return Built(hashed.group(1), origin.group(1)) if origin and hashed else None


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
        text = self._read(key, self.hours * 3600)
        return None if text is None else Lock(text)

    def put(self, key: str, lock: Lock) -> None:
        """Keeps the lock. Two builders may do so at once."""
        self._write(key, lock.text)

    def get_refusal(self, key: str) -> str | None:
        """Why there was no lock a moment ago."""
        return self._read(f"{key}.none", REFUSAL_SECONDS)

    def put_refusal(self, key: str, explanation: str) -> None:
        """Keeps why there is no lock: a plan is followed by another one, or by the build."""
        self._write(f"{key}.none", explanation)

    def _read(self, name: str, seconds: float) -> str | None:
        file = self.folder / name
        try:
            return None if time.time() - file.stat().st_mtime > seconds else file.read_text()
        except FileNotFoundError:
            return None

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".{uuid7()}"
        new.write_text(text)
        new.replace(self.folder / name)
