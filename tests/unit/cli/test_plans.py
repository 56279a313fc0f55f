"""How a plan reads: at a glance, and within 80 columns."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flops_cli import plans
from flops_cli.output import Output
from flops_protocol.errors import FlopsError
from flops_protocol.messages.plans import BuildForecast, PlatformForecast, Repair
from flops_protocol.messages.project import ProjectStage, Role
from flops_protocol.messages.requests import NodeVerdict, PlanReport
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

LONG = "it is a long reason that does not fit into one line of a terminal, which has eighty columns and no more"
BUILD = BuildForecast(
    python="3.11",
    python_why="conda.yaml:3 asks for python==3.11.9",
    file="conda.yaml",
    repairs=[
        Repair(rule="guest-needs", before="", after="numpy>=1.21", why="parameters travel as NumPy arrays"),
        Repair(rule="renamed", before="opencv", after="opencv-python", why="so called", file="conda.yaml", line=8),
        Repair(rule="installer", before="pip<=24", after=None, why=LONG, file="conda.yaml", line=4),
        Repair(rule="headless", before="opencv-python", after="opencv-python-headless", why="no libGL",
               file="conda.yaml", line=8),
    ],
    warnings=[f"[sic] {LONG}"],
    platforms=[
        PlatformForecast(platform="linux/amd64", why="every package has a wheel", packages=12, wheel_bytes=64_000_000,
                         unsized=1, layer_bytes=180_000_000)
    ],
    kind="kept",
    seconds=2.4,
    phase_seconds={"clone": 0.1},
)  # fmt: skip
REPORT = PlanReport(
    repository_url=f"https://example.org/{'a' * 90}/digits.git",
    commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    source_key=f"sha256:{'e' * 64}",
    image="to-build",
    missed="No image has the same commit (bbbbbbbbbbbb → 4b825dc642cb), platforms (linux/amd64 → linux/arm64)",
    placement=[
        NodeVerdict(node="node-1", role=Role.BUILDER, taken=True, reason="fits", count=1),
        NodeVerdict(node="node-1", role=Role.LEARNER, taken=True, reason="has 899 rows with the tag 'd'", count=2),
        NodeVerdict(node="node-2", role=Role.LEARNER, taken=False, reason=LONG),
    ],
    stages=list(ProjectStage)[:5],
    deadlines={"resolving": 60, "building": 1800, "deploying": 300, "training": 86_400},
    build=BUILD,
    seconds={"building": 2.4, "deploying": 4.0},
)


def shown(report: PlanReport, width: int = 80) -> str:
    output = Output()
    output.console = Console(file=io.StringIO(), width=width, soft_wrap=True, highlight=False)
    plans.plan(output, report)
    text: str = output.console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_all_is_there_and_nothing_is_wider_than_the_terminal() -> None:
    lines = [line.rstrip() for line in shown(REPORT).splitlines()]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "It would run, in about 6 s without training. 3 changes to what is asked for." in text
    assert "linux/amd64  assembled from wheels: every package has a wheel" in text
    assert "12 packages, 64 MB of wheels, 1 of unknown size, a layer of 180 MB" in text
    assert "about 2 s, as the last one of known packages; at most 30 min" in text
    assert "nothing like it was seen yet; at most 24 h" in text
    assert "node-1  + learner x 2  has 899 rows" in text
    assert "node-2  - learner" in text
    assert "[sic]" in text
    assert "accepted" not in text


def test_changes_stand_in_the_order_of_the_file_and_those_of_a_line_are_one() -> None:
    changes = plans.merged(BUILD.repairs)
    assert [(each.place, each.before, each.after) for each in changes] == [
        ("conda.yaml:4", "pip<=24", None),
        ("conda.yaml:8", "opencv", "opencv-python-headless"),
        ("", "", "numpy>=1.21"),
    ]
    assert [rule for rule, _ in changes[1].rules] == ["renamed", "headless"]
    lines = [line.strip() for line in shown(REPORT).splitlines()]
    at = lines.index("conda.yaml:8")
    assert lines[at + 1 : at + 4] == ["- opencv", "+ opencv-python-headless", "renamed: so called"]


def test_mistakes_come_with_their_place() -> None:
    error = FlopsError("FLOPS-B012", "ModelManager lacks fit_model", file="model_manager.py", line=12).body
    text = shown(REPORT.model_copy(update={"errors": [error]}))
    assert "It would fail: 1 mistake, see below." in text
    assert "model_manager.py:12" in text
    assert "It would run" not in text


def test_what_is_found_is_not_built() -> None:
    found: dict[str, Any] = {"image": "found", "build": None, "stages": [ProjectStage.DEPLOYING, ProjectStage.TRAINING]}
    text = shown(REPORT.model_copy(update=found))
    assert "found, nothing to build" in text
    assert "Changed" not in text
    assert "building" not in text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (12.4, "12 s"), (1800, "30 min"), (86_400, "24 h")])
def test_durations(seconds: float, text: str) -> None:
    assert plans.duration(seconds) == text


@given(st.text(max_size=200), st.text(max_size=40), st.integers(20, 200))
def test_no_text_breaks_it(text: str, name: str, width: int) -> None:
    repair = Repair(rule="renamed", before=text, after=name, why=text, file=name, line=1)
    build = BUILD.model_copy(update={"repairs": [repair], "warnings": [text], "file": name})
    assert shown(REPORT.model_copy(update={"build": build, "missed": text}), width)
