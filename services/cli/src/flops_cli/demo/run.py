"""The demo from its first to its last step."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import orjson
from anyio import fail_after, run_process, to_thread
from flops_protocol.channels import SUBMIT
from flops_protocol.errors import FlopsError
from flops_protocol.messages.requests import SubmitRequest
from rich.markup import escape

from flops_cli.adapters.mqtt import connected
from flops_cli.data import folder
from flops_cli.demo import digits, report
from flops_cli.demo.example import EXAMPLES, find, make_repository
from flops_cli.exits import ExitCode
from flops_cli.mesh.embedded import embedded_mesh
from flops_cli.mesh.foreground import NO_ISOLATION
from flops_cli.mesh.health import until_healthy
from flops_cli.mesh.state import StateFolder
from flops_cli.options import STATE
from flops_cli.output import Output
from flops_cli.session import ask
from flops_cli.watching.watch import End, watch_project

LEARNERS, ROUNDS = 2, 3
SHOWN_DIGITS = 10
MLFLOW_SECONDS = 60.0
PROOF_SECONDS = 120.0


@dataclass(frozen=True)
class Place:
    """The mesh that the demo runs on."""

    state: StateFolder
    broker: str
    mlflow: str | None
    own: bool
    """Whether the demo started it."""


async def demo(example: str, output: Output, *, state: Path | None, keep: bool) -> ExitCode:
    """Runs a whole project on this machine and proves its result; nothing is left running.

    :raises ExamplesMissing: when the examples are not here
    :raises FlopsError: when the mesh does not start or refuses
    """
    source = find(example)
    async with _workplace(state, keep=keep) as home, _mesh(home, output) as place:
        repository = home / "demo" / f"{example}-{os.urandom(2).hex()}"
        commit = await make_repository(source, repository)
        _say(output, f"The repository: {repository} at {commit[:12]}")
        rows = await to_thread.run_sync(_add_digits, home, place.state)
        _say(output, f"The data: {rows} digits under the tag {digits.TAG}")
        end = await _train(repository, place, output)
        if end.exit_code is not ExitCode.OK:
            return end.exit_code
        proof = await _prove(end, place)
        _show(end, proof, output)
    if not output.json:
        _say_next(example, output, place, keep=keep or state is not None)
    return ExitCode.OK


@asynccontextmanager
async def _workplace(state: Path | None, *, keep: bool) -> AsyncIterator[Path]:
    """The folder for everything: the one that was named, or that of a mesh that runs here, or a temporary one, which
    goes again unless it shall be kept."""
    named = StateFolder(state or STATE)
    if state is not None or named.held:
        yield named.root
        return
    made = Path(tempfile.mkdtemp(prefix="flops-demo-"))
    try:
        yield made
    finally:
        if not keep:
            await to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))


@asynccontextmanager
async def _mesh(home: Path, output: Output) -> AsyncIterator[Place]:
    """The mesh that runs on the folder, or a new one for as long as the demo takes."""
    state = StateFolder(home)
    running = state.mesh()
    if running is not None and state.held:
        _say(output, f"The mesh: {running.broker}, which runs already")
        yield Place(state, running.broker, running.mlflow, own=False)
        return
    async with embedded_mesh(
        state, tell=lambda sentence: output.errors.print(f"[yellow]{escape(sentence)}[/]")
    ) as mesh:
        if mesh.broker_kind == "iotcore" and not output.json:
            output.errors.print(NO_ISOLATION)
        _say(output, f"The mesh: {mesh.broker} ({mesh.broker_kind}), ready after {mesh.ready_seconds:.1f} s")
        yield Place(state, mesh.broker, mesh.mlflow, own=True)


def _add_digits(home: Path, state: StateFolder) -> int:
    path = home / "demo" / "digits.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    digits.write(path)
    return sum(entry.rows for entry in folder.add(state.data, digits.TAG, [path]))


async def _train(repository: Path, place: Place, output: Output) -> End:
    sla = {
        "ml_repo_url": str(repository),
        "ml_model_flavor": "sklearn",
        "training_configuration": {
            "mode": "classic",
            "data_tags": [digits.TAG],
            "training_cycles": 1,
            "training_rounds": ROUNDS,
            "min_available_clients": LEARNERS,
            "min_fit_clients": LEARNERS,
            "min_evaluate_clients": LEARNERS,
        },
    }
    path = repository.with_suffix(".sla.json")
    await to_thread.run_sync(path.write_bytes, orjson.dumps(sla, option=orjson.OPT_INDENT_2))
    _say(output, f"The SLA: {path}")
    async with connected(place.broker) as bus:
        reply = await ask(bus, SUBMIT, SubmitRequest(sla=orjson.dumps(sla).decode()), timeout=60)
        _say(output, f"The project: {reply.project}\n")
        return await watch_project(bus, reply.project or "", output, quiet=output.json)


async def _prove(end: End, place: Place) -> dict[str, object]:
    """Loads the logged model in a process of its own, and predicts.

    :raises FlopsError: FLOPS-T016 when the model cannot be loaded
    """
    training = end.status.training
    if training is None or training.model_uri is None or place.mlflow is None:
        raise FlopsError("FLOPS-T016", "The project completed without a model in MLflow")
    try:
        with fail_after(MLFLOW_SECONDS):
            await until_healthy(place.mlflow)
        with fail_after(PROOF_SECONDS):
            done = await run_process(
                [sys.executable, "-m", "flops_cli.demo.proof", training.model_uri, str(SHOWN_DIGITS)],
                env=os.environ | {"MLFLOW_TRACKING_URI": place.mlflow, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stderr=PIPE,
                check=False,
            )
    except TimeoutError:
        raise FlopsError("FLOPS-T015", f"{place.mlflow} gave no model in time") from None
    if done.returncode != 0:
        raise FlopsError(
            "FLOPS-T016", f"{training.model_uri} cannot be loaded:\n{done.stderr.decode(errors='replace')}"
        )
    answer: dict[str, object] = orjson.loads(done.stdout.splitlines()[-1])
    return answer


def _show(end: End, proof: dict[str, object], output: Output) -> None:
    training = end.status.training
    if output.json:
        output.document(
            {
                "project": end.status.project,
                "status": end.status,
                "summary": end.summary,
                "rounds": [end.rounds[number] for number in sorted(end.rounds)],
                "stage_seconds": report.stage_seconds(end),
                "prediction": proof,
            }
        )
        return
    output.console.print()
    report.show_rounds(end, output)
    output.console.print()
    report.show_stages(end, output)
    if training is not None:
        output.console.print(f"\nMLflow run {training.mlflow_run}\nModel      {training.model_uri}")
    output.console.print(
        "\nThe model, loaded from MLflow, looks at digits:\n"
        f"  is        {proof['expected']}\n"
        f"  predicted {proof['predicted']}\n"
        f"  right: {proof['correct']} of {proof['total']}"
    )


def _say_next(example: str, output: Output, place: Place, *, keep: bool) -> None:
    other = next(name for name in EXAMPLES if name != example)
    steps = [(f"flops demo --example {other}", "another kind of model")]
    if keep:
        steps.append((f"flops ui --state {place.state.root}", "metrics and models in MLflow"))
        steps.append((f"flops up --state {place.state.root}", "the same mesh again"))
    else:
        steps.append(("flops demo --keep", "the same, and everything stays to be looked at"))
    steps.append(("flops up", "a mesh for your own projects; then: flops submit FILE"))
    steps.append(("docs/getting-started.md", "your own repository, data and SLA, step by step"))
    width = max(len(command) for command, _ in steps)
    output.console.print("\n[bold]What next[/]")
    for command, what in steps:
        output.console.print(f"  {command.ljust(width)}  [dim]{what}[/]")


def _say(output: Output, sentence: str) -> None:
    if not output.json:
        output.console.print(f"[bold]{escape(sentence.partition(':')[0])}[/]:{escape(sentence.partition(':')[2])}")
