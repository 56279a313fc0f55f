"""`flops ui`: MLflow's pages, whether the mesh runs or not."""

from __future__ import annotations

import signal

from anyio import CancelScope, create_task_group, move_on_after, open_signal_receiver, sleep_forever
from flops_protocol.errors import FlopsError

from flops_cli.bare import bare_errors
from flops_cli.mesh import services
from flops_cli.mesh.health import healthy, until_healthy
from flops_cli.mesh.ports import HOST, choose
from flops_cli.mesh.state import StateFolder
from flops_cli.mesh.supervisor import Supervisor
from flops_cli.output import Output

READY_SECONDS = 60.0


async def mlflow_ui(state: StateFolder, output: Output, *, port: int | None) -> None:
    """Says where the mesh's MLflow is; where none answers, starts one on the state folder until a signal ends it.

    :raises FlopsError: FLOPS-P009 when the wanted port is taken, FLOPS-P010 when MLflow does not start
    """
    mesh = state.mesh()
    if mesh is not None and mesh.mlflow is not None and await healthy(mesh.mlflow):
        _say(mesh.mlflow, output)
        return
    state.make()
    chosen = choose(port)
    url = f"http://{HOST}:{chosen}"
    supervisor = Supervisor(state.root, state.logs, tell=output.errors.print, changed=lambda: None)
    with bare_errors():
        async with create_task_group() as group:
            scope = CancelScope()
            group.start_soon(_end_at_signal, scope)
            with scope:
                try:
                    await supervisor.start(services.mlflow(state, chosen), group)
                    with move_on_after(READY_SECONDS) as waiting:
                        await until_healthy(url)
                    if waiting.cancelled_caught:
                        raise FlopsError("FLOPS-P010", f"MLflow does not answer: {supervisor.tail('mlflow')}")
                    _say(url, output)
                    if not output.json:
                        output.console.print("Ctrl-C stops it.")
                    await sleep_forever()
                finally:
                    with CancelScope(shield=True):
                        await supervisor.stop("mlflow")
            group.cancel_scope.cancel()


def _say(url: str, output: Output) -> None:
    if output.json:
        output.document({"mlflow": url})
    else:
        output.console.print(f"MLflow is at [bold]{url}[/]")


async def _end_at_signal(scope: CancelScope) -> None:
    with open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()
