"""What is going to be built: everything that is known before a package index is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flops_mlrepo.contract import FIT_CONFIG_METHOD
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform

from flops_builder.dependencies.choice import read_dependencies
from flops_builder.dependencies.declaration import Declaration, Repair, Requirement
from flops_builder.dependencies.guest import guest_requirements
from flops_builder.dependencies.python import choose_python
from flops_builder.dependencies.repairs import OF_A_LOCK, RULES, refuse_files, repair
from flops_builder.resolve.uv import Target
from flops_builder.source.checkout import Checkout
from flops_builder.source.modules import Modules
from flops_builder.source.structure import DATA, MODEL, check_structure, structure_mistakes


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

    def for_platform(self, platform: Platform) -> Target:
        """The target of a platform, which need not be among those that are asked for."""
        return Target(platform, self.python, self.targets[0].glibc)


def make_plan(spec: ProjectSpec, checkout: Checkout, pythons: Sequence[str], glibc: str) -> Plan:
    """Checks the code's structure and reads its dependencies. Blocks for as long as reading files takes.

    :raises FlopsError: FLOPS-B010 to FLOPS-B012 and FLOPS-B020 to FLOPS-B024, with file and line
    """
    declaration = read_dependencies(checkout.tree, checkout.code.relative_to(checkout.tree).as_posix())
    choice = choose_python(declaration, pythons)
    modules = Modules(checkout.code, choice.minor)
    model = check_structure(modules)
    imports = modules.third_party(MODEL[0], DATA[0])
    off = declaration.off | (RULES.keys() - OF_A_LOCK if declaration.locked else frozenset())
    requirements, repairs = repair(declaration.requirements, imports, off)
    refuse_files(declaration.constraints)
    requirements, added = guest_requirements(requirements, modules.loaders(MODEL[0], DATA[0]), imports.keys())
    warnings = [*checkout.notices, *declaration.warnings, *modules.warnings]
    if spec.sla.strategy.name == "FedProx" and model.known and FIT_CONFIG_METHOD not in model.methods:
        warnings.append(
            f"{MODEL[1]} has no {FIT_CONFIG_METHOD}(config), which FedProx tells of proximal-mu: without the proximal "
            "term in its loss the code trains as with FedAvg"
        )
    if declaration.ignored:
        warnings.append(f"{declaration.file} counts; not read: {', '.join(declaration.ignored)}")
    return Plan(
        declaration=declaration,
        python=choice.minor,
        python_why=choice.why,
        targets=tuple(Target(each, choice.minor, glibc) for each in dict.fromkeys(spec.sla.supported_platforms)),
        requirements=requirements,
        repairs=(*declaration.repairs, *choice.repairs, *repairs, *added),
        warnings=tuple(warnings),
        imports=imports,
    )


def mistakes(checkout: Checkout, pythons: Sequence[str]) -> tuple[Declaration | None, list[FlopsError]]:
    """Every mistake that reading finds, where `make_plan` stops at the first; and the dependency file, if it is read.

    Blocks for as long as reading files takes.
    """
    declaration, minor, found = None, pythons[0], list[FlopsError]()
    try:
        declaration = read_dependencies(checkout.tree, checkout.code.relative_to(checkout.tree).as_posix())
        minor = choose_python(declaration, pythons).minor
    except FlopsError as mistake:
        found.append(mistake)
    return declaration, [*found, *structure_mistakes(Modules(checkout.code, minor))]
