"""The state folder, ports and processes of the embedded mesh."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flops_cli.mesh import ports, processes, services
from flops_cli.mesh.fingerprint import builder_version, runtime_version
from flops_cli.mesh.state import MeshFile, StateFolder
from flops_protocol.errors import FlopsError

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs for the mesh in tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP],
        env={"FLOPS_MESH": str(tmp_path)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_hold_refuses_the_second(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.make()
    state.write_mesh(MeshFile(broker="mqtt://127.0.0.1:1", broker_kind="mosquitto", pid=4711))
    with state.hold():
        assert state.held
        with pytest.raises(FlopsError, match=r"FLOPS-P013.*process 4711.*mqtt://127.0.0.1:1"), state.hold():
            pass
    assert not state.held


def test_mesh_file_that_is_broken_counts_as_none(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert state.mesh() is None
    (tmp_path / "mesh.json").write_text('{"broker": ')
    assert state.mesh() is None


def test_choose_names_the_owner_of_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(FlopsError) as caught:
            ports.choose(port)
        assert caught.value.body.code == "FLOPS-P009"
        assert f"Port {port} on 127.0.0.1 is taken by process {os.getpid()} (" in caught.value.body.detail
        assert ports.choose(None, last=port) != port
    assert ports.choose(port) == port
    assert ports.choose(None, last=port) == port


def test_of_mesh_finds_by_environment(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    assert processes.of_mesh(tmp_path) == [sleeper.pid]
    assert processes.of_mesh(tmp_path / "other") == []


def test_of_mesh_leaves_shells_and_readers_alone(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "log").write_text("")
    with subprocess.Popen(
        ["tail", "-f", str(engine / "log")], env={"FLOPS_HOME": str(tmp_path)}, cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as reader:
        assert processes.of_mesh(tmp_path) == []
        reader.kill()


async def test_end_kills_what_does_not_listen(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        process.stdout.readline()
        assert await processes.end([process.pid], patience=0.2) == [process.pid]
        assert process.wait() == -signal.SIGKILL


def test_fingerprints_are_stable_and_differ() -> None:
    assert runtime_version() == runtime_version()
    assert runtime_version() != builder_version()
    assert re.fullmatch(r"[0-9.]+\+[0-9a-f]{16}", runtime_version())


def test_environment_passes_settings_but_not_who_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOPS_GIT_SECONDS", "7")
    monkeypatch.setenv("FLOPS_BROKER", "mqtt://elsewhere")
    environment = services.environment_of(services.observer(StateFolder(tmp_path), "mqtt://here"), tmp_path)
    assert environment["FLOPS_GIT_SECONDS"] == "7"
    assert environment["FLOPS_BROKER"] == "mqtt://here"
    assert environment["FLOPS_MESH"] == str(tmp_path)
