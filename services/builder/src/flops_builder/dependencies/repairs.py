"""Repairs that need no index: each a named rule with its reason. They run in the order of `RULES`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from flops_builder.dependencies.declaration import Repair, Requirement
from flops_builder.dependencies.names import GUEST, HEADLESS, IMPORTED_AS, INSTALLERS, RENAMED, TRACKING

Imports = Mapping[str, str]
"""Top-level modules that the code imports, each with the place of its first import: `{"sklearn": "model.py:3"}`."""

Rule = Callable[[Requirement, Imports], tuple[Requirement | None, Repair] | None]
"""What becomes of a requirement, with the repair that says so; None: nothing."""


def repair(
    requirements: tuple[Requirement, ...], imports: Imports, off: frozenset[str] = frozenset()
) -> tuple[tuple[Requirement, ...], tuple[Repair, ...]]:
    """Applies all rules but those that are switched off, to each requirement."""
    kept: list[Requirement] = []
    repairs: list[Repair] = []
    for original in requirements:
        current: Requirement | None = original
        for name, rule in RULES.items():
            if current is not None and name not in off and (changed := rule(current, imports)) is not None:
                current = changed[0]
                repairs.append(changed[1])
        if current is not None:
            kept.append(current)
    return tuple(kept), tuple(repairs)


def _drop(rule: str, each: Requirement, why: str) -> tuple[None, Repair]:
    return None, Repair(rule, each.text, None, why, each.file, each.line)


def _imported(each: Requirement, imports: Imports) -> bool:
    return IMPORTED_AS.get(each.name, each.name.replace("-", "_")) in imports


def _tracking(each: Requirement, imports: Imports) -> tuple[None, Repair] | None:
    if each.name not in TRACKING or _imported(each, imports):
        return None
    return _drop("mlflow-out", each, "the code does not import it; the aggregator tracks, in a layer of its own")


def _installer(each: Requirement, imports: Imports) -> tuple[None, Repair] | None:
    if (
        each.name not in INSTALLERS
        or _imported(each, imports)
        or (each.name == "setuptools" and "pkg_resources" in imports)
    ):
        return None
    return _drop("installer", each, "nothing is installed when the image runs")


def _guest(each: Requirement, _: Imports) -> tuple[None, Repair] | None:
    if each.name not in GUEST:
        return None
    return _drop("guest", each, "the ML environment brings it")


def _standard_library(each: Requirement, _: Imports) -> tuple[None, Repair] | None:
    if each.parsed.url or each.name.replace("-", "_") not in sys.stdlib_module_names:
        return None
    return _drop("standard-library", each, "it is part of Python")


def _renamed(each: Requirement, _: Imports) -> tuple[Requirement, Repair] | None:
    name = RENAMED.get(each.name)
    if name is None or each.parsed.url:
        return None
    # `sklearn==0.0` is the version of the placeholder, not of what is meant.
    meant = each.renamed(name).with_specifier("") if each.exact in {"0.0", "0.0.post1"} else each.renamed(name)
    return meant, Repair("renamed", each.text, meant.text, f"the package is called {name}", each.file, each.line)


def _headless(each: Requirement, _: Imports) -> tuple[Requirement, Repair] | None:
    name = HEADLESS.get(each.name)
    if name is None or each.parsed.url:
        return None
    meant = each.renamed(name)
    return meant, Repair(
        "headless", each.text, meant.text, "a learner has no display, and the image no libGL", each.file, each.line
    )


OF_A_LOCK = frozenset({"guest"})
"""The only rules for what a lock says."""
RULES: dict[str, Rule] = {
    "guest": _guest,
    "installer": _installer,
    "mlflow-out": _tracking,
    "standard-library": _standard_library,
    "renamed": _renamed,
    "headless": _headless,
}
"""Every rule by its name."""
