"""Whether the code offers what is required, by reading it (docs/ml-repository.md).

What cannot be told by reading, such as a base class of another package, is left to the smoke round.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from flops_mlrepo.contract import FIT_CONFIG_METHOD, OLDER_NAMES
from flops_protocol.errors import FlopsError

from flops_builder.source.modules import Module, Modules

MODEL = ("model_manager", "ModelManager")
MODEL_METHODS = {
    "set_model_data": 0,
    "get_model": 0,
    "get_model_parameters": 0,
    "set_model_parameters": 1,
    "fit_model": 0,
    "evaluate_model": 0,
}
"""Method: how many arguments it is called with."""
DATA = ("data_manager", "DataManager")
DATA_METHODS = {"get_data": 0}
KNOWN_BASES = frozenset({"object", "ABC", "Protocol", "Generic", "ModelManagerTemplate", "DataManagerTemplate"})
"""Base classes that bring none of the methods."""
PLAIN_DECORATORS = frozenset({"dataclass", "final", "runtime_checkable"})
MAX_DEPTH = 20


@dataclass
class Found:
    """What is known of a class."""

    methods: dict[str, tuple[ast.AST, str]] = field(default_factory=dict)
    """Node and file of each method."""
    known: bool = True
    """False: there may be more, from where we cannot look."""


def check_structure(modules: Modules) -> Found:
    """Checks the two classes that a repository must offer; returns what is known of the ModelManager.

    :raises FlopsError: FLOPS-B010 to FLOPS-B012 with file and line
    """
    model = _check_model(modules)
    _check_data(modules)
    _check_syntax(modules)
    return model


def structure_mistakes(modules: Modules) -> list[FlopsError]:
    """What `check_structure` raises, and what it would raise after that: one mistake for each class at most."""
    mistakes: list[FlopsError] = []
    for check in (_check_model, _check_data, _check_syntax):
        try:
            check(modules)
        except FlopsError as mistake:
            if all(mistake.body != each.body for each in mistakes):
                mistakes.append(mistake)
    return mistakes


def _check_model(modules: Modules) -> Found:
    return _check(modules, *MODEL, MODEL_METHODS, constructed=True)


def _check_data(modules: Modules) -> Found:
    return _check(modules, *DATA, DATA_METHODS, constructed=False)


def _check_syntax(modules: Modules) -> None:
    for _ in modules.reachable(MODEL[0], DATA[0]):
        pass  # reading a module finds its syntax errors


def _check(modules: Modules, module_name: str, class_name: str, methods: dict[str, int], *, constructed: bool) -> Found:
    module = modules.find(module_name)
    if module is None:
        if modules.warnings:
            return Found(known=False)  # it is there, for a Python that is newer than ours
        elsewhere = sorted(
            path.relative_to(modules.folder).as_posix() for path in modules.folder.rglob(f"{module_name}.py")
        )
        hint = f"It is at {elsewhere[0]}: set ml_repo_subdir to the folder, or move it." if elsewhere else None
        raise FlopsError(
            "FLOPS-B010", f"there is no {module_name}.py at the root or in src/", hint=hint, file=f"{module_name}.py"
        )
    found, node, file = _class(modules, module, class_name, 0)
    if found is None:
        raise FlopsError("FLOPS-B012", f"there is no class {class_name}", file=module.file)
    line = getattr(node, "lineno", None)
    missing = [name for name in methods if not {name, OLDER_NAMES.get(name)} & found.methods.keys()]
    if missing and found.known:
        raise FlopsError("FLOPS-B012", f"{class_name} lacks {', '.join(missing)}", file=file, line=line)
    expected = dict(methods) | ({"__init__": 0, FIT_CONFIG_METHOD: 1} if constructed else {})
    for name, count in expected.items():
        if name in found.methods:
            _check_arguments(class_name, name, count, *found.methods[name])
    return found


def _check_arguments(class_name: str, name: str, count: int, node: ast.AST, file: str) -> None:
    line = getattr(node, "lineno", None)
    if isinstance(node, ast.AsyncFunctionDef):
        raise FlopsError(
            "FLOPS-B012", f"{class_name}.{name} is a coroutine; it is called like a plain method", file=file, line=line
        )
    if not isinstance(node, ast.FunctionDef):
        return
    decorators = {_name(each) for each in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        raise FlopsError(
            "FLOPS-B012", f"{class_name}.{name} is a property; it is called like a method", file=file, line=line
        )
    if decorators - {"staticmethod", "classmethod", "override", "abstractmethod"}:
        return  # a decorator may change how it is called
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    own = 0 if "staticmethod" in decorators else 1
    required = [each.arg for each in positional[: len(positional) - len(arguments.defaults)]][own:]
    required_keywords = [
        each.arg for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    ]
    takes = len(positional) - own
    if len(required) > count or required_keywords:
        extra = ", ".join([*required[count:], *required_keywords])
        called = "without arguments" if count == 0 else f"with {count} argument"
        raise FlopsError(
            "FLOPS-B012", f"{class_name}.{name} is called {called}, but {extra} has no default", file=file, line=line
        )
    if takes < count and arguments.vararg is None:
        raise FlopsError(
            "FLOPS-B012", f"{class_name}.{name} is called with {count} argument, but takes none", file=file, line=line
        )


def _class(modules: Modules, module: Module, name: str, depth: int) -> tuple[Found | None, ast.AST | None, str]:
    """What is known of a name of a module: a class here, an alias, or one from elsewhere."""
    if depth > MAX_DEPTH:
        return Found(known=False), None, module.file
    stars = False
    for node in _statements(module.tree.body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _members(modules, module, node, depth), node, module.file
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and name in _targets(node):
            value = node.value
            if isinstance(value, ast.Name) and value.id != name:
                return _class(modules, module, value.id, depth + 1)
            return Found(known=False), node, module.file
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    found = _imported(modules, module.absolute(node), name, depth)
                    if found[0] is not None and (found[0].methods or found[1] is not None):
                        return found
                    stars = stars or modules.find(module.absolute(node)) is None
                elif (alias.asname or alias.name) == name:
                    return _imported(modules, module.absolute(node), alias.name, depth)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            raise FlopsError("FLOPS-B012", f"{name} is a function, not a class", file=module.file, line=node.lineno)
    return (Found(known=False) if stars else None), None, module.file


def _imported(modules: Modules, origin: str, name: str, depth: int) -> tuple[Found | None, ast.AST | None, str]:
    module = modules.find(origin)
    if module is None:
        return Found(known=False), None, origin
    return _class(modules, module, name, depth + 1)


def _members(modules: Modules, module: Module, node: ast.ClassDef, depth: int) -> Found:
    found = Found()
    for base in reversed(node.bases):
        name = _name(base)
        plain = bool(name) and "." not in name
        inherited = _class(modules, module, name, depth + 1)[0] if plain else _dotted(modules, module, name, depth)
        if inherited is not None:
            found.methods |= inherited.methods
        if name.rpartition(".")[2] not in KNOWN_BASES and (inherited is None or not inherited.known):
            found.known = False
    decorators = {_name(each).rpartition(".")[2] for each in node.decorator_list}
    if decorators - PLAIN_DECORATORS or _metaclass(node) not in {"", "ABCMeta"}:
        found.known = False
    for statement in reversed(_statements(node.body)):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if "abstractmethod" in {_name(each).rpartition(".")[2] for each in statement.decorator_list}:
                found.methods.pop(statement.name, None)
            else:
                found.methods[statement.name] = (statement, module.file)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            found.methods |= dict.fromkeys(_targets(statement), (statement, module.file))
    return found


def _dotted(modules: Modules, module: Module, name: str, depth: int) -> Found | None:
    """A base class written `package.module.Class`."""
    origin, _, last = name.rpartition(".")
    for node in _statements(module.tree.body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if origin == (alias.asname or alias.name):
                    return _imported(modules, alias.name, last, depth)[0]
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if origin == (alias.asname or alias.name):
                    return _imported(modules, f"{module.absolute(node)}.{alias.name}", last, depth)[0]
    return None


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of a body with those inside of if, try and with; in reverse, as the last one counts."""
    found: list[ast.stmt] = []
    for node in body:
        found.append(node)
        if isinstance(node, (ast.If, ast.For, ast.While)):
            found += _statements(node.orelse)[::-1] + _statements(node.body)[::-1]
        elif isinstance(node, (ast.Try, ast.TryStar)):
            for handler in node.handlers:
                found += _statements(handler.body)[::-1]
            found += (_statements(node.orelse) + _statements(node.finalbody))[::-1] + _statements(node.body)[::-1]
        elif isinstance(node, ast.With):
            found += _statements(node.body)[::-1]
    return found[::-1]


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _metaclass(node: ast.ClassDef) -> str:
    return next((_name(each.value).rpartition(".")[2] for each in node.keywords if each.arg == "metaclass"), "")


def _name(node: ast.expr) -> str:
    """`a.b.C` of an expression; a call or a subscript counts as what is called; empty when it is something else."""
    if isinstance(node, (ast.Call, ast.Subscript)):
        return _name(node.func if isinstance(node, ast.Call) else node.value)
    if isinstance(node, ast.Attribute):
        front = _name(node.value)
        return f"{front}.{node.attr}" if front else node.attr
    return node.id if isinstance(node, ast.Name) else ""
