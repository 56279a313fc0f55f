"""`setup.py`: read, never run. What it computes cannot be known."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Declaration, requirement
from flops_builder.dependencies.files.text import read_text
from flops_builder.dependencies.files.toml import python_specifiers

COMPUTED = "setup.py computes install_requires; it is read, never run"


def read_setup_py(folder: Path, name: str) -> Declaration | None:
    """Reads `install_requires` and `python_requires` where they are written out; None when there is no such call.

    A declaration with a warning and nothing else: it computes what it requires.

    :raises FlopsError: FLOPS-B021 with file and line when it is no Python, or requires what is no requirement
    """
    text = read_text(folder, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise FlopsError("FLOPS-B021", f"it is no Python: {error}", file=name, line=line) from error
    names: dict[str, ast.expr] = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        names |= {target.id: value for target in targets if isinstance(target, ast.Name) and value is not None}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "setup"]
    keywords = {word.arg: word.value for call in calls for word in call.keywords if word.arg}
    if "install_requires" not in keywords:
        return None
    listed = _literal(keywords["install_requires"], names)
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
        return Declaration(name, warnings=(COMPUTED,))
    python = _literal(keywords["python_requires"], names) if "python_requires" in keywords else None
    return Declaration(
        file=name,
        requirements=tuple(requirement(each, name, _line(text, each)) for each in listed),
        python=python_specifiers(python, name, _line(text, "python_requires")) if isinstance(python, str) else None,
        python_line=_line(text, "python_requires"),
    )


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _literal(node: ast.expr, names: dict[str, ast.expr]) -> Any:
    """What is written there, or behind a name of the module; None when it is computed."""
    if isinstance(node, ast.Name):
        node = names.get(node.id, node)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None


def _line(text: str, needle: str) -> int | None:
    return next((number for number, line in enumerate(text.split("\n"), start=1) if needle in line), None)
