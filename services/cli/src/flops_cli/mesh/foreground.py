"""`flops up`: the mesh in the foreground, until a signal ends it."""

from __future__ import annotations

import signal

from anyio import CancelScope, create_task_group, open_signal_receiver, sleep_forever
from rich.markup import escape

from flops_cli.bare import bare_errors
from flops_cli.mesh.embedded import EmbeddedMesh, Ports, embedded_mesh
from flops_cli.mesh.state import StateFolder
from flops_cli.output import Output

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NO_ISOLATION = (
    "[bold yellow]No Mosquitto on this machine: the embedded broker iotcore is used.[/]\n"
    "[yellow]It has no access rules: whoever reaches the port sees and may do everything. It is for one machine, and\n"
    "for trying. With Mosquitto installed (apt install mosquitto), `flops up` takes that.[/]"
)


async def up(
    state: StateFolder,
    output: Output,
    *,
    ports: Ports,
    with_mlflow: bool,
    broker_kind: str | None,
    registry: str | None,
) -> None:
    """Runs the mesh until SIGINT, SIGTERM or SIGHUP; then nothing of it is left.

    :raises FlopsError: as `embedded_mesh`
    """
    with bare_errors():
        async with create_task_group() as group:
            scope = CancelScope()
            group.start_soon(_end_at_signal, scope, output)
            with scope:
                async with embedded_mesh(
                    state,
                    ports=ports,
                    with_mlflow=with_mlflow,
                    broker_kind=broker_kind,
                    registry=registry,
                    tell=lambda sentence: output.errors.print(f"[yellow]{escape(sentence)}[/]"),
                ) as mesh:
                    _say_ready(mesh, output)
                    group.start_soon(_say_mlflow, mesh, output)
                    await sleep_forever()
            group.cancel_scope.cancel()
    if not output.json:
        output.console.print("Everything is stopped. State stays in", str(state.root))


async def _end_at_signal(scope: CancelScope, output: Output) -> None:
    # Received for as long as we run: a second Ctrl-C must not cut the stopping short and leave processes behind.
    with open_signal_receiver(*ENDING) as signals:
        async for _ in signals:
            if not scope.cancel_called and not output.json:
                output.console.print("Stopping the mesh and what runs on it…")
            scope.cancel()


def _say_ready(mesh: EmbeddedMesh, output: Output) -> None:
    if output.json:
        output.document(
            {
                "ready": True,
                "seconds": round(mesh.ready_seconds, 2),
                "broker": mesh.broker,
                "broker_kind": mesh.broker_kind,
                "mlflow": mesh.mlflow,
                "registry": mesh.registry,
                "state": str(mesh.state.root),
            }
        )
        return
    if mesh.broker_kind == "iotcore":
        output.errors.print(NO_ISOLATION)
    output.console.print(f"[bold green]The mesh is ready[/] after {mesh.ready_seconds:.1f} s.")
    output.console.print(f"  broker  {mesh.broker} ({mesh.broker_kind})")
    output.console.print(f"  images  {escape(mesh.registry)}")
    output.console.print(f"  state   {escape(str(mesh.state.root))}")
    if mesh.mlflow is not None:
        output.console.print(f"  MLflow  {mesh.mlflow} [dim](still starting)[/]")
    output.console.print("Ctrl-C stops everything. In another terminal: flops submit FILE, flops list, flops --help")


async def _say_mlflow(mesh: EmbeddedMesh, output: Output) -> None:
    await mesh.mlflow_up.wait()
    if output.json:
        output.document({"mlflow_ready": True, "mlflow": mesh.mlflow})
    else:
        output.console.print(f"MLflow answers at {mesh.mlflow}")
