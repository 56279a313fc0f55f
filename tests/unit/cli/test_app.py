"""The command line itself: help, exit codes, and what goes to which stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flops_cli.app import app, run
from flops_cli.exits import ExitCode, of_error, of_stage
from flops_cli.output import error_text
from flops_protocol.errors import CATALOGUE, FlopsError
from flops_protocol.messages.project import ProjectStage
from flops_protocol.messages.requests import SlaMistake
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[3]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "flops 0.1.0\n"


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["submit"], ["submit", "/nowhere"], ["data", "add", "x"], ["up", "--port", "0"]]
)
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error" in said.err


def test_no_mesh_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--state", str(tmp_path), "--json"]) == ExitCode.UNREACHABLE
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "FLOPS-P006"
    assert said.err == ""


def test_data_add_and_list_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    state = ["--state", str(tmp_path / "state"), "--json"]
    assert run(["data", "add", "--tag", "t", str(tmp_path / "a.csv"), *state]) == 0
    added = json.loads(capsys.readouterr().out)
    assert added == [{"tag": "t", "file": "a.parquet", "rows": 2, "columns": {"x": "int64"}}]
    assert run(["data", "list", *state]) == 0
    assert json.loads(capsys.readouterr().out) == added
    (tmp_path / "b.csv").write_text("")
    assert run(["data", "add", "--tag", "t", str(tmp_path / "b.csv"), *state]) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "FLOPS-P014"
    assert run(["data", "add", "--tag", "../t", str(tmp_path / "a.csv"), *state]) == ExitCode.USAGE


def test_protocol_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["protocol", "export", str(tmp_path), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert str(tmp_path / "v1" / "asyncapi.json") in files
    for file in files:
        json.loads(Path(file).read_text())
    (tmp_path / "file").write_text("")
    assert run(["protocol", "export", str(tmp_path / "file")]) == ExitCode.USAGE


def test_every_error_and_every_end_has_an_exit_code() -> None:
    assert {of_error(FlopsError(code, "").body) for code in CATALOGUE} <= set(ExitCode)
    assert [of_stage(stage) for stage in ProjectStage if stage.ended] == [0, 1, 5]


def test_error_text_names_everything() -> None:
    error = FlopsError("FLOPS-S002", "2 mistakes", file="sla.json", line=3).body
    mistakes = [SlaMistake(path="$.a[b]", found="[x]", allowed="a number")]
    text = error_text(error, mistakes).plain
    for part in ("FLOPS-S002", error.title, "sla.json:3", "$.a[b]", "found [x]", "a number", error.hint):
        assert part in text


def test_every_command_and_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    command = get_command(app)
    for name, child in command.commands.items():  # type: ignore[attr-defined]
        for path in [f"{name} {inner}" for inner in getattr(child, "commands", {})] or [name]:
            assert f"flops {path}" in page, path
    for code in ExitCode:
        assert f"| {code.value} |" in page
