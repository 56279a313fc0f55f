"""The same round on what Flower itself brings: a SuperLink, SuperNodes, and a Flower app."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
PROJECT = """\
[project]
name = "empty-training"
version = "1.0.0"
description = "Rounds without training."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "bench"

[tool.flwr.app.components]
serverapp = "empty.app:server"
clientapp = "empty.app:client"

[tool.flwr.app.config]
rounds = 4
learners = 2
times = ""
numbers = 650
"""
APP = '''\
"""Rounds without training."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()
def train(message, context):
    content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 10})})
    return Message(content, reply_to=message)


@client.evaluate()
def evaluate(message, context):
    metrics = MetricRecord({"num-examples": 10, "loss": 0.5, "accuracy": 0.5})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


class Timed(FedAvg):
    """Notes when each round ended."""

    times = []

    def aggregate_evaluate(self, server_round, replies):
        metrics = super().aggregate_evaluate(server_round, replies)
        self.times.append(time.time())
        return metrics


@server.main()
def main(grid, context):
    config = context.run_config
    count = config["learners"]
    strategy = Timed(min_train_nodes=count, min_evaluate_nodes=count, min_available_nodes=count)
    first = ArrayRecord([np.zeros(config["numbers"], dtype=np.float32)])
    strategy.start(grid, first, num_rounds=config["rounds"])
    Path(config["times"]).write_text(json.dumps(Timed.times))
'''


def seconds_a_round(count: int, rounds: int = 4, patience: float = 600) -> float:
    """The median seconds between the ends of two rounds.

    :raises RuntimeError: when the run does not come to its end in time
    """
    with tempfile.TemporaryDirectory(prefix="stock-flower-") as name, ExitStack() as stack:
        folder = Path(name)
        port = _free_port()
        _write_app(folder, port)
        # Flower starts programs of its own by their names.
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        environment = {**os.environ, **ENVIRONMENT, "FLWR_HOME": str(folder / "home"), "PATH": path}

        def start(program: str, *arguments: str) -> None:
            log = stack.enter_context((folder / f"{program}.log").open("ab"))
            process = subprocess.Popen(
                [Path(sys.executable).parent / program, "--insecure", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(_end, process)

        start("flower-superlink", "--port", str(port))
        _wait_for(port)
        for _ in range(count):
            place = ["--superlink", f"127.0.0.1:{port}", "--port", str(_free_port())]
            start("flower-supernode", *place, "--max-wait-time", "60")
        times = folder / "times.json"
        config = f'rounds={rounds} learners={count} times="{times}"'
        done = subprocess.run(
            [Path(sys.executable).parent / "flwr", "run", folder / "app", "bench", "-c", config, "--format", "json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if '"success": true' not in done.stdout:
            raise RuntimeError(f"flwr run: {done.stdout}{done.stderr}")
        until = time.monotonic() + patience
        while not times.exists():
            if time.monotonic() > until:
                logs = "\n".join(path.read_text()[-3000:] for path in folder.glob("*.log"))
                raise RuntimeError(f"no end within {patience:g} s\n{logs}")
            time.sleep(0.2)
        ends = json.loads(times.read_text())
        return statistics.median(after - before for before, after in itertools.pairwise(ends))


def _write_app(folder: Path, port: int) -> None:
    (folder / "app" / "empty").mkdir(parents=True)
    (folder / "app" / "pyproject.toml").write_text(PROJECT)
    (folder / "app" / "empty" / "__init__.py").touch()
    (folder / "app" / "empty" / "app.py").write_text(APP)
    (folder / "home").mkdir()
    connection = f'[superlink]\ndefault = "bench"\n\n[superlink.bench]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (folder / "home" / "config.toml").write_text(connection)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the SuperLink does not listen")


def _end(process: subprocess.Popen[bytes]) -> None:
    # Its own children, too: one for each message.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
