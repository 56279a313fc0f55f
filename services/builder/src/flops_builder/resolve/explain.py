"""Why there is no set of versions, as a person would say it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from flops_builder.dependencies.declaration import Requirement
from flops_builder.dependencies.names import CONDA_TO_PYPI, IMPORTED_AS, RENAMED

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
NO_WHEEL = re.compile(rf"({NAME})(?:[=<>!~]=?[^\s]*)? (?:has|have) no (?:usable wheels|wheels with a matching)")
NO_WHEEL_AT_ALL = re.compile(rf"all versions of ({NAME}) have no (?:usable wheels|wheels with a matching)")
NO_WHEEL_IN_LIST = re.compile(
    rf"all of:\s+({NAME})[^\n]*\n(?:[^\n]*\n)*?\s*have no (?:usable wheels|wheels with a matching)"
)
NO_VERSION = re.compile(rf"there (?:is|are) no versions? of ({NAME})")
NOT_FOUND = re.compile(rf"({NAME}) was not found in the (?:package registry|provided package locations)")
DEPENDS = re.compile(rf"({NAME})(?:\[[^\]]*\])?([<>=!~][^\s;]*)? depends on ({NAME})(?:\[[^\]]*\])?([<>=!~][^\s;]*)")
MAX_TEXT = 700


@dataclass(frozen=True)
class Reason:
    """What uv's explanation is about. Names are normalised."""

    text: str
    no_wheel: frozenset[str]
    """Packages some version of which has no wheel."""
    no_wheel_at_all: frozenset[str]
    """Packages no version of which has one."""
    no_version: frozenset[str]
    """Packages that do not have the version that is asked for."""
    not_found: frozenset[str]
    """Packages that the index does not have."""


def reason(explanation: str) -> Reason:
    """Reads what uv printed."""
    body = explanation.split("\nhint:")[0]
    body = body.partition("cause:")[2] or body
    at_all = _names(NO_WHEEL_AT_ALL, body)
    return Reason(
        text=_sentence(body),
        no_wheel=_names(NO_WHEEL, body) | _names(NO_WHEEL_IN_LIST, body) | at_all,
        no_wheel_at_all=at_all,
        no_version=_names(NO_VERSION, body),
        not_found=_names(NOT_FOUND, body),
    )


def _names(pattern: re.Pattern[str], text: str) -> frozenset[str]:
    return frozenset(canonicalize_name(name) for name in pattern.findall(text))


def _sentence(body: str) -> str:
    """uv's derivation without its last step, which says nothing."""
    text = re.sub(r"\s+", " ", body).strip().rstrip(".")
    text = re.sub(r",? (?:we can conclude|it follows) that your requirements are unsatisfiable$", "", text)
    text = text.removeprefix("Because ")
    text = text.replace(", we can conclude that ", ", so ").replace(". And because ", "; and ")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def contradiction(text: str, requirements: Sequence[Requirement]) -> str:
    """The first thing in an explanation that a requirement contradicts: who needs what, and what is asked for instead.

    The explanation itself, where there is no such thing in it.
    """
    asked = {each.name: each for each in requirements if each.parsed.specifier}
    unsure: str | None = None
    for who, versions, name, specifier in DEPENDS.findall(text):
        wanted, owner = asked.get(canonicalize_name(name)), asked.get(canonicalize_name(who))
        if wanted is None:
            continue
        needing = owner.text if owner is not None and owner.exact is not None else f"{who}{versions}"
        said = f"{needing} needs {name}{specifier.rstrip(',')}, but {place(wanted)} is asked for"
        if wanted.exact is not None and not _allows(specifier.rstrip(","), wanted.exact):
            return said
        unsure = unsure or said
    return unsure or text


def _allows(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def mentioned(requirements: Sequence[Requirement], text: str) -> list[Requirement]:
    """The requirements that an explanation names, in their order."""
    return [
        each for each in requirements if re.search(rf"(?<![\w.-]){re.escape(each.name)}(?![\w-])", text, re.IGNORECASE)
    ]


def place(requirement: Requirement) -> str:
    """`numpy==1.10 (requirements.txt:3)`."""
    line = f":{requirement.line}" if requirement.line else ""
    return f"{requirement.text} ({requirement.file}{line})"


def similar(name: str) -> str | None:
    """A package that somebody who writes this name may mean."""
    known = {*RENAMED, *RENAMED.values(), *CONDA_TO_PYPI.values(), *IMPORTED_AS}
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return RENAMED.get(found[0], found[0]) if found else None
