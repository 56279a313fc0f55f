"""Which dependency file counts. The order is documented in docs/builder.md; change both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.conda import read_conda
from flops_builder.dependencies.declaration import Declaration
from flops_builder.dependencies.pyproject import read_pyproject
from flops_builder.dependencies.requirements_txt import read_requirements
from flops_builder.dependencies.setup_cfg import read_setup_cfg

Reader = Callable[[Path, str], Declaration | None]
"""Reads a file (root folder, relative name); None: it declares no dependencies, so it does not count."""

ORDER: tuple[tuple[str, Reader], ...] = (
    ("conda.yaml", read_conda),
    ("conda.yml", read_conda),
    ("environment.yaml", read_conda),
    ("environment.yml", read_conda),
    ("pyproject.toml", read_pyproject),
    ("requirements.txt", read_requirements),
    ("setup.cfg", read_setup_cfg),
)


def read_dependencies(folder: Path) -> Declaration:
    """Reads the first dependency file that counts.

    :raises FlopsError: FLOPS-B020 when there is none, FLOPS-B021 when it cannot be read
    """
    chosen: Declaration | None = None
    empty: Declaration | None = None
    others: list[str] = []
    for name, reader in ORDER:
        file = folder / name
        if not file.is_file():
            continue
        if chosen is not None:
            others.append(name)
            continue
        declared = reader(folder, name)
        if declared is not None and (declared.requirements or declared.python is not None):
            chosen = declared
            continue
        others.append(name)
        empty = empty or declared
    if chosen is None and empty is not None:
        # It says that nothing is needed, and no other file says otherwise.
        chosen, others = empty, [name for name in others if name != empty.file]
    if chosen is None:
        known = ", ".join(name for name, _ in ORDER)
        found = f"{', '.join(others)} declare{'s' if len(others) == 1 else ''} no dependencies; " if others else ""
        raise FlopsError("FLOPS-B020", f"{found}looked for {known}")
    return replace(chosen, ignored=tuple(others))
