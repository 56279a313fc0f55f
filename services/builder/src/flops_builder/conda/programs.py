"""Programs that the code calls and no wheel brings, held against what a conda file lists."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from flops_builder.dependencies.conda import CondaFile
from flops_builder.source.modules import Module

PROGRAMS: Mapping[str, frozenset[str]] = {
    "ffmpeg": frozenset({"ffmpeg", "ffprobe"}),
    "git": frozenset({"git"}),
    "graphviz": frozenset({"dot", "neato"}),
    "nodejs": frozenset({"node", "npm", "npx"}),
    "openjdk": frozenset({"java", "javac"}),
    "perl": frozenset({"perl"}),
    "r-base": frozenset({"R", "Rscript"}),
    "wget": frozenset({"wget"}),
    "curl": frozenset({"curl"}),
    "make": frozenset({"make"}),
    "cmake": frozenset({"cmake"}),
    "gcc": frozenset({"gcc"}),
    "compilers": frozenset({"cc", "gcc", "g++", "gfortran"}),
    "c-compiler": frozenset({"cc", "gcc"}),
    "cxx-compiler": frozenset({"c++", "g++"}),
}
"""conda's package: the programs that it is there for."""
WRAPPERS: Mapping[str, str] = {
    "ffmpeg": "ffmpeg",
    "git": "git",
    "graphviz": "graphviz",
    "pydot": "graphviz",
    "pydub": "ffmpeg",
    "pyspark": "openjdk",
    "rpy2": "r-base",
}
"""A module that does nothing without a program: the conda package that brings that."""
CALLS = frozenset({"run", "Popen", "call", "check_call", "check_output", "system", "popen", "which"})


def needed_program(conda: CondaFile, modules: Iterable[Module], imports: Mapping[str, str]) -> str | None:
    """Which program of the file's packages the code needs, and where; None when it needs none.

    :param imports: top-level modules that the code imports, with their first place
    """
    listed = {each.name for each in conda.specs}
    for module, place in imports.items():
        if (package := WRAPPERS.get(module)) in listed:
            return f"{place} imports {module}, which needs {package}"
    wanted = {program: package for package in PROGRAMS.keys() & listed for program in PROGRAMS[package]}
    for each in modules if wanted else ():
        for node in ast.walk(each.tree):
            program = _called(node)
            if program in wanted:
                return f"{each.file}:{getattr(node, 'lineno', 1)} calls {program}, which {wanted[program]} brings"
    return None


def _called(node: ast.AST) -> str | None:
    """The program that a call names outright: `run(["dot", …])`, `os.system("dot …")`, `which("dot")`."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in CALLS:
        return None
    first = node.args[0]
    if isinstance(first, ast.List | ast.Tuple) and first.elts:
        first = first.elts[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.split():
        return first.value.split()[0].rpartition("/")[2]
    return None
