"""Calls a build backend (PEP 517): `python -I backend.py RESULT HOOK BACKEND PATHS [OUTPUT]`, in the source's folder.

RESULT is a file that gets what the hook returned as JSON, HOOK `requires` or `wheel`, BACKEND `module:object`, PATHS
the folders of an in-tree backend as JSON, OUTPUT the folder for the wheel.
"""

import importlib
import json
import os
import site
import sys
from typing import Any


def _backend(name: str, paths: list[str]) -> Any:
    sys.path[:0] = [os.path.join(os.getcwd(), each) for each in paths]  # noqa: PTH109, PTH118 - as the backend may
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split(".") if attributes else ():
        found = getattr(found, attribute)
    return found


def main() -> None:
    """Runs one hook."""
    result, hook, name, paths, *output = sys.argv[1:]
    if requires := os.environ.pop("FLOPS_BUILD_REQUIRES", ""):  # in a container: there is no virtual environment
        site.addsitedir(requires)
        sys.path.insert(0, sys.path.pop(sys.path.index(requires)))
    sys.argv = ["setup.py"]
    backend = _backend(name, json.loads(paths))
    if hook == "requires":
        ask = getattr(backend, "get_requires_for_build_wheel", None)
        value: Any = [] if ask is None else list(ask(None))
    else:
        value = str(backend.build_wheel(output[0], None, None))
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - the backend may have changed anything
        json.dump(value, file)


if __name__ == "__main__":
    main()
