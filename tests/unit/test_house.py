"""The rules of the house: formatting, lints, types, and who may import whom."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(
    str(path.parent.relative_to(ROOT)) for group in ("protocol", "services") for path in ROOT.glob(f"{group}/*/src")
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="lint"),
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["mypy", "--strict", *(f"{member}/src" for member in MEMBERS)], id="types"),
        pytest.param(["lint-imports"], id="imports"),
    ],
)
def test_static_check(command: list[str]) -> None:
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_every_member_is_listed_and_typed() -> None:
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert len(MEMBERS) == 10
    for member in MEMBERS:
        assert f'"{member}"' in listed
        assert list((ROOT / member / "src").glob("*/py.typed")), f"{member} ships no py.typed"
