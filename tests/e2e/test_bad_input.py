"""Every kind of bad input, as a user sees it: the exit code, the error's code, and where the mistake is."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.errors import CATALOGUE

from tests.e2e.harness import FIXTURES, NUMPY, ROOT, Up, flops, git, repository, sla

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
FUTURE_PYTHON = """\
[project]
name = "x"
version = "1"
requires-python = ">=3.99"
dependencies = ["numpy"]
"""


@dataclass(frozen=True)
class Case:
    """A repository that is wrong, and what a user is told."""

    name: str
    code: str
    fixture: str = "plain"
    file: str | None = None
    says: str = ""
    files: dict[str, str | None] = field(default_factory=dict)
    sla: dict[str, Any] = field(default_factory=dict)


CASES = [
    # the repository's structure
    Case("no model_manager.py", "FLOPS-B010", "no_model_manager", says="model_manager.py"),
    Case("syntax error", "FLOPS-B011", "syntax_error", "model_manager.py"),
    Case("missing method", "FLOPS-B012", "missing_method", "model_manager.py"),
    Case("subfolder that is not there", "FLOPS-B007", sla={"ml_repo_subdir": "nowhere"}, says="nowhere"),
    # its dependencies
    Case("no dependency file", "FLOPS-B020", files={"requirements__txt": None}),
    Case(
        "unreadable dependency file",
        "FLOPS-B021",
        file="requirements.txt",
        files={"requirements__txt": "numpy=>1.24\n"},
    ),
    Case(
        "unresolvable",
        "FLOPS-B022",
        files={
            "requirements__txt": "numpy\njinja2==3.1.4\nmarkupsafe<2\n",
            "flops__toml": '[dependencies]\nfile = "requirements.txt"\nrepairs-off = ["conflict"]\n',
        },
        says="markupsafe",
    ),
    Case("no wheel", "FLOPS-B023", files={"requirements__txt": "numpy\ndocopt==0.6.2\n"}, says="docopt"),
    Case(
        "Python that nobody has",
        "FLOPS-B024",
        files={
            "requirements__txt": None,
            "pyproject__toml": FUTURE_PYTHON,
        },
        says="3.99",
    ),
    # what the smoke round finds
    Case("constructor fails", "FLOPS-B030", "constructor_raises", "model_manager.py"),
    Case("parameters are no arrays", "FLOPS-B031", "parameters_are_dict"),
    Case("parameters change dtype on the way round", "FLOPS-B032", "parameters_change_dtype"),
    Case("parameters change shape on the way round", "FLOPS-B032", "parameters_change_shape"),
    # what only training finds
    Case("data that the code cannot read", "FLOPS-T001", "other_columns", "model_manager.py", says="img"),
    Case("fit_model returns nothing", "FLOPS-T003", "fit_returns_none"),
    Case("evaluate_model returns a pair", "FLOPS-T004", "evaluate_returns_pair"),
    Case("fit_model changes a shape", "FLOPS-T005", "fit_changes_shape"),
    Case("NaN loss", "FLOPS-T006", "loss_is_nan"),
    Case("diverging parameters", "FLOPS-T006", "fit_diverges"),
    Case("fit_model fails", "FLOPS-T007", "fit_raises", "model_manager.py"),
    Case("fit_model hangs", "FLOPS-T008", "hangs", sla={"deadlines": {"round": 3}}),
    Case("fit_model exits", "FLOPS-T009", "calls_exit"),
    Case("fit_model eats memory", "FLOPS-T010", "eats_memory", sla={"resource_constraints": {"memory": 100}}),
    # placement
    Case("data tag on no node", "FLOPS-D002", sla={"training_configuration": {"data_tags": ["moon"]}}, says="moon"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_project_with_bad_input(case: Case, mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / case.fixture, tmp_path / "repository", **(NUMPY | case.files))
    done = mesh.run_project(sla(url) | case.sla)
    assert done.code == 1, done.err
    document = done.document
    error = document.get("error") or document["status"]["error"]
    assert error["code"] == case.code, error
    assert error["hint"]
    assert case.says in error["detail"]
    if case.file is not None:
        assert error["file"].endswith(case.file)
        assert error["line"] >= 1


@pytest.mark.parametrize("code", sorted({case.code for case in CASES}))
def test_every_code_has_its_page(code: str) -> None:
    page = (ROOT / "docs" / "errors" / f"{code}.md").read_text()
    assert page.startswith(f"# {code}: {CATALOGUE[code].title}\n")
    assert "## Cause" in page
    assert "## What to do" in page


def test_fewer_learners_than_wanted(mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
    done = mesh.run_project(sla(url, learners=41))
    assert done.code == 1
    document = done.document
    error = document.get("error") or document["status"]["error"]
    assert error["code"] == "FLOPS-D003"


@pytest.fixture
def wanting_credentials() -> Iterator[str]:
    """A Git host that shows nothing without a login."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/private.git"
        server.shutdown()


class TestRepositoryThatCannotBeHad:
    """Said at submit already: nothing is started for a repository that is not there."""

    def refused(self, mesh: Up, document: dict[str, Any]) -> dict[str, Any]:
        done = mesh.run_project(document)
        assert done.code == 1
        report = done.document
        error: dict[str, Any] = report.get("error") or report["status"]["error"]
        return error

    def test_not_found(self, mesh: Up, tmp_path: Path) -> None:
        assert self.refused(mesh, sla(tmp_path / "nowhere"))["code"] == "FLOPS-B001"

    def test_private_without_key(self, mesh: Up, wanting_credentials: str) -> None:
        assert self.refused(mesh, sla(wanting_credentials))["code"] == "FLOPS-B002"

    def test_empty(self, mesh: Up, tmp_path: Path) -> None:
        git(tmp_path, "init", "--quiet")
        assert self.refused(mesh, sla(tmp_path))["code"] == "FLOPS-B003"

    def test_unknown_ref(self, mesh: Up, tmp_path: Path) -> None:
        url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
        error = self.refused(mesh, sla(url, ml_repo_ref="no-such-branch"))
        assert error["code"] == "FLOPS-B004"
        assert "no-such-branch" in error["detail"]

    def test_url_of_another_kind(self, mesh: Up) -> None:
        assert self.refused(mesh, sla("ftp://example.org/r.git"))["code"] == "FLOPS-B006"


class TestSla:
    def test_not_json_names_the_line(self, mesh: Up, tmp_path: Path) -> None:
        path = tmp_path / "sla.json"
        path.write_text('{\n  "ml_repo_url": "https://example.org/r.git"\n  "ml_model_flavor": "sklearn"\n}\n')
        done = mesh.flops("submit", str(path))
        assert done.code == 1
        assert "FLOPS-S001" in done.err
        assert "line 3" in done.err

    def test_every_mistake_at_once_with_what_is_allowed(self, mesh: Up) -> None:
        wrong = {
            "ml_repo_url": "https://example.org/r.git",
            "ml_model_flavor": "caffe",
            "training_configuration": {"training_rounds": 0, "min_fit_clients": "many"},
            "suported_platforms": ["linux/amd64"],
        }
        done = mesh.run_project(wrong)
        assert done.code == 1
        assert done.document["error"]["code"] == "FLOPS-S002"
        mistakes = {mistake["path"]: mistake for mistake in done.document["mistakes"]}
        assert len(mistakes) == 4
        assert "caffe" in next(m["found"] for path, m in mistakes.items() if "flavor" in path)
        assert "sklearn" in next(m["allowed"] for path, m in mistakes.items() if "flavor" in path)
        said = mesh.flops("plan", "-", stdin=json.dumps(wrong))
        assert said.code == 1
        for path in mistakes:
            assert path in said.err

    def test_file_that_is_not_there(self, mesh: Up) -> None:
        assert mesh.flops("submit", "/nowhere/sla.json").code == 2


def test_disk_full_while_building(tmp_path: Path) -> None:
    small = tmp_path / "state" / "cache"
    small.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=30m none "$1" && shift && exec "$@"'
    prefix = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(small)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets us mount nothing")
    up = Up(tmp_path / "state", ["--no-mlflow"], prefix=prefix).start()
    try:
        url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
        done = up.run_project(sla(url, training={"data_tags": []}))
        assert done.code == 1
        error = done.document["status"]["error"]
        assert error["code"] == "FLOPS-B040", error
    finally:
        assert up.end() == 0
    assert up.left() == []


class TestMesh:
    def test_no_mesh(self, tmp_path: Path) -> None:
        done = flops("list", "--state", str(tmp_path), "--json")
        assert done.code == 3
        assert done.document["error"]["code"] == "FLOPS-P006"

    def test_no_broker_at_the_address(self) -> None:
        done = flops("list", "--broker", "mqtt://127.0.0.1:9", "--json")
        assert done.code == 3
        assert done.document["error"]["code"] == "FLOPS-P006"

    def test_port_is_taken(self, mesh: Up, tmp_path: Path) -> None:
        port = mesh.ready["broker"].rpartition(":")[2]
        done = flops("up", "--port", port, "--state", str(tmp_path / "other"))
        assert done.code == 1
        assert "FLOPS-P009" in done.err
        assert f"Port {port}" in done.err
        assert f"({mesh.ready['broker_kind'][:15]}" in done.err

    def test_second_up_on_the_same_folder(self, mesh: Up) -> None:
        done = mesh.flops("up")
        assert done.code == 1
        assert "FLOPS-P013" in done.err
        assert mesh.ready["broker"] in done.err

    def test_unknown_project(self, mesh: Up) -> None:
        for command in ("show", "watch", "history", "logs", "cancel", "retry"):
            done = mesh.flops(command, "nobody-1", "--json")
            assert done.code == 1, command
            assert done.document["error"]["code"] == "FLOPS-S003"
