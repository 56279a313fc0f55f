"""What is going to be built: everything that is known before a package index is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flops_mlrepo.contract import FIT_CONFIG_METHOD
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform

from flops_builder.dependencies.choice import dependency_files, read_dependencies
from flops_builder.dependencies.declaration import Declaration, Repair, Requirement, requirement
from flops_builder.dependencies.guest import guest_requirements
from flops_builder.dependencies.python import PythonChoice, choose_python
from flops_builder.dependencies.repairs import OF_A_LOCK, RULES, repair
from flops_builder.resolve.uv import Target
from flops_builder.source.checkout import Checkout
from flops_builder.source.modules import Modules
from flops_builder.source.structure import DATA, MODEL, check_structure


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
    targets: tuple[Target, ...]
    requirements: tuple[Requirement, ...]
    repairs: tuple[Repair, ...]
    warnings: tuple[str, ...]
    imports: Mapping[str, str]
    """Top-level modules from outside that the code imports, each with its first place."""

    def for_platform(self, platform: Platform) -> Target:
        """The target of a platform, which need not be among those that are asked for."""
        return Target(platform, self.python, self.targets[0].glibc)


def make_plan(
    spec: ProjectSpec, checkout: Checkout, pythons: Sequence[str], glibc: str, brought: Brought | None = None
) -> Plan:
    """Checks the code's structure and reads its dependencies. Blocks for as long as reading files takes.

    :param brought: what the repository's own image has: then no dependency file counts
    :raises FlopsError: FLOPS-B010 to FLOPS-B012 and FLOPS-B020 to FLOPS-B024, with file and line
    """
    subdir = checkout.code.relative_to(checkout.tree).as_posix()
    if brought is None:
        declaration = read_dependencies(checkout.tree, subdir)
        choice = choose_python(declaration, pythons)
    else:
        declaration = Declaration(brought.file, ignored=tuple(dependency_files(checkout.tree, subdir)))
        choice = PythonChoice(brought.python)
    modules = Modules(checkout.code, choice.minor)
    model = check_structure(modules)
    imports = modules.third_party(MODEL[0], DATA[0])
    off = declaration.off | (RULES.keys() - OF_A_LOCK if declaration.locked else set())
    requirements, repairs = repair(declaration.requirements, imports, off)
    requirements, added = guest_requirements(requirements, modules.loaders(MODEL[0], DATA[0]), imports.keys())
    if brought is not None:
        requirements = tuple(each for each in requirements if each.name not in brought.packages)
        added = tuple(each for each in added if each.after and requirement(each.after, "").name not in brought.packages)
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
    return Plan(
        declaration=declaration,
        python=choice.minor,
        targets=tuple(Target(each, choice.minor, glibc) for each in dict.fromkeys(spec.sla.supported_platforms)),
        requirements=requirements,
        repairs=(*declaration.repairs, *choice.repairs, *repairs, *added),
        warnings=tuple(warnings),
        imports=imports,
    )
