"""Which dependency file counts. The order is documented in docs/builder.md; change both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.conda import CONDA_FILES
from flops_builder.dependencies.declaration import Declaration
from flops_builder.dependencies.files.conda import read_conda
from flops_builder.dependencies.files.flops_toml import NAME, Choice, chosen_python, read_flops_toml
from flops_builder.dependencies.files.locked import Wanted
from flops_builder.dependencies.files.pipfile import read_pipfile, read_pipfile_lock
from flops_builder.dependencies.files.poetry_lock import read_poetry_lock
from flops_builder.dependencies.files.pylock import read_pylock
from flops_builder.dependencies.files.pyproject import read_pyproject
from flops_builder.dependencies.files.python_files import with_python
from flops_builder.dependencies.files.requirements_txt import read_requirements
from flops_builder.dependencies.files.setup_cfg import read_setup_cfg
from flops_builder.dependencies.files.setup_py import read_setup_py
from flops_builder.dependencies.files.uv_lock import read_uv_lock

Reader = Callable[[Path, str, Wanted], Declaration | None]
"""Reads a file (root folder, relative name); None: it declares no dependencies, so it does not count."""

ORDER: Mapping[str, Reader] = {
    "uv.lock": read_uv_lock,
    "pylock.toml": lambda folder, name, _: read_pylock(folder, name),
    "conda.yaml": lambda folder, name, _: read_conda(folder, name),
    "conda.yml": lambda folder, name, _: read_conda(folder, name),
    "environment.yaml": lambda folder, name, _: read_conda(folder, name),
    "environment.yml": lambda folder, name, _: read_conda(folder, name),
    "Pipfile.lock": lambda folder, name, _: read_pipfile_lock(folder, name),
    "Pipfile": lambda folder, name, _: read_pipfile(folder, name),
    "poetry.lock": lambda folder, name, _: read_poetry_lock(folder, name),
    "pyproject.toml": read_pyproject,
    "requirements.txt": lambda folder, name, _: read_requirements(folder, name),
    "setup.cfg": lambda folder, name, _: read_setup_cfg(folder, name),
    "setup.py": lambda folder, name, _: read_setup_py(folder, name),
}
LOCK_OF = {"uv.lock": "pyproject.toml", "poetry.lock": "pyproject.toml", "Pipfile.lock": "Pipfile"}
"""What a lock was made from: it is not ignored, it is answered."""
BINDER = ("binder/", ".binder/", "")
"""What lies in the first two counts before what lies beside them (repo2docker's "Configuration files")."""


def read_dependencies(tree: Path, subdir: str = "") -> Declaration:
    """Reads the first dependency file that counts: beside the code, else at the repository's root.

    :param tree: the repository
    :param subdir: the folder of it with the code; file names are relative to the repository all the same
    :raises FlopsError: FLOPS-B020 when there is none, FLOPS-B021 when it cannot be read
    """
    places = _places(subdir)
    for place in places:
        choice = read_flops_toml(tree, f"{place}{NAME}")
        if choice is not None:
            return _chosen(tree, choice, _there(tree, places))
    return _first(tree, places)


def _chosen(tree: Path, choice: Choice, there: list[str]) -> Declaration:
    file = choice.file
    if file is None and choice.own is None:
        file = next((each for each in there if each.rpartition("/")[2] in CONDA_FILES), None)
        if file is None:
            known = ", ".join(sorted(CONDA_FILES))
            raise FlopsError("FLOPS-B021", f"conda = true, and there is no {known}", file=choice.name)
    declared = choice.own if file is None else _read(tree, file, choice)
    if declared is None:
        raise FlopsError("FLOPS-B021", f"{file} declares no dependencies", file=choice.name)
    if choice.conda is not None and choice.conda.on and declared.conda is None:
        raise FlopsError(
            "FLOPS-B021", f"conda = true, and {file} is no conda file", file=choice.name, line=choice.conda.line
        )
    declared = chosen_python(choice, declared)
    if choice.python is None:
        declared = with_python(declared, tree, _prefix(declared.file))
    ignored = tuple(each for each in there if _is_ignored(each, declared))
    return replace(declared, ignored=ignored, off=choice.off, conda_switch=choice.conda)


def _read(tree: Path, name: str, choice: Choice) -> Declaration | None:
    """A file that was named: read by the kind that its name tells."""
    base = name.rpartition("/")[2]
    by_ending = {".txt": "requirements.txt", ".toml": "pyproject.toml", ".yaml": "conda.yaml", ".yml": "conda.yml"}
    kind = base if base in ORDER else by_ending.get(Path(base).suffix, "")
    if kind not in ORDER:
        raise FlopsError("FLOPS-B021", f"{name} is of no known kind: {', '.join(ORDER)}", file=choice.name)
    return ORDER[kind](tree, name, choice.wanted)


def _first(tree: Path, places: list[str]) -> Declaration:
    chosen: Declaration | None = None
    empty: Declaration | None = None
    others: list[str] = []
    warnings: list[str] = []
    for name in _there(tree, places):
        if chosen is not None:
            if _prefix(name) in {*(f"{places[0]}{each}" for each in BINDER), _prefix(chosen.file)}:
                others.append(name)
            continue
        declared = ORDER[name.rpartition("/")[2]](tree, name, Wanted())
        if declared is not None and (declared.requirements or declared.python is not None):
            chosen = declared
            continue
        others.append(name)
        warnings += () if declared is None else declared.warnings
        if declared is not None and not declared.warnings:
            empty = empty or declared
    # It says that nothing is needed, and no other file says otherwise.
    chosen = chosen or empty
    if chosen is None:
        known = ", ".join([NAME, *ORDER])
        found = f"{', '.join(others)} declare{'s' if len(others) == 1 else ''} no dependencies; " if others else ""
        told = f"{'; '.join(warnings)}; " if warnings else ""
        raise FlopsError("FLOPS-B020", f"{found}{told}looked for {known}")
    declared = with_python(chosen, tree, _prefix(chosen.file))
    ignored = tuple(each for each in others if _is_ignored(each, declared))
    return replace(declared, ignored=ignored, warnings=(*declared.warnings, *warnings))


def dependency_files(tree: Path, subdir: str = "") -> list[str]:
    """All dependency files that are there, in the order in which they count."""
    return _there(tree, _places(subdir))


def _places(subdir: str) -> list[str]:
    prefix = f"{subdir.strip('/')}/" if subdir.strip("/") not in {"", "."} else ""
    return list(dict.fromkeys((prefix, "")))


def _there(tree: Path, places: list[str]) -> list[str]:
    folders = [f"{place}{binder}" for place in places for binder in BINDER]
    return [f"{folder}{name}" for folder in folders for name in ORDER if (tree / f"{folder}{name}").is_file()]


def _prefix(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _is_ignored(name: str, declared: Declaration) -> bool:
    """Whether a file was not read: not the chosen one, nothing that it includes, nor what it is the lock of."""
    base = declared.file.rpartition("/")[2]
    answered = f"{_prefix(declared.file)}{LOCK_OF[base]}" if base in LOCK_OF else ""
    return name not in {declared.file, answered, *declared.included}
