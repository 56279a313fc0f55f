"""What a conda file asks for, made ready for the solver: repaired by the same rules, with what the guest needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import rattler
from flops_protocol.errors import FlopsError
from packaging.requirements import InvalidRequirement
from rattler.exceptions import InvalidMatchSpecError

from flops_builder.dependencies.conda import CondaFile, CondaSpec
from flops_builder.dependencies.declaration import Declaration, Repair, Requirement, requirement
from flops_builder.dependencies.python import OLDEST, allows
from flops_builder.dependencies.repairs import RULES, repair
from flops_builder.dependencies.rules import Rule

DROPPING = frozenset({Rule.GUEST, Rule.INSTALLER, Rule.MLFLOW_OUT})
"""The rules that are about conda's packages, too: the others are about what PyPI calls them."""


@dataclass(frozen=True)
class CondaWish:
    """What conda is asked for."""

    specs: tuple[CondaSpec, ...]
    pip: tuple[Requirement, ...]
    """What comes from PyPI on top of it."""
    guest: tuple[Requirement, ...]
    """What the guest needs, where conda does not bring it."""
    channels: tuple[str, ...]
    """What the file calls them."""
    off: frozenset[Rule]
    """Repair rules that are switched off."""
    because: str | None = None
    """Why PyPI is not even asked; None: it is asked first."""
    repairs: tuple[Repair, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The requirements as conda has them, the guest's Python with them."""
        return [*(each.text for each in self.specs), f"python >={'.'.join(map(str, OLDEST))}"]

    def without_builds(self) -> CondaWish | None:
        """The same without build strings, which are of one platform; None when there are none, or they are to stay."""
        specs, repairs = [], []
        for each in self.specs:
            plain = _without_build(each)
            specs.append(plain)
            if plain is not each:
                why = "a build string is of one platform, and the channels do not have it for all"
                repairs.append(Repair(Rule.CONDA_BUILD, each.text, plain.text, why, each.file, each.line))
        if not repairs or Rule.CONDA_BUILD in self.off:
            return None
        return replace(self, specs=tuple(specs), repairs=(*self.repairs, *repairs))


def conda_wish(
    declaration: Declaration,
    conda: CondaFile,
    guest: tuple[Requirement, ...],
    imports: Mapping[str, str],
    because: str | None,
) -> CondaWish:
    """What the file asks for, repaired.

    :param guest: what the guest needs
    :raises FlopsError: FLOPS-B021 when a requirement cannot be read, with file and line
    """
    repairs: list[Repair] = [each for each in declaration.repairs if each.rule == "conda-indentation"]
    pip, changed = repair(conda.pip, imports, declaration.off)
    repairs += changed
    specs = []
    for each in (*(one for one in conda.specs if one.name != "python"), *_python(conda, declaration)):
        check(each)
        dropped = _dropped(each, imports, declaration.off)
        if dropped is not None:
            repairs.append(dropped)
            continue
        spec, raised = _oldest(each, declaration) if each.name == "python" else (each, ())
        specs.append(spec)
        repairs += raised
    return CondaWish(
        specs=tuple(specs),
        pip=pip,
        guest=guest,
        channels=conda.channels,
        off=declaration.off,
        because=because,
        repairs=tuple(repairs),
    )


def check(spec: CondaSpec) -> rattler.MatchSpec:
    """Reads a conda requirement.

    :raises FlopsError: FLOPS-B021 when it is none
    """
    try:
        return rattler.MatchSpec(spec.text)
    except InvalidMatchSpecError as error:
        raise FlopsError(
            "FLOPS-B021", f"{spec.text!r} is no conda requirement: {error}", file=spec.file, line=spec.line
        ) from error


def _dropped(spec: CondaSpec, imports: Mapping[str, str], off: frozenset[Rule]) -> Repair | None:
    try:
        named = requirement(spec.name, spec.file, spec.line)
    except (FlopsError, InvalidRequirement):
        return None  # `_libgcc_mutex` and the like: no name that PyPI could have
    _, repairs = repair((named,), imports, off | (RULES.keys() - DROPPING))
    return replace(repairs[0], before=spec.text) if repairs else None


def _python(conda: CondaFile, declaration: Declaration) -> tuple[CondaSpec, ...]:
    """The Python that is asked for: by the file, unless another one has more to say (`flops.toml`, `runtime.txt`)."""
    if declaration.python is not None and str(declaration.python) and declaration.python_file is not None:
        text = f"python {declaration.python}"
        return (CondaSpec(text, "python", declaration.python_file, declaration.python_line),)
    return tuple(each for each in conda.specs if each.name == "python")


def _oldest(spec: CondaSpec, declaration: Declaration) -> tuple[CondaSpec, tuple[Repair, ...]]:
    """The Python that is asked for, raised to the guest's oldest where it is older."""
    asked, oldest = declaration.python, ".".join(map(str, OLDEST))
    if asked is None or any(allows(asked, f"{OLDEST[0]}.{minor}") for minor in range(OLDEST[1], 60)):
        return spec, ()
    raised = replace(spec, text=f"python {oldest}.*")
    why = f"{oldest} is the oldest that the ML worker runs on"
    return raised, (Repair(Rule.PYTHON_PIN, spec.text, raised.text, why, spec.file, spec.line),)


def _without_build(spec: CondaSpec) -> CondaSpec:
    parsed = rattler.MatchSpec(spec.text)
    if parsed.build is None or parsed.version is None:
        return spec
    return replace(spec, text=f"{spec.name} {parsed.version}")
