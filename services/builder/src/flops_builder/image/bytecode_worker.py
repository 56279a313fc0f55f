# ruff: noqa: PTH103, PTH105, PTH110, PTH118, PTH120, PTH123 -- importing pathlib takes longer than what this does
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
    """Compiles `files` below `root`, prints `{source: key}`; what does not compile is left out."""
    wanted = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    compiled = {}
    for relative in wanted["files"]:
        with open(os.path.join(wanted["root"], relative), "rb") as stream:
            source = stream.read()
        key = _keep(source, f"{wanted['place']}/{relative}", wanted["cache"])
        if key is not None:
            compiled[relative] = key
    json.dump(compiled, sys.stdout)


def _keep(source: bytes, place: str, cache: str) -> "str | None":
    key = hashlib.sha256(f"{sys.implementation.cache_tag}\n{place}\n".encode() + source).hexdigest()
    target = os.path.join(cache, key[:2], key)
    if os.path.exists(target):
        return key
    try:
        code = compile(source, place, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None  # templates and code for another Python lie in packages; nobody imports them
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
    return key


main()
