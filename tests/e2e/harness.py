"""A mesh as a user starts it, and the command line as a user types it."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flops_cli.mesh import processes

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "mlrepos"
EXAMPLES = ROOT / "examples"
FLOPS = [sys.executable, "-m", "flops_cli"]
GIT = {
    "GIT_AUTHOR_NAME": "a person",
    "GIT_AUTHOR_EMAIL": "person@example.org",
    "GIT_COMMITTER_NAME": "a person",
    "GIT_COMMITTER_EMAIL": "person@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
NUMPY: dict[str, str | None] = {
    "requirements__txt": "numpy\n",
    "data_manager__py": "class DataManager:\n    def get_data(self):\n        return None\n",
}
"""What makes a whole repository of a fixture, which is a model_manager.py alone."""


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The JSON lines on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


SHARED = ("cache", "registry", "engine/layers")


def share(state: Path, shared: Path) -> None:
    """Has a state folder use what meshes before it built and unpacked: all of it goes by content, so it is still right.

    Without this, each mesh of the tests takes a gigabyte and ten seconds more.
    """
    for name in SHARED:
        (shared / name).mkdir(parents=True, exist_ok=True)
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).symlink_to(shared / name)


@dataclass
class Up:
    """A `flops up` in the background."""

    state: Path
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    prefix: list[str] = field(default_factory=list)
    """A command that the mesh is started by."""
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    _lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def start(self) -> Up:
        """Starts it, and waits until it says that it is ready."""
        self.process = subprocess.Popen(
            [*self.prefix, *FLOPS, "up", "--json", "--state", str(self.state), *self.options],
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A process group of its own: a Ctrl-C of the one who runs the tests is not meant for it.
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = self.next_document(90)
        assert self.ready["ready"] is True
        return self

    def next_document(self, seconds: float) -> dict[str, Any]:
        """The next document that it prints."""
        line = self._lines.get(timeout=seconds)
        if not line:
            assert self.process is not None
            assert self.process.stderr is not None
            raise AssertionError(f"flops up ended with {self.process.wait()}: {self.process.stderr.read()}")
        document: dict[str, Any] = json.loads(line)
        return document

    def wait_for_mlflow(self) -> str:
        """MLflow's address, once it answers."""
        document = self.next_document(180)
        assert document["mlflow_ready"] is True
        return str(document["mlflow"])

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Sends a signal and waits for the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=45)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    def flops(self, *arguments: str, timeout: float = 60, stdin: str | None = None) -> Result:
        """Runs a command of `flops` on this mesh."""
        return flops(*arguments, "--state", str(self.state), timeout=timeout, stdin=stdin)

    def run_project(self, sla: dict[str, Any] | str, timeout: float = 120) -> Result:
        """Submits an SLA and waits for the project's end."""
        text = sla if isinstance(sla, str) else json.dumps(sla)
        return self.flops("submit", "-", "--wait", "--json", timeout=timeout, stdin=text)

    def left(self) -> list[int]:
        """The processes that still run for this mesh."""
        return processes.of_mesh(self.state.absolute())

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")


def flops(*arguments: str, timeout: float = 60, stdin: str | None = None) -> Result:
    """Runs `flops` as a process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOPS_")}
    done = subprocess.run(
        [*FLOPS, *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def repository(source: Path, target: Path, **files: str | None) -> Path:
    """Copies a folder and commits it; `files` are written over it, None removes. Names: `model_manager__py`."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name, text in files.items():
        path = target / name.replace("__", ".")
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text)
    git(target, "init", "--quiet", "--initial-branch=main")
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "--message", "first")
    return target


def git(folder: Path, *arguments: str) -> str:
    """Runs Git in a folder."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | GIT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def sla(url: Path | str, *, learners: int = 1, rounds: int = 2, tag: str = "numbers", **more: Any) -> dict[str, Any]:
    """An SLA for a repository."""
    training = {
        "mode": "classic",
        "data_tags": [tag],
        "training_cycles": 1,
        "training_rounds": rounds,
        "min_available_clients": learners,
        "min_fit_clients": learners,
        "min_evaluate_clients": learners,
    }
    training |= more.pop("training", {})
    return {"ml_repo_url": str(url), "ml_model_flavor": "sklearn", "training_configuration": training} | more


def eventually(condition: Any, seconds: float = 30.0, what: str = "") -> Any:
    """What `condition` returns once it is true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {seconds} s: {what or condition}"
        time.sleep(0.05)
    return found
