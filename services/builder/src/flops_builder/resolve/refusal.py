"""What is told when the requirements cannot be had: whose fault it is, where it stands, and what would help."""

from __future__ import annotations

from collections.abc import Sequence

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.resolve.explain import Reason, contradiction, mentioned, place, similar
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.uv import Target

MAX_SUSPECTS = 6
"""How many requirements are tried without their versions, to find out which of them would help."""


def refuse_sources(requirements: Sequence[Requirement]) -> None:
    """Refuses what is no release of an index.

    :raises FlopsError: FLOPS-B023
    """
    for each in requirements:
        url = each.parsed.url
        if url is not None and not url.partition("#")[0].endswith(".whl"):
            raise FlopsError(
                "FLOPS-B023",
                f"{each.text} is source code that would have to be built",
                hint="Name a release that the package index has a wheel of.",
                file=each.file,
                line=each.line,
            )


async def refusal(joint: JointResolver, requirements: Sequence[Requirement], why: Reason, target: Target) -> FlopsError:
    """The error for a request that failed for this reason. Asks the index for what would help."""
    suspects = mentioned(requirements, why.text)
    first = next((each for each in suspects if each.parsed.specifier), suspects[0] if suspects else None)
    if why.not_found:
        return _not_found(requirements, why, first)
    if why.no_wheel:
        return await _no_wheel(joint, requirements, why, target)
    said = contradiction(why.text, requirements)
    detail = f"{said} ({target})" if said == why.text else f"{said} ({target}; {why.text})"
    if Rule.CONFLICT not in joint.request.off and not joint.request.locked:
        detail += ". There is no single requirement of the repository that could be moved so that all resolve"
    elif helpful := [text for each in suspects[:MAX_SUSPECTS] if (text := await _without(joint, requirements, each))]:
        detail += f". It resolves when one of these is loosened: {'; '.join(helpful)}"
    return FlopsError("FLOPS-B022", detail, file=first.file if first else None, line=first.line if first else None)


def _not_found(requirements: Sequence[Requirement], why: Reason, first: Requirement | None) -> FlopsError:
    name = min(why.not_found)
    own = next((each for each in requirements if each.name == name), None)
    meant = similar(name)
    hint = f"Did you mean {meant}?" if meant else f"Check the spelling of {name}, and the index settings."
    detail = f"the index has no package {name}" + ("" if own else f", which another package needs: {why.text}")
    where = own or first
    return FlopsError(
        "FLOPS-B022", detail, hint=hint, file=where.file if where else None, line=where.line if where else None
    )


async def _no_wheel(
    joint: JointResolver, requirements: Sequence[Requirement], why: Reason, target: Target
) -> FlopsError:
    name = min(why.no_wheel_at_all or why.no_wheel)
    own = next((each for each in requirements if each.name == name), None)
    newest = await joint.version(name, target)
    detail = f"{own.text if own else name} has no wheel for {target}; "
    detail += f"{name} {newest} has one" if newest else "no release of it has one"
    if own is None:
        detail += f" ({why.text})"
    return FlopsError("FLOPS-B023", detail, file=own.file if own else None, line=own.line if own else None)


async def _without(joint: JointResolver, requirements: Sequence[Requirement], each: Requirement) -> str | None:
    """What the requirement would become if any version of it would do; None when that does not help either."""
    if each.parsed.url or not each.parsed.specifier:
        return None
    attempt = await joint.attempt([one.with_specifier("") if one is each else one for one in requirements])
    if attempt.failures:
        return None
    versions = sorted({lock.versions.get(each.name, "") for lock in attempt.locks.values()})
    return f"{place(each)} → {' or '.join(versions)}"
