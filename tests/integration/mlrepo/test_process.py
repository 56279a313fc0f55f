"""The worker's process: clean inside, bounded outside, and gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import numpy as np
import pytest
from flops_mlrepo.host import WorkerError, WorkerFault
from flops_mlrepo.host.proc import group_members

PARAMETERS = [np.zeros(3)]


async def eventually(condition, what):
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_nothing_of_the_mesh_is_in_the_environment(open_fixture, output, monkeypatch):
    monkeypatch.setenv("FLOPS_CREDENTIAL_FILE", "/run/secrets/broker")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    async with open_fixture("shows_environment") as worker:
        await worker.construct(30)
    seen = json.loads(next(line for stream, line in output if stream == "stdout"))
    allowed = {
        *("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
        *("HF_HUB_DISABLE_TELEMETRY", "HF_DATASETS_DISABLE_PROGRESS_BARS", "MLFLOW_DISABLE_TELEMETRY"),
        *("MLFLOW_TRACKING_URI", "GIT_PYTHON_REFRESH", "LC_CTYPE", "ML_WORKER"),
    }
    assert set(seen["environ"]) <= allowed
    assert "/somewhere/else" not in seen["path"]
    assert seen["path"][0] == seen["cwd"]
    assert seen["argv"] == [f"{seen['cwd']}/model_manager.py"]
    assert not Path(seen["environ"]["HOME"]).exists()  # noqa: ASYNC240


async def test_what_the_code_prints_comes_line_by_line(open_fixture, output):
    async with open_fixture("prints") as worker:
        await worker.construct(30)
        assert await worker.fit(30) == 8
    lines = [line for stream, line in output if stream == "stdout"]
    assert lines == ["one line", "100 %", "\ufffd\ufffd no text", "the end"]
    errors = [line for stream, line in output if stream == "stderr"]
    assert errors[0] == "to stderr"
    assert "".join(errors[1:]) == "x" * 100_000
    assert max(len(line) for line in errors) <= 16_384


async def test_a_forked_child_does_not_answer_for_the_worker(open_fixture):
    async with open_fixture("forks") as worker:
        await worker.construct(30)
        assert [await worker.fit(30) for _ in range(3)] == [8, 8, 8]
        group = worker.pid
        await eventually(lambda: group_members(group) == [group], "children are left")


async def test_what_the_code_started_ends_with_it(open_fixture):
    async with open_fixture("leaves_children") as worker:
        await worker.construct(30)
        await worker.fit(30)
        group = worker.pid
        assert len(group_members(group)) == 2
        marked = descendants_of(group)
        assert len(marked) == 2
    await eventually(lambda: not group_members(group), "the group lives on")
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in marked), "an own session lives on")


def descendants_of(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found


async def test_cancelling_a_request_leaves_no_process(open_fixture):
    async with open_fixture("hangs") as worker:
        await worker.construct(30)
        group = worker.pid
        with anyio.move_on_after(0.2) as scope:
            await worker.fit(60)
        assert scope.cancelled_caught
        await eventually(lambda: not group_members(group), "the group lives on")
        with pytest.raises(WorkerError, match="was given up"):
            await worker.fit(60)


async def test_cancelling_the_whole_worker_leaves_no_process(open_fixture):
    groups = []
    with anyio.CancelScope() as scope:
        async with open_fixture("hangs") as worker:
            groups.append(worker.pid)
            await worker.construct(30)
            scope.deadline = anyio.current_time() + 0.2
            await worker.fit(60)
    assert scope.cancelled_caught
    assert not group_members(groups[0])


async def test_an_exception_of_the_caller_comes_out_as_it_is(open_fixture):
    with pytest.raises(ZeroDivisionError):
        async with open_fixture("plain") as worker:
            await divide_by_zero(worker)


async def divide_by_zero(worker):
    await worker.construct(30)
    return 1 / 0


async def test_a_killed_worker_is_noticed_at_once(open_fixture):
    async with open_fixture("hangs") as worker, anyio.create_task_group() as tasks:
        await worker.construct(30)

        async def kill():
            await anyio.sleep(0.1)
            os.kill(worker.pid, signal.SIGKILL)

        tasks.start_soon(kill)
        with anyio.fail_after(5), pytest.raises(WorkerError) as caught:
            await worker.fit(60)
    assert caught.value.kind is WorkerFault.CRASHED
    assert "SIGKILL" in caught.value.detail


@pytest.mark.parametrize(("case", "timeout"), [("writes_to_the_channel", 30), ("closes_descriptors", 30)])
async def test_code_that_meddles_with_the_channel_is_stopped(open_fixture, case, timeout):
    async with open_fixture(case) as worker:
        await worker.construct(30)
        group = worker.pid
        with anyio.fail_after(10), pytest.raises(WorkerError) as caught:
            await worker.fit(timeout)
        assert caught.value.kind in {WorkerFault.PROTOCOL, WorkerFault.CRASHED}
        await eventually(lambda: not group_members(group), "the group lives on")


async def test_an_interpreter_that_is_not_there(open_fixture):
    with pytest.raises(WorkerError, match="cannot be started") as caught:
        async with open_fixture("plain", python="/usr/bin/python-of-nobody"):
            pass
    assert caught.value.kind is WorkerFault.NOT_STARTED


async def test_an_environment_without_numpy(open_fixture, tmp_path):
    with pytest.raises(WorkerError, match="no usable NumPy") as caught:
        async with open_fixture("plain", mlenv=tmp_path):
            pass
    assert caught.value.kind is WorkerFault.NOT_STARTED


async def test_the_worker_ends_when_its_host_is_killed(settings_of, tmp_path):
    pid_file = tmp_path / "pid"
    host = f"""
import anyio
from pathlib import Path
from flops_mlrepo.host import WorkerSettings, guest_folder, open_worker

async def main():
    settings = WorkerSettings(python={sys.executable!r}, mlenv=Path({str(settings_of("hangs").mlenv)!r}),
        code=Path({str(settings_of("hangs").code)!r}), guest=guest_folder(), scratch=Path({str(tmp_path)!r}))
    async with open_worker(settings, lambda stream, line: None) as worker:
        await worker.construct(30)
        Path({str(pid_file)!r}).write_text(str(worker.pid))
        await worker.fit(600)

anyio.run(main)
"""
    process = subprocess.Popen([sys.executable, "-c", host])  # noqa: ASYNC220
    try:
        await eventually(lambda: pid_file.exists() and pid_file.read_text(), "the worker did not start")
        group = int(pid_file.read_text())
        assert group_members(group) == [group]
    finally:
        process.kill()
        process.wait()
    await eventually(lambda: not group_members(group), "the worker lives on")


REACHES_OUT = """
import socket

class ModelManager:
    def __init__(self):
        print("interfaces", [name for _, name in socket.if_nameindex()])
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(server.getsockname(), 2).close()
        print("itself reached")
        try:
            socket.create_connection(("127.0.0.1", PORT), 2)
            print("the host reached")
        except OSError as error:
            print("the host not reached")

    def set_model_data(self): ...
    def get_model(self): return self
    def get_model_parameters(self): return [__import__("numpy").zeros(1)]
    def set_model_parameters(self, parameters): ...
    def fit_model(self): return 1
    def evaluate_model(self): return 0.5, 0.5, 1
"""


@pytest.mark.parametrize("network", [True, False])
async def test_code_without_a_network_reaches_itself_and_nobody_else(open_fixture, output, tmp_path, network):
    with socket.create_server(("127.0.0.1", 0)) as host:
        text = REACHES_OUT.replace("PORT", str(host.getsockname()[1]))
        await anyio.Path(tmp_path / "model_manager.py").write_text(text)
        async with open_fixture(tmp_path, network=network) as worker:
            await worker.construct(30)
            if worker.in_network:
                pytest.skip(f"this machine allows no namespaces: {worker.in_network}")
    said = [line for stream, line in output if stream == "stdout"]
    assert said[1:] == ["itself reached", "the host reached" if network else "the host not reached"]
    assert (said[0] == "interfaces ['lo']") is not network
