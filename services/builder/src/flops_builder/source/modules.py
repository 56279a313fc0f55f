"""The repository's modules, parsed but never imported."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flops_protocol.errors import FlopsError

MAX_SOURCE_BYTES = 5_000_000
DATA_PACKAGES = ("flops_utils", "flops_mlrepo")
LOADERS = frozenset({"load_table", "load_arrays", "load_dataset", "load_ml_data"})
"""What the guest offers for loading a node's data."""


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    file: str
    """Relative to the code."""
    tree: ast.Module
    package: bool = False

    @cached_property
    def imports(self) -> tuple[tuple[str, int], ...]:
        """Absolute names of all modules that it may import, with lines; for `from a import b` both `a` and `a.b`."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self.absolute(node)
                if base:
                    found.append((base, node.lineno))
                found += [
                    (f"{base}.{alias.name}" if base else alias.name, node.lineno)
                    for alias in node.names
                    if alias.name != "*"
                ]
        return tuple(found)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The absolute name of the module that is imported from."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".") if self.package else self.name.split(".")[:-1]
        parts = parts[: len(parts) - node.level + 1]
        return ".".join([*parts, *([node.module] if node.module else [])])


@dataclass
class Modules:
    """The modules below the code's folder and its `src/`, read when they are asked for."""

    folder: Path
    minor: str
    """The Python minor that the code will run on."""
    warnings: list[str] = field(default_factory=list)
    _known: dict[str, Module | None] = field(default_factory=dict)

    @property
    def roots(self) -> list[Path]:
        """Where modules are looked for, in the order of the ML worker's path."""
        source = self.folder / "src"
        return [self.folder, source] if source.is_dir() else [self.folder]

    def find(self, name: str) -> Module | None:
        """The module of this absolute name; None when the repository has none.

        :raises FlopsError: FLOPS-B011 when it has a syntax error
        """
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def reachable(self, *names: str) -> Iterator[Module]:
        """These modules and all of the repository that they import, each once.

        :raises FlopsError: FLOPS-B011 when one has a syntax error
        """
        waiting, seen = list(names), set()
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            module = self.find(name)
            if module is not None:
                yield module
                waiting += [each for each, _ in module.imports]
                waiting += [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]

    def third_party(self, *names: str) -> dict[str, str]:
        """Top-level modules from outside that these modules and what they import want, with the first place."""
        found: dict[str, str] = {}
        for module in self.reachable(*names):
            for name, line in module.imports:
                top = name.partition(".")[0]
                if top and top not in sys.stdlib_module_names and self.find(top) is None and not self._is_folder(top):
                    found.setdefault(top, f"{module.file}:{line}")
        return found

    def loaders(self, *names: str) -> frozenset[str]:
        """Which of the guest's load functions these modules and what they import use."""
        used: set[str] = set()
        for module in self.reachable(*names):
            if any(name.startswith(DATA_PACKAGES) for name, _ in module.imports):
                used |= {name.rpartition(".")[2] for name, _ in module.imports} & LOADERS
                used |= {node.attr for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)} & LOADERS
        return frozenset(used)

    def _is_folder(self, top: str) -> bool:
        return any((root / top).is_dir() for root in self.roots)

    def _read(self, name: str) -> Module | None:
        relative = name.replace(".", "/")
        for root in self.roots:
            for candidate in (f"{relative}/__init__.py", f"{relative}.py"):
                file = root / candidate
                if file.is_file():
                    shown = file.relative_to(self.folder).as_posix()
                    tree = self._parse(file, shown)
                    return None if tree is None else Module(name, shown, tree, candidate.endswith("__init__.py"))
        return None

    def _parse(self, file: Path, shown: str) -> ast.Module | None:
        if file.stat().st_size > MAX_SOURCE_BYTES:
            self.warnings.append(f"{shown} is too big to be checked")
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(file.read_bytes(), filename=shown)
        except SyntaxError as error:
            if _newer(self.minor):
                self.warnings.append(
                    f"{shown}:{error.lineno} could not be checked: {error.msg} (the builder runs on an older Python)"
                )
                return None
            raise FlopsError("FLOPS-B011", _told(error), file=shown, line=error.lineno or 1) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise FlopsError("FLOPS-B011", f"it cannot be parsed: {error}", file=shown) from error


def _newer(minor: str) -> bool:
    return tuple(int(part) for part in minor.split(".")) > sys.version_info[:2]


def _told(error: SyntaxError) -> str:
    text = (error.text or "").strip()
    return f"{error.msg}: {text}" if text else error.msg
