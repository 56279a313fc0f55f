"""A resolved lock: what is in it, and keeping it for the next build."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flops_protocol.identifiers import Digest, uuid7
from packaging.utils import canonicalize_name

from flops_builder.sdist.wheel import BuiltWheel

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;\\]+)|@\s*(\S+))")
BUILT = re.compile(r"(?m)^    # built from (\S+)$")
IN_IMAGE = "    # in the image"
"""Says of a package that the image below has it: it counts, and is not installed."""
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
VIA = re.compile(r"(?m)^\s+#(?:\s+via)?\s+([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*$")


def _entries(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Normalised name, version (or URL) and who wants it, of every package."""
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        if found := PINNED.match(entry):
            by: list[str] = [canonicalize_name(name) for name in VIA.findall(entry)]
            yield canonicalize_name(found.group(1)), found.group(2) or found.group(3), by


@dataclass(frozen=True)
class Built:
    """What a lock says of a wheel that was built from source."""

    sha256: str
    """Of the wheel."""
    origin: str
    """See `BuiltWheel.origin`."""


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
    def built(self) -> dict[str, Built]:
        """What was built from source, by normalised name."""
        found: dict[str, Built] = {}
        for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", self.text):
            origin, name, hashed = BUILT.search(entry), PINNED.match(entry), HASH.search(entry)
            if origin and name and hashed:
                found[canonicalize_name(name.group(1))] = Built(hashed.group(1), origin.group(1))
        return found

    def installable(self, find: Callable[[str], Path | None]) -> str:
        """The lock's text with the files of what was built from source, which no index has.

        :param find: the wheel with this SHA-256
        :raises KeyError: when one is not there
        """
        entries = re.split(r"(?m)^(?=\S)", self.text)
        text = "".join(entry for entry in entries if PINNED.match(entry) and f"\n{IN_IMAGE}" not in entry)
        for name, built in self.built.items():
            file = find(built.sha256)
            if file is None:
                raise KeyError(name)
            text = re.sub(rf"(?mi)^({_spelled(name)})==[^\s;\\]+", rf"\1 @ {file.as_uri()}", text)
        return text

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


def _spelled(name: str) -> str:
    """A pattern for a normalised name, however it is written (PEP 503)."""
    return name.replace("-", "[-_.]+")


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
