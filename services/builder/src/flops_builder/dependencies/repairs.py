"""Repairs that need no index: each a named rule with its reason. They run in the order of `RULES`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from flops_protocol.errors import FlopsError
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from flops_builder.dependencies.declaration import Repair, Requirement
from flops_builder.dependencies.names import GUEST, HEADLESS, IMPORTED_AS, INSTALLERS, RENAMED, TRACKING
from flops_builder.dependencies.rules import Rule

Imports = Mapping[str, str]
"""Top-level modules that the code imports, each with the place of its first import: `{"sklearn": "model.py:3"}`."""


@dataclass(frozen=True)
class Around:
    """What a rule may know beside the requirement itself."""

    imports: Imports
    named: frozenset[str]
    """The names of all requirements, normalised."""


Change = Callable[[Requirement, Around], tuple[Requirement | None, Repair] | None]
"""What becomes of a requirement, with the repair that says so; None: nothing."""


def repair(
    requirements: tuple[Requirement, ...], imports: Imports, off: frozenset[Rule] = frozenset()
) -> tuple[tuple[Requirement, ...], tuple[Repair, ...]]:
    """Applies all rules but those that are switched off, to each requirement.

    :raises FlopsError: FLOPS-B021 for a file of another machine, where `local-file` is switched off
    """
    around = Around(imports, frozenset(each.name for each in requirements))
    kept: list[Requirement] = []
    repairs: list[Repair] = []
    for original in requirements:
        current: Requirement | None = original
        for name, change in RULES.items():
            if current is not None and name not in off and (changed := change(current, around)) is not None:
                current = changed[0]
                repairs.append(changed[1])
        if current is not None:
            kept.append(current)
    refuse_files(kept)
    return tuple(kept), tuple(repairs)


def refuse_files(requirements: Iterable[Requirement]) -> None:
    """Refuses what lies on another machine.

    :raises FlopsError: FLOPS-B021
    """
    for each in requirements:
        if (each.parsed.url or "").startswith("file:"):
            raise FlopsError(
                "FLOPS-B021",
                f"{each.name} is a file of the machine on which this list was made ({each.parsed.url}): write "
                f"{each.name}==VERSION",
                file=each.file,
                line=each.line,
            )


def imported(name: str, imports: Imports) -> bool:
    """Whether the code imports what a project (its name normalised) brings, as far as its module's name is known."""
    return IMPORTED_AS.get(name, name.replace("-", "_")) in imports


def _drop(rule: Rule, each: Requirement, why: str) -> tuple[None, Repair]:
    return None, Repair(rule, each.text, None, why, each.file, each.line)


def _tracking(each: Requirement, around: Around) -> tuple[None, Repair] | None:
    if each.name not in TRACKING or imported(each.name, around.imports):
        return None
    return _drop(Rule.MLFLOW_OUT, each, "the code does not import it; the aggregator tracks, in a layer of its own")


def _installer(each: Requirement, around: Around) -> tuple[None, Repair] | None:
    if (
        each.name not in INSTALLERS
        or imported(each.name, around.imports)
        or (each.name == "setuptools" and "pkg_resources" in around.imports)
    ):
        return None
    return _drop(Rule.INSTALLER, each, "nothing is installed when the image runs")


def _guest(each: Requirement, _: Around) -> tuple[None, Repair] | None:
    if each.name not in GUEST:
        return None
    return _drop(Rule.GUEST, each, "the ML environment brings it")


def _standard_library(each: Requirement, _: Around) -> tuple[None, Repair] | None:
    if each.parsed.url or each.name.replace("-", "_") not in sys.stdlib_module_names:
        return None
    return _drop(Rule.STANDARD_LIBRARY, each, "it is part of Python")


def _renamed(each: Requirement, _: Around) -> tuple[Requirement, Repair] | None:
    name = RENAMED.get(each.name)
    if name is None or each.parsed.url:
        return None
    # `sklearn==0.0` is the version of the placeholder, not of what is meant.
    meant = each.renamed(name).with_specifier("") if each.exact in {"0.0", "0.0.post1"} else each.renamed(name)
    return meant, Repair(Rule.RENAMED, each.text, meant.text, f"the package is called {name}", each.file, each.line)


def _headless(each: Requirement, _: Around) -> tuple[Requirement, Repair] | None:
    name = HEADLESS.get(each.name)
    if name is None or each.parsed.url:
        return None
    meant = each.renamed(name)
    return meant, Repair(
        Rule.HEADLESS, each.text, meant.text, "a learner has no display, and the image no libGL", each.file, each.line
    )


def _gmpy2(each: Requirement, around: Around) -> tuple[Requirement, Repair] | None:
    """MLflow's exports of PyTorch code: gmpy2, which conda brings with SymPy, stands where torchvision should."""
    if each.name != "gmpy2" or "torchvision" not in around.imports or "gmpy2" in around.imports:
        return None
    if "torchvision" in around.named:
        return None
    meant = each.renamed("torchvision").with_specifier("")
    why = f"the code imports torchvision ({around.imports['torchvision']}) and not gmpy2"
    return meant, Repair(Rule.GMPY2, each.text, meant.text, why, each.file, each.line)


def _local_file(each: Requirement, _: Around) -> tuple[Requirement, Repair] | None:
    """`pip freeze` in a conda environment names the folders in which conda built its packages."""
    url = each.parsed.url or ""
    if not url.startswith("file:"):
        return None
    version = _version_of(PurePosixPath(unquote(urlsplit(url).path)).name)
    meant = each.without_url().with_specifier(f"=={version}" if version else "")
    why = "that is a file of the machine on which this list was made"
    why += "" if version else ", and does not say which version it was"
    return meant, Repair(Rule.LOCAL_FILE, each.text, meant.text, why, each.file, each.line)


def _version_of(file: str) -> str | None:
    for parse in (parse_wheel_filename, parse_sdist_filename):
        try:
            return str(parse(file)[1])
        except (InvalidWheelFilename, InvalidSdistFilename):
            continue
    return None


OF_A_LOCK = frozenset({Rule.GUEST})
"""The only rules for what a lock says."""
RULES: dict[Rule, Change] = {
    Rule.GUEST: _guest,
    Rule.LOCAL_FILE: _local_file,
    Rule.INSTALLER: _installer,
    Rule.MLFLOW_OUT: _tracking,
    Rule.STANDARD_LIBRARY: _standard_library,
    Rule.RENAMED: _renamed,
    Rule.HEADLESS: _headless,
    Rule.GMPY2: _gmpy2,
}
"""What each rule does; the other rules need an index, or belong to a reader."""
