"""What is going to be built: everything that is known before a package index is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flops_mlrepo.contract import FIT_CONFIG_METHOD
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform

from flops_builder.conda.programs import needed_program
from flops_builder.conda.way import UNCONFIGURED, no_channels
from flops_builder.conda.wish import CondaWish, conda_wish
from flops_builder.dependencies.choice import dependency_files, read_dependencies
from flops_builder.dependencies.declaration import Declaration, Repair, Requirement, requirement
from flops_builder.dependencies.guest import guest_requirements
from flops_builder.dependencies.python import PythonChoice, choose_python
from flops_builder.dependencies.repairs import OF_A_LOCK, RULES, refuse_files, repair
from flops_builder.resolve.uv import Target
from flops_builder.source.checkout import Checkout
from flops_builder.source.modules import Modules
from flops_builder.source.structure import DATA, MODEL, check_structure, structure_mistakes


@dataclass(frozen=True)
class Brought:
    """What a repository's own image has."""

    file: str
    """The Dockerfile."""
    python: str
    packages: frozenset[str]
    """Normalised names of what is installed on every platform."""


@dataclass(frozen=True)
class Plan:
    """What the repository needs, read, checked and repaired."""

    declaration: Declaration
    python: str
    python_why: str
    targets: tuple[Target, ...]
    requirements: tuple[Requirement, ...]
    repairs: tuple[Repair, ...]
    warnings: tuple[str, ...]
    imports: Mapping[str, str]
    """Top-level modules from outside that the code imports, each with its first place."""
    conda: CondaWish | None = None
    """What is asked of conda, where PyPI cannot serve; None: it cannot be asked."""

    @property
    def could_be_conda(self) -> bool:
        """Whether conda could be asked, if there were channels."""
        switch = self.declaration.conda_switch
        return self.declaration.conda is not None and self.conda is None and (switch is None or switch.on)

    def for_platform(self, platform: Platform) -> Target:
        """The target of a platform, which need not be among those that are asked for."""
        return Target(platform, self.python, self.targets[0].glibc)


def make_plan(
    spec: ProjectSpec,
    checkout: Checkout,
    pythons: Sequence[str],
    glibc: str,
    *,
    channels: bool = False,
    brought: Brought | None = None,
) -> Plan:
    """Checks the code's structure and reads its dependencies. Blocks for as long as reading files takes.

    :param channels: whether there are conda channels to ask
    :param brought: what the repository's own image has: then no dependency file counts
    :raises FlopsError: FLOPS-B010 to FLOPS-B012, FLOPS-B020 to FLOPS-B024 and FLOPS-B053, with file and line
    """
    declaration = _declaration(checkout, brought)
    choice, because = _choose_python(declaration, pythons if brought is None else (brought.python,), channels)
    modules = Modules(checkout.code, choice.minor)
    model = check_structure(modules)
    imports = modules.third_party(MODEL[0], DATA[0])
    off = declaration.off | (RULES.keys() - OF_A_LOCK if declaration.locked else frozenset())
    requirements, repairs = repair(declaration.requirements, imports, off)
    refuse_files(declaration.constraints)
    asked = requirements
    requirements, added = guest_requirements(requirements, modules.loaders(MODEL[0], DATA[0]), imports.keys())
    if brought is not None:
        requirements = tuple(each for each in requirements if each.name not in brought.packages)
        added = tuple(each for each in added if each.after and requirement(each.after, "").name not in brought.packages)
    guest = tuple(each for each in requirements if each not in asked)
    if declaration.conda is not None:
        program = needed_program(declaration.conda, modules.reachable(MODEL[0], DATA[0]), imports)
        because = because or program
    wish = _conda_wish(declaration, guest, imports, because, channels=channels)
    warnings = [*checkout.notices, *declaration.warnings, *modules.warnings]
    if spec.sla.strategy.name == "FedProx" and model.known and FIT_CONFIG_METHOD not in model.methods:
        warnings.append(
            f"{MODEL[1]} has no {FIT_CONFIG_METHOD}(config), which FedProx tells of proximal-mu: without the proximal "
            "term in its loss the code trains as with FedAvg"
        )
    if declaration.ignored and brought is not None:
        warnings.append(
            f"{declaration.file} counts and brings its own packages; not read: {', '.join(declaration.ignored)}"
        )
    elif declaration.ignored:
        warnings.append(f"{declaration.file} counts; not read: {', '.join(declaration.ignored)}")
    if because is not None and wish is None:
        warnings.append(f"{because}; {UNCONFIGURED}")
    repairs_told = (*declaration.repairs, *choice.repairs, *repairs, *added)
    if wish is not None and wish.because is not None:
        repairs_told = wish.repairs
    return Plan(
        declaration=declaration,
        python=choice.minor,
        python_why=choice.why,
        targets=tuple(Target(each, choice.minor, glibc) for each in dict.fromkeys(spec.sla.supported_platforms)),
        requirements=requirements,
        repairs=repairs_told,
        warnings=tuple(warnings),
        imports=imports,
        conda=wish,
    )


def mistakes(
    checkout: Checkout, pythons: Sequence[str], brought: Brought | None = None
) -> tuple[Declaration | None, list[FlopsError]]:
    """Every mistake that reading finds, where `make_plan` stops at the first; and the dependency file, if it is read.

    Blocks for as long as reading files takes.
    """
    declaration, minor, found = None, pythons[0], list[FlopsError]()
    try:
        declaration = _declaration(checkout, brought)
        minor = choose_python(declaration, pythons).minor
    except FlopsError as mistake:
        found.append(mistake)
    return declaration, [*found, *structure_mistakes(Modules(checkout.code, minor))]


def _declaration(checkout: Checkout, brought: Brought | None) -> Declaration:
    subdir = checkout.code.relative_to(checkout.tree).as_posix()
    if brought is None:
        return read_dependencies(checkout.tree, subdir)
    return Declaration(brought.file, ignored=tuple(dependency_files(checkout.tree, subdir)))


def _choose_python(declaration: Declaration, pythons: Sequence[str], channels: bool) -> tuple[PythonChoice, str | None]:
    """The nodes' Python for the image; and, where they do not have the code's, why conda has to bring it."""
    try:
        return choose_python(declaration, pythons), None
    except FlopsError as error:
        if declaration.conda is None or not channels:
            raise
        return choose_python(replace(declaration, python=None), pythons), error.body.detail


def _conda_wish(
    declaration: Declaration,
    guest: tuple[Requirement, ...],
    imports: Mapping[str, str],
    because: str | None,
    *,
    channels: bool,
) -> CondaWish | None:
    """What is asked of conda; None where it cannot be asked, or is not to be."""
    conda, switch = declaration.conda, declaration.conda_switch
    if conda is None or (switch is not None and not switch.on):
        if conda is not None and conda.refused is not None:
            raise conda.refused
        return None
    if switch is not None:
        because = f"{switch.file} says conda = true"
        if not channels:
            raise FlopsError("FLOPS-B053", because, file=switch.file, line=switch.line)
    if conda.refused is not None:
        because = because or conda.refused.body.detail
        if not channels:
            raise no_channels(conda.refused)
    return conda_wish(declaration, conda, guest, imports, because) if channels else None
