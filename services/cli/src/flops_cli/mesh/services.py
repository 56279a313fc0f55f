"""What the embedded mesh consists of: for each process its command, its environment, and where it writes."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from flops_cli.mesh.fingerprint import builder_version, runtime_version
from flops_cli.mesh.ports import HOST
from flops_cli.mesh.processes import MESH_VARIABLE
from flops_cli.mesh.state import StateFolder

_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
persistence false
max_queued_messages 0
set_tcp_nodelay true
{user}
"""
_IOTCORE = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""
_RUN_IOTCORE = "import sys; from iotcore import IotCoreBroker; IotCoreBroker(config_path=sys.argv[1]).run_forever()"
_OURS = {"FLOPS_BROKER", "FLOPS_HOME", "FLOPS_INSTANCE", "FLOPS_STATE_DIR"}


@dataclass(frozen=True)
class Service:
    """One process of the mesh. `patience`: seconds that it gets to end by itself."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    patience: float = 5.0


def mosquitto() -> str | None:
    """The Mosquitto of this machine; Debian puts it where a plain user's PATH does not look."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def broker(state: StateFolder, port: int, *, kind: str | None = None) -> tuple[str, Service]:
    """The broker's kind and process: Mosquitto where it is installed, else iotcore. Writes its configuration.

    It keeps nothing on disk: each service says its state again after a restart (the broker is a cache).
    """
    program = None if kind == "iotcore" else mosquitto()
    if program is not None:
        configuration = state.broker / "mosquitto.conf"
        # As root it would otherwise become user mosquitto, who may not read the state folder.
        user = "user root" if os.geteuid() == 0 else ""
        configuration.write_text(_MOSQUITTO.format(port=port, host=HOST, user=user))
        return "mosquitto", Service("broker", [program, "-c", str(configuration)])
    configuration = state.broker / "iotcore.toml"
    configuration.write_text(_IOTCORE.format(port=port, host=HOST))
    return "iotcore", Service("broker", [sys.executable, "-c", _RUN_IOTCORE, str(configuration)])


def manager(state: StateFolder, broker_url: str, mlflow_url: str | None, registry: str) -> Service:
    """The manager, with the `process` engine."""
    environment = {
        "FLOPS_BROKER": broker_url,
        "FLOPS_STATE_DIR": str(state.manager),
        "FLOPS_REGISTRY": registry,
        "FLOPS_ENGINE_DIR": str(state.engine),
        "FLOPS_DATA_DIR": str(state.data),
        "FLOPS_CACHE_DIR": str(state.cache),
        "FLOPS_RUNTIME_VERSION": runtime_version(),
        "FLOPS_BUILDER_VERSION": builder_version(),
        "FLOPS_STOP_ACTORS_ON_EXIT": "true",
    }
    if mlflow_url is not None:
        environment["FLOPS_TRACKING_URI"] = mlflow_url
    return Service("manager", [sys.executable, "-m", "flops_manager"], environment, patience=20.0)


def observer(state: StateFolder, broker_url: str) -> Service:
    """The observer."""
    environment = {"FLOPS_BROKER": broker_url, "FLOPS_STATE_DIR": str(state.observer)}
    return Service("observer", [sys.executable, "-m", "flops_observer"], environment)


def mlflow(state: StateFolder, port: int) -> Service:
    """MLflow's server on SQLite, with one worker and without its job runner: a quarter of its usual memory."""
    database = state.mlflow / "mlflow.sqlite"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{database}"),
        *("--serve-artifacts", "--artifacts-destination", str(state.mlflow / "artifacts")),
    ]
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    return Service("mlflow", command, environment)


def environment_of(service: Service, root: Path) -> dict[str, str]:
    """The whole environment of a service's process.

    Settings of the services (FLOPS_GIT_SSH_KEY and the like) reach them through `flops up`, save those that say who and
    where a process is.
    """
    own = {name: value for name, value in os.environ.items() if name not in _OURS}
    return own | service.environment | {MESH_VARIABLE: str(root), "PYTHONUNBUFFERED": "1"}
