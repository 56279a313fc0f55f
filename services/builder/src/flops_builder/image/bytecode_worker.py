# ruff: noqa: PTH103, PTH105, PTH118, PTH120, PTH123 -- importing pathlib takes longer than what this does
"""Run by the Python of the image's minor, outside of the builder: compiles source files into a cache.

Standard library only. Reads one JSON document from stdin, writes one to stdout. The byte code is deterministic:
marshal's version 2 writes no references, whose presence depends on what else the process holds.
"""

import hashlib
import importlib.util
import json
import marshal
import os
import sys
import warnings


def main() -> None:
    """Compiles `files` (path below `root`, expected SHA-256, key in the cache); prints the paths that are there now."""
    wanted = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    compiled = []
    for relative, expected, key in wanted["files"]:
        with open(os.path.join(wanted["root"], relative), "rb") as stream:
            source = stream.read()
        # A package may claim anything of its files; what is kept under a hash has to have it.
        if hashlib.sha256(source).hexdigest() == expected and _keep(source, f"{wanted['place']}/{relative}", key):
            compiled.append(relative)
    json.dump(compiled, sys.stdout)


def _keep(source: bytes, place: str, target: str) -> bool:
    try:
        code = compile(source, place, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return False  # templates and code for another Python lie in packages; nobody imports them
    try:
        body = marshal.dumps(code, 2)
    except ValueError:
        body = marshal.dumps(code)  # Python 3.14 has constants that version 2 does not know
    # PEP 552: flags 0b01 = hash-based, unchecked.
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    new = f"{target}.{os.getpid()}"
    with open(new, "wb") as stream:
        stream.write(header + body)
    os.replace(new, target)
    return True


main()
