"""What was read from a dependency file, and what was changed about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flops_protocol.errors import FlopsError
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Parsed
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from flops_builder.dependencies.rules import Rule

if TYPE_CHECKING:
    from flops_builder.dependencies.conda import CondaFile


@dataclass(frozen=True)
class Requirement:
    """One requirement with the place where it stands."""

    parsed: Parsed
    file: str
    line: int | None = None

    @property
    def name(self) -> str:
        """The project's name, normalised (PEP 503)."""
        return canonicalize_name(self.parsed.name)

    @property
    def text(self) -> str:
        """The requirement as pip would write it."""
        return str(self.parsed)

    @property
    def exact(self) -> str | None:
        """The version, when it is pinned to one."""
        pins = [
            each for each in self.parsed.specifier if each.operator in {"==", "==="} and not each.version.endswith(".*")
        ]
        return pins[0].version if len(pins) == 1 else None

    def with_specifier(self, specifier: str) -> Requirement:
        """The same, with other versions allowed."""
        parsed = Parsed(str(self.parsed))
        parsed.specifier = SpecifierSet(specifier)
        return replace(self, parsed=parsed)

    def without_url(self) -> Requirement:
        """The same, from the index."""
        parsed = Parsed(str(self.parsed))
        parsed.url = None
        return replace(self, parsed=parsed)

    def renamed(self, name: str) -> Requirement:
        """The same, of another project."""
        parsed = Parsed(str(self.parsed))
        parsed.name = name
        return replace(self, parsed=parsed)


def requirement(text: str, file: str, line: int | None = None) -> Requirement:
    """Reads one requirement (PEP 508).

    :raises FlopsError: FLOPS-B021 when it is none
    """
    try:
        return Requirement(Parsed(text), file, line)
    except InvalidRequirement as error:
        raise FlopsError(
            "FLOPS-B021", f"{text!r} is no requirement: {str(error).splitlines()[0]}", file=file, line=line
        ) from error


@dataclass(frozen=True)
class Repair:
    """One change to what was asked for: by which rule, from what, to what, and why."""

    rule: Rule
    before: str
    after: str | None
    """None: it was dropped. Where there was nothing before, `before` is empty."""
    why: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else f" ({self.file}{f':{self.line}' if self.line else ''})"
        change = (
            f"{self.before} dropped"
            if self.after is None
            else f"{self.before} → {self.after}"
            if self.before
            else f"{self.after} added"
        )
        return f"[{self.rule}] {change}{place}: {self.why}"


@dataclass(frozen=True)
class Declaration:
    """What a dependency file declares."""

    file: str
    """The file that won, relative to the repository's code."""
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    python: SpecifierSet | None = None
    """The Python versions that it allows; None: any."""
    python_line: int | None = None
    python_file: str | None = None
    """Where that stands, when it is another file."""
    options: tuple[str, ...] = ()
    """Index options that it brings: `--extra-index-url URL`, `--find-links URL`."""
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()
    ignored: tuple[str, ...] = field(default=())
    """Dependency files that were there too."""
    included: frozenset[str] = frozenset()
    """Further files that it names, and that were read with it."""
    locked: bool = False
    """Whether it is a lock, which is honoured exactly."""
    off: frozenset[Rule] = frozenset()
    """Repair rules that are switched off."""
    conda: CondaFile | None = None
    """The same as conda reads it, where it is a conda file."""
    conda_switch: CondaSwitch | None = None
    """What `flops.toml` says about it."""


@dataclass(frozen=True)
class CondaSwitch:
    """`conda = true` (or false) of a `flops.toml`, and where it stands."""

    on: bool
    file: str
    line: int | None
