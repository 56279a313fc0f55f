"""Why conda's packages cannot be had together, as a person would say it, with the place in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flops_protocol.errors import FlopsError

from flops_builder.conda.solver import Solver
from flops_builder.dependencies.conda import CondaSpec
from flops_builder.resolve.uv import Target

NO_CANDIDATES = re.compile(
    r"No candidates were found for (?P<spec>(?P<name>[A-Za-z0-9_.-]+)[^\n]*?)\.?\s*$", re.MULTILINE
)
TREE = re.compile(r"[│├└─╰╭]+")
LEAD = re.compile(r"^Cannot solve the request because of:\s*")
SHOWN_VERSIONS = 5
MAX_TEXT = 700


async def unsolvable(solver: Solver, specs: Sequence[CondaSpec], target: Target, explanation: str) -> FlopsError:
    """The error for a request that cannot be solved. Asks the channels what they have.

    :raises FlopsError: FLOPS-B052 when a channel does not answer
    """
    found = NO_CANDIDATES.search(explanation)
    if found is not None:
        return await _not_there(solver, specs, target, found.group("name").lower(), found.group("spec").strip(" *"))
    text = sentence(explanation)
    where = _first_named(specs, text)
    return FlopsError(
        "FLOPS-B050",
        f"{target.platform}: {text}",
        file=where.file if where else None,
        line=where.line if where else None,
    )


async def _not_there(solver: Solver, specs: Sequence[CondaSpec], target: Target, name: str, spec: str) -> FlopsError:
    own = next((each for each in specs if each.name == name), None)
    file, line = (own.file, own.line) if own else (None, None)
    here = await solver.versions(name, target.platform)
    if here:
        shown = [*(["…"] if len(here) > SHOWN_VERSIONS else []), *here[-SHOWN_VERSIONS:]]
        detail = (
            f"{target.platform}: no channel has {spec}; there {'is' if len(here) == 1 else 'are'} {', '.join(shown)}"
        )
        return FlopsError("FLOPS-B050", detail, file=file, line=line)
    if name.startswith("__"):
        detail = f"{spec} is wanted of the machine, and {target.platform} does not have it"
        return FlopsError("FLOPS-B051", detail, file=file, line=line)
    if await solver.versions(name, None):
        detail = f"{name} is there for another platform, not for {target.platform}"
        return FlopsError("FLOPS-B051", detail, file=file, line=line)
    asked = ", ".join(each.name for each in solver.channels)
    hint = f"Check the spelling of {name}, and the channels of the machine that builds."
    return FlopsError(
        "FLOPS-B050", f"no channel has a package {name} (asked: {asked})", hint=hint, file=file, line=line
    )


def sentence(explanation: str) -> str:
    """rattler's tree in one line."""
    text = LEAD.sub("", explanation.strip())
    lines = [re.sub(r"\s+", " ", TREE.sub("", line)).strip() for line in text.splitlines()]
    joined = "; ".join(line for line in lines if line)
    return joined if len(joined) <= MAX_TEXT else f"{joined[:MAX_TEXT]}…"


def _first_named(specs: Sequence[CondaSpec], text: str) -> CondaSpec | None:
    named = [each for each in specs if re.search(rf"(?<![\w.-]){re.escape(each.name)}(?![\w-])", text, re.IGNORECASE)]
    return next((each for each in named if each.name != "python"), named[0] if named else None)
