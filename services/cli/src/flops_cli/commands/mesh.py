"""Commands about the mesh itself: up, ui, demo."""

from __future__ import annotations

from pathlib import Path
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
    registry: options.Registry = None,
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
            registry=registry,
        )

    anyio.run(run)


def ui(*, mlflow_port: MlflowPort = None, state: options.State = options.STATE, json: options.Json = False) -> None:
    """Say where MLflow is, with the metrics and models; start its server where none runs, until Ctrl-C."""
    from flops_cli.mesh.mlflow_ui import mlflow_ui

    async def run() -> None:
        await mlflow_ui(StateFolder(state), Output(json=json), port=mlflow_port)

    anyio.run(run)


def demo(
    *,
    example: Annotated[
        Literal["digits-sklearn", "digits-numpy"], typer.Option("--example", help="Which example to train.")
    ] = "digits-sklearn",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state folder: models, metrics, images.")] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            envvar="FLOPS_HOME",
            file_okay=False,
            help="The state folder, and the mesh that runs there; else the mesh of this folder, or a new one.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Train a model from scikit-learn's digits, federated, and predict with it: everything on this machine."""
    from flops_cli.demo.example import ExamplesMissing
    from flops_cli.demo.run import demo as run_demo

    async def run() -> int:
        return await run_demo(example, Output(json=json), state=state, keep=keep)

    try:
        raise typer.Exit(anyio.run(run))
    except ExamplesMissing as missing:
        raise typer.BadParameter(str(missing), param_hint="--example") from missing
