"""What lock files have in common: packages at exact versions, wanted under conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Requirement, requirement

Condition = frozenset[frozenset[str]]
"""Markers in disjunctive normal form: one of the sets has to hold, all of its markers together."""
ALWAYS: Condition = frozenset({frozenset()})
MAX_TERMS = 16
"""What is wanted under more conditions than this is taken as wanted always."""


@dataclass(frozen=True)
class Wanted:
    """What of a project is asked for beside its own dependencies."""

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    file: str | None = None
    """Where that is asked for, with the lines."""
    extras_line: int | None = None
    groups_line: int | None = None

    def missing(self, key: str, name: str, there: Iterable[str], line: int | None) -> FlopsError:
        """The error for an extra or group that a file does not have."""
        known = ", ".join(sorted(there)) or "none"
        return FlopsError("FLOPS-B021", f"there is no {name!r} in {key}, only: {known}", file=self.file, line=line)


@dataclass(frozen=True)
class Edge:
    """That something wants a package, under a marker (empty: always)."""

    package: str
    """The key of the package."""
    marker: str = ""


def conditions(roots: Sequence[Edge], edges: Mapping[str, Sequence[Edge]]) -> dict[str, Condition]:
    """Under which condition each package is wanted, for all that the roots want, and what those want."""
    found: dict[str, Condition] = {}
    waiting = [(root, ALWAYS) for root in roots]
    while waiting:
        edge, parent = waiting.pop()
        before = found.get(edge.package, frozenset())
        after = _simplified(before | {term | {edge.marker} if edge.marker else term for term in parent})
        if after != before:
            found[edge.package] = after
            waiting += [(each, after) for each in edges.get(edge.package, ())]
    return found


def _simplified(condition: Condition) -> Condition:
    """Without terms that say more than another one that holds anyway."""
    terms = {term for term in condition if not any(other < term for other in condition)}
    return ALWAYS if len(terms) > MAX_TERMS else frozenset(terms)


def marker_text(condition: Condition) -> str:
    """The condition as a marker (PEP 508); empty: always."""
    if condition == ALWAYS:
        return ""
    terms = sorted(" and ".join(f"({marker})" for marker in sorted(term)) for term in condition)
    return " or ".join(f"({term})" for term in terms) if len(terms) > 1 else terms[0]


def pinned(name: str, version: str, marker: str, file: str, line: int | None = None) -> Requirement:
    """`name==version`, under a marker."""
    return requirement(f"{name}=={version}" + (f" ; {marker}" if marker else ""), file, line)


@dataclass(frozen=True)
class GitSource:
    """A package in a Git repository."""

    url: str
    commit: str
    subdirectory: str = ""

    @property
    def address(self) -> str:
        """As pip writes it: `git+https://…@commit#subdirectory=…`."""
        url = self.url if self.url.startswith("git+") else f"git+{self.url}"
        commit = f"@{self.commit}" if self.commit else ""
        return f"{url}{commit}" + (f"#subdirectory={self.subdirectory}" if self.subdirectory else "")


def from_url(name: str, url: str, marker: str, file: str, line: int | None = None) -> Requirement:
    """`name @ https://…`, under a marker."""
    return requirement(f"{name} @ {url}" + (f" ; {marker}" if marker else ""), file, line)


def refuse_folder(name: str, place: Any, file: str, line: int | None = None) -> FlopsError:
    """The error for a package that is a folder or file of the repository."""
    detail = f"{name} is a folder or file ({place}), not a package of an index"
    return FlopsError("FLOPS-B021", detail, file=file, line=line)


def other_indexes(urls: Iterable[str]) -> tuple[str, ...]:
    """Options for the indexes beside the one that most packages are from: that is the site's own here."""
    counted = Counter(url for url in urls if "://" in url)
    return extra_indexes(url for url, _ in counted.most_common()[1:])


def extra_indexes(urls: Iterable[str]) -> tuple[str, ...]:
    """Options that have these indexes asked, too."""
    return tuple(f"--extra-index-url={url}" for url in dict.fromkeys(urls) if "://" in url)


def sorted_by_name(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """In the order of a lock."""
    return tuple(sorted(requirements, key=lambda each: (each.name, each.text)))
