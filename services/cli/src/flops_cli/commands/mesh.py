"""Commands about the mesh itself: up, ui."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio
import typer

from flops_cli import options
from flops_cli.mesh.state import StateFolder
from flops_cli.output import Output

Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="The broker's port; else any that is free.")]
MlflowPort = Annotated[
    int | None, typer.Option("--mlflow-port", min=1, max=65535, help="MLflow's port; else any that is free.")
]


def up(
    *,
    port: Port = None,
    mlflow_port: MlflowPort = None,
    mlflow: Annotated[bool, typer.Option(help="Start MLflow's server too.")] = True,
    broker_kind: Annotated[
        Literal["mosquitto", "iotcore"] | None,
        typer.Option("--broker-kind", help="Which broker to start; else Mosquitto where it is installed."),
    ] = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Run the whole mesh on this machine, until Ctrl-C."""
    # Imported here: the other commands start faster without the bus and the process handling.
    from flops_cli.mesh.embedded import Ports
    from flops_cli.mesh.foreground import up as run_mesh

    async def run() -> None:
        await run_mesh(
            StateFolder(state),
            Output(json=json),
            ports=Ports(port, mlflow_port),
            with_mlflow=mlflow,
            broker_kind=broker_kind,
        )

    anyio.run(run)


def ui(*, mlflow_port: MlflowPort = None, state: options.State = options.STATE, json: options.Json = False) -> None:
    """Say where MLflow is, with the metrics and models; start its server where none runs, until Ctrl-C."""
    from flops_cli.mesh.mlflow_ui import mlflow_ui

    async def run() -> None:
        await mlflow_ui(StateFolder(state), Output(json=json), port=mlflow_port)

    anyio.run(run)
