"""Which dependency file counts. The order is documented in docs/builder.md; change both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.conda import read_conda
from flops_builder.dependencies.declaration import Declaration
from flops_builder.dependencies.flops_toml import NAME, chosen_python, read_flops_toml
from flops_builder.dependencies.locked import Wanted
from flops_builder.dependencies.pipfile import read_pipfile, read_pipfile_lock
from flops_builder.dependencies.poetry_lock import read_poetry_lock
from flops_builder.dependencies.pylock import read_pylock
from flops_builder.dependencies.pyproject import read_pyproject
from flops_builder.dependencies.python_files import with_python
from flops_builder.dependencies.requirements_txt import read_requirements
from flops_builder.dependencies.setup_cfg import read_setup_cfg
from flops_builder.dependencies.setup_py import read_setup_py
from flops_builder.dependencies.uv_lock import read_uv_lock

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
FOLDERS = ("binder/", ".binder/", "")
"""What lies in the first two counts before what lies beside the code (repo2docker's "Configuration files")."""


def read_dependencies(folder: Path) -> Declaration:
    """Reads the first dependency file that counts.

    :raises FlopsError: FLOPS-B020 when there is none, FLOPS-B021 when it cannot be read
    """
    choice = read_flops_toml(folder)
    if choice is None:
        return _first(folder)
    declared = choice.own if choice.file is None else _chosen(folder, choice.file, choice.wanted)
    if declared is None:
        raise FlopsError("FLOPS-B021", f"{choice.file} declares no dependencies", file=NAME)
    others = [each for each in _there(folder) if each != declared.file and each != _answered(declared.file)]
    return replace(chosen_python(choice, declared), ignored=tuple(others), off=choice.off)


def _chosen(folder: Path, name: str, wanted: Wanted) -> Declaration | None:
    """A file that was named: read by the kind that its name tells."""
    base = name.rpartition("/")[2]
    reader = ORDER.get(base) or next(
        (read for known, read in ORDER.items() if Path(known).suffix == Path(base).suffix), None
    )
    if base.endswith(".txt"):
        reader = ORDER["requirements.txt"]
    if reader is None:
        raise FlopsError("FLOPS-B021", f"{name} is of no known kind: {', '.join(ORDER)}", file=NAME)
    return reader(folder, name, wanted)


def _first(folder: Path) -> Declaration:
    chosen: Declaration | None = None
    empty: Declaration | None = None
    others: list[str] = []
    warnings: list[str] = []
    for name in _there(folder):
        if chosen is not None:
            if name != _answered(chosen.file):
                others.append(name)
            continue
        declared = ORDER[name.rpartition("/")[2]](folder, name, Wanted())
        if declared is not None and (declared.requirements or declared.python is not None):
            chosen = declared
            continue
        others.append(name)
        warnings += () if declared is None else declared.warnings
        if declared is not None and not declared.warnings:
            empty = empty or declared
    if chosen is None and empty is not None:
        # It says that nothing is needed, and no other file says otherwise.
        chosen, others = empty, [name for name in others if name != empty.file]
    if chosen is None:
        known = ", ".join([NAME, *ORDER])
        found = f"{', '.join(others)} declare{'s' if len(others) == 1 else ''} no dependencies; " if others else ""
        told = f"{'; '.join(warnings)}; " if warnings else ""
        raise FlopsError("FLOPS-B020", f"{found}{told}looked for {known}")
    prefix = chosen.file[: len(chosen.file) - len(chosen.file.rpartition("/")[2])]
    chosen = with_python(chosen, folder, prefix)
    return replace(chosen, ignored=tuple(others), warnings=(*chosen.warnings, *warnings))


def _there(folder: Path) -> list[str]:
    """All dependency files, in the order in which they count."""
    return [f"{place}{name}" for place in FOLDERS for name in ORDER if (folder / f"{place}{name}").is_file()]


def _answered(file: str) -> str:
    """What a lock was made from; empty when the file is no lock."""
    place, separator, base = file.rpartition("/")
    return f"{place}{separator}{LOCK_OF[base]}" if base in LOCK_OF else ""
