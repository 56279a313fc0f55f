"""Writes, or checks, what is generated: `python -m flops_protocol.schemas [--check | --freeze VERSION] [FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flops_protocol.schemas.generate import SCHEMAS, documents
from flops_protocol.schemas.release import broken_since_releases, freeze


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code is 1 when something is out of date, or breaks what was released."""
    parser = argparse.ArgumentParser(prog="python -m flops_protocol.schemas", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the repository (default: this folder)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="change nothing, name what is out of date")
    choice.add_argument("--freeze", metavar="VERSION", help="keep the contract as that of this release")
    chosen = parser.parse_args(arguments)
    root: Path = chosen.folder
    if broken := broken_since_releases(root):
        sys.stderr.write("Within v1, old and new must understand each other. Broken since these releases:\n")
        sys.stderr.writelines(f"  {line}\n" for line in broken)
        return 1
    if chosen.freeze is not None:
        sys.stdout.write(f"{freeze(root, chosen.freeze)}\n")
        return 0
    return _check(root) if chosen.check else _write(root)


def _check(root: Path) -> int:
    stale = [path for path, text in documents().items() if _read(root / path) != text]
    stale += [str(path.relative_to(root)) for path in _strays(root)]
    sys.stderr.writelines(f"{path} is out of date; run `just schema`\n" for path in stale)
    return 1 if stale else 0


def _write(root: Path) -> int:
    for path, text in documents().items():
        target = root / path
        if _read(target) != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
    for stray in _strays(root):
        stray.unlink()
    return 0


def _strays(root: Path) -> list[Path]:
    """Schemas of messages that do not exist any more."""
    return sorted(set((root / SCHEMAS).glob("*.json")) - {root / path for path in documents()})


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
