"""Which Python minor an image gets: what the repository asks for; where it leaves a choice, what the nodes have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flops_protocol.errors import FlopsError
from packaging.specifiers import SpecifierSet

from flops_builder.dependencies.declaration import Declaration, Repair
from flops_builder.dependencies.rules import Rule

OLDEST = (3, 11)
"""Flower's oldest. The FL runtime lives in the same container as the ML code, on the same interpreter."""
PATCHES = range(60)


@dataclass(frozen=True)
class PythonChoice:
    """The minor, and what was changed to get to it."""

    minor: str
    why: str
    repairs: tuple[Repair, ...] = ()


def choose_python(declaration: Declaration, pythons: Sequence[str]) -> PythonChoice:
    """Chooses among the nodes' minors (best first).

    :raises FlopsError: FLOPS-B024 when none of them will do
    """
    usable = [minor for minor in pythons if _numbers(minor) >= OLDEST]
    asked, file, line = declaration.python, declaration.python_file or declaration.file, declaration.python_line
    if not usable:
        raise FlopsError(
            "FLOPS-B024",
            f"the nodes have Python {', '.join(pythons)}; {_text(OLDEST)} is the oldest that Flower runs on",
        )
    if asked is None or not str(asked):
        return PythonChoice(usable[0], "the repository asks for none; it is the first that the nodes have")
    fitting = [minor for minor in usable if allows(asked, minor)]
    if fitting:
        why = f"{_place(file, line)} asks for python{asked}"
        if len(fitting) > 1:
            why += "; it is the first of those that the nodes have"
        return PythonChoice(fitting[0], why, _patch_repair(declaration, fitting[0]))
    wanted = [minor for minor in _python_three() if allows(asked, minor)]
    raised = sorted((minor for minor in usable if wanted and _numbers(minor) > _numbers(wanted[-1])), key=_numbers)
    if not raised:
        raise FlopsError(
            "FLOPS-B024",
            f"python{asked} is asked for; the nodes have {', '.join(usable)}",
            file=file,
            line=line,
        )
    why = f"no node has Python {wanted[-1]}, and this is the nearest above it that one has"
    changed = Repair(Rule.PYTHON_PIN, f"python{asked}", f"python {raised[0]}", why, file, line)
    return PythonChoice(raised[0], f"{_place(file, line)} asks for python{asked}: {why}", (changed,))


def _place(file: str, line: int | None) -> str:
    return f"{file}:{line}" if line else file


def _patch_repair(declaration: Declaration, minor: str) -> tuple[Repair, ...]:
    """Says so when a patch release was asked for: the node's own counts."""
    pins = [each.version for each in declaration.python or () if each.operator == "==" and each.version.count(".") > 1]
    if not pins or pins[0].endswith(".*"):
        return ()
    why = "the patch release is the node's"
    file = declaration.python_file or declaration.file
    return (Repair(Rule.PYTHON_PATCH, f"python=={pins[0]}", f"python {minor}", why, file, declaration.python_line),)


def allows(asked: SpecifierSet, minor: str) -> bool:
    """Whether some patch release of a minor is allowed."""
    return any(asked.contains(f"{minor}.{patch}") for patch in PATCHES)


def _python_three() -> list[str]:
    return [f"3.{number}" for number in range(60)]


def _numbers(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
