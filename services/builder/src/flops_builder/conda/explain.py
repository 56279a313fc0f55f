"""Why conda's packages cannot be had together, as a person would say it, with the place in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flops_protocol.errors import FlopsError

from flops_builder.conda.solver import Solver
from flops_builder.dependencies.conda import CondaSpec
from flops_builder.resolve.uv import Target

NO_CANDIDATES = re.compile(r"^No candidates were found for (?P<spec>(?P<name>[A-Za-z0-9_.-]+).*?)\.?$")
LEAD = "Cannot solve the request because of:"
NEEDS = re.compile(r"^(?P<package>.+?) would (?:require|constrain)$")
SPEC = re.compile(r"^(?P<spec>.+?),? (?:which |for which |can|cannot)")
NOBODY = "for which no candidates were found"
SHOWN_VERSIONS = 5
SHOWN_FACTS = 8


async def unsolvable(solver: Solver, specs: Sequence[CondaSpec], target: Target, explanation: str) -> FlopsError:
    """The error for a request that cannot be solved. Asks the channels what they have.

    :raises FlopsError: FLOPS-B052 when a channel does not answer
    """
    text = explanation.strip().removeprefix(LEAD).strip()
    found = NO_CANDIDATES.match(text)
    if found is not None:
        return await _not_there(solver, specs, target, found.group("name").lower(), found.group("spec").strip(" *"))
    named = [each for each in specs if re.search(rf"(?m)^\W*{re.escape(each.name)} ", text)]
    first = next((each for each in named if each.name != "python"), named[0] if named else None)
    detail = f"{target.platform}: {'; '.join(facts(text, specs)) or text}"
    if len(named) > 1:
        detail += f". Wanted: {', '.join(_place(each) for each in named)}"
    return FlopsError("FLOPS-B050", detail, file=first.file if first else None, line=first.line if first else None)


def facts(explanation: str, specs: Sequence[CondaSpec]) -> list[str]:
    """What needs what, from rattler's tree: each package once, with what it cannot have."""
    lines = [(len(line) - len(line.lstrip(" │├└─")), line.lstrip(" │├└─").strip()) for line in explanation.splitlines()]
    told: dict[str, None] = {}
    for number, (depth, text) in enumerate(lines):
        found = NEEDS.match(text)
        if found is None:
            continue
        for deeper, needed in lines[number + 1 :]:
            if deeper <= depth:
                break
            if deeper == depth + 3:  # a level of the tree is three characters wide
                told.setdefault(f"{found.group('package')} needs {_needed(needed, specs)}")
    shown = list(told)[:SHOWN_FACTS]
    if "incompatible" in explanation.partition("\n")[0] and shown:
        shown[-1] += ": these exclude each other"
    return shown


def _needed(text: str, specs: Sequence[CondaSpec]) -> str:
    found = SPEC.match(text)
    spec = found.group("spec") if found else text
    if NOBODY not in text:
        return spec
    name = spec.split()[0]
    if name.startswith("__"):
        return f"{spec} of the machine, which does not have it"
    own = next((each for each in specs if each.name == name), None)
    return f"{spec}, which no channel has" if own is None else f"{spec}, which {_place(own)} excludes"


async def _not_there(solver: Solver, specs: Sequence[CondaSpec], target: Target, name: str, spec: str) -> FlopsError:
    own = next((each for each in specs if each.name == name), None)
    file, line = (own.file, own.line) if own else (None, None)
    here = await solver.versions(name, target.platform)
    if here:
        shown = [*(["…"] if len(here) > SHOWN_VERSIONS else []), *here[-SHOWN_VERSIONS:]]
        there = f"there {'is' if len(here) == 1 else 'are'} {', '.join(shown)}"
        return FlopsError("FLOPS-B050", f"{target.platform}: no channel has {spec}; {there}", file=file, line=line)
    if await solver.versions(name, None):
        detail = f"{name} is there for another platform, not for {target.platform}"
        return FlopsError("FLOPS-B051", detail, file=file, line=line)
    asked = ", ".join(each.name for each in solver.channels)
    hint = f"Check the spelling of {name}, and the channels of the machine that builds."
    return FlopsError(
        "FLOPS-B050", f"no channel has a package {name} (asked: {asked})", hint=hint, file=file, line=line
    )


def _place(spec: CondaSpec) -> str:
    return f"{spec.text} ({spec.file}{f':{spec.line}' if spec.line else ''})"
