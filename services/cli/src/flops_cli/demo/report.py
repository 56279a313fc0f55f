"""What the demo shows at its end."""

from __future__ import annotations

from flops_protocol.messages.project import ProjectStage
from rich.table import Table

from flops_cli.output import Output
from flops_cli.watching.screen import round_cells
from flops_cli.watching.watch import End

FLOPS_MEDIANS: dict[ProjectStage, tuple[float, str]] = {
    ProjectStage.BUILDING: (455, "65 to pull the builder, 390 to build the images"),
    ProjectStage.DEPLOYING: (60, "to start aggregator and learners"),
    ProjectStage.TRAINING: (65, "MNIST, 2 learners, 3 rounds"),
}
"""Seconds a stage of FLOps: medians of the raw data that was published with the thesis behind it, ten runs of its
simplest project (scikit-learn, MNIST, 2 learners, 3 rounds, amd64), stages polled every 30 s, hardware not recorded."""


def stage_seconds(end: End) -> dict[ProjectStage, float]:
    """How long each stage took, by the observer's summary."""
    spans = [] if end.summary is None else end.summary.stages
    return {span.stage: span.seconds or 0.0 for span in spans}


def show_stages(end: End, output: Output) -> None:
    """The stage table, with FLOps's figures beside ours: other data and another machine, the same steps."""
    table = Table(title="Seconds a stage", title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("stage")
    table.add_column("here", justify="right")
    table.add_column("FLOps, median", justify="right")
    table.add_column("")
    seconds = stage_seconds(end)
    for stage, taken in seconds.items():
        median, what = FLOPS_MEDIANS.get(stage, (None, ""))
        table.add_row(stage.value, f"{taken:.2f}", "" if median is None else f"{median:.0f}", f"[dim]{what}[/]")
    compared = sum(median for median, _ in FLOPS_MEDIANS.values())
    table.add_row("[bold]all[/]", f"[bold]{sum(seconds.values()):.2f}[/]", f"[bold]{compared:.0f}[/]", "")
    output.console.print(table)


def show_rounds(end: End, output: Output) -> None:
    """Accuracy and loss by round."""
    table = Table(title="Rounds", title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("round", "accuracy", "loss", "learners", "samples", "seconds"):
        table.add_column(column, justify="right")
    for number in sorted(end.rounds):
        table.add_row(*round_cells(end.rounds[number]))
    output.console.print(table)
