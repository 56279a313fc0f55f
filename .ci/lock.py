"""Writes the versions that are installed into `[tool.uv] constraint-dependencies` of the root pyproject.toml.

`uv.lock` would pin as well, but it names the hosts of one site's package index.
"""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def pins() -> list[str]:
    """`name==version` of everything installed, sorted, without the workspace's own packages."""
    found = {
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(): distribution.version
        for distribution in distributions()
    }
    return [f"{name}=={version}" for name, version in sorted(found.items()) if not name.startswith("flops-")]


def main() -> None:
    """Replaces the list, and leaves the rest of the file as it is."""
    lines = "".join(f'  "{pin}",\n' for pin in pins())
    text = PYPROJECT.read_text(encoding="utf-8")
    text, count = re.subn(
        r"^constraint-dependencies = \[(?:\]|.*?^\])$",
        f"constraint-dependencies = [\n{lines}]",
        text,
        count=1,
        flags=re.MULTILINE | re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{PYPROJECT} has no constraint-dependencies to replace")
    PYPROJECT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
