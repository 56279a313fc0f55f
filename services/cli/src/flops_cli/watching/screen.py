"""How a running project looks: stages with bars, rounds with metrics."""

from __future__ import annotations

from datetime import UTC, datetime

from flops_protocol.messages.actors import BuildProgress, RoundReport
from flops_protocol.messages.observer import StageSpan, Summary, TimelineEntry
from flops_protocol.messages.project import ProjectStage
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

LEVELS = {"info": "", "notice": "yellow", "warning": "yellow", "error": "red"}
STEPS = {
    ProjectStage.ACCEPTED: "1",
    ProjectStage.RESOLVING: "1",
    ProjectStage.BUILDING: "2-3",
    ProjectStage.DEPLOYING: "4",
    ProjectStage.TRAINING: "5",
    ProjectStage.PACKAGING: "6",
    ProjectStage.SERVING: "7",
}
WAY = (
    ProjectStage.ACCEPTED,
    ProjectStage.RESOLVING,
    ProjectStage.BUILDING,
    ProjectStage.DEPLOYING,
    ProjectStage.TRAINING,
)
MAX_ROUNDS = 10
BAR = 28


def line(entry: TimelineEntry) -> str:
    """A timeline line, in rich's markup."""
    step = str(entry.step) if entry.step else "*"
    colour = LEVELS[entry.level]
    text = escape(entry.text)
    return f"[dim]{entry.at:%H:%M:%S}[/] [cyan]{step}[/] " + (f"[{colour}]{text}[/]" if colour else text)


class Screen:
    """What is shown below the timeline while a project runs."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._summary: Summary | None = None
        self._progress: BuildProgress | None = None
        self._rounds: dict[int, RoundReport] = {}

    def show_summary(self, summary: Summary) -> None:
        """The newest summary."""
        self._summary = summary

    def show_progress(self, progress: BuildProgress) -> None:
        """The newest progress of the build."""
        self._progress = progress

    def show_round(self, report: RoundReport) -> None:
        """A round that is done."""
        self._rounds[report.round] = report

    def __rich__(self) -> RenderableType:
        summary = self._summary
        if summary is None:
            return Spinner("dots", text=f"{self._project}: waiting for the observer")
        parts: list[RenderableType] = [
            Text.from_markup(f"\n[bold]{self._project}[/]  {summary.percent:.0f} %  [dim]{escape(summary.text)}[/]"),
            self._stages(summary),
        ]
        if summary.learners and not summary.stage.ended:
            learners = ", ".join(f"{name} {state}" for name, state in summary.learners.items())
            parts.append(Text.from_markup(f"[dim]learners[/]  {escape(learners)}"))
        if self._rounds:
            parts.append(self._round_table())
        return Group(*parts)

    def _stages(self, summary: Summary) -> Table:
        table = Table.grid(padding=(0, 2))
        spans = {span.stage: span for span in summary.stages}
        current = summary.stage
        for stage in WAY:
            span = spans.get(stage)
            if span is None and current is not ProjectStage.COMPLETED:
                table.add_row("[dim]·[/]", f"[dim]{STEPS[stage]}[/]", f"[dim]{stage}[/]", "", "")
            elif span is not None and stage is current:
                table.add_row(
                    "[cyan]>[/]", STEPS[stage], f"[bold]{stage}[/]", self._bar(stage, summary), _running(span, summary)
                )
            elif span is not None:
                mark = "[red]x[/]" if current is ProjectStage.FAILED and span is summary.stages[-1] else "[green]✓[/]"
                table.add_row(
                    mark, STEPS[stage], str(stage), ProgressBar(100, 100, width=BAR), f"{span.seconds or 0:.1f} s"
                )
        return table

    def _bar(self, stage: ProjectStage, summary: Summary) -> ProgressBar:
        if stage is ProjectStage.BUILDING:
            percent = self._progress.percent if self._progress is not None else summary.build_percent
            return ProgressBar(100, percent or 0, width=BAR, pulse=percent is None)
        if stage is ProjectStage.TRAINING and summary.rounds:
            return ProgressBar(summary.rounds, summary.round, width=BAR)
        return ProgressBar(None, width=BAR, pulse=True)

    def _round_table(self) -> Table:
        table = Table(box=None, header_style="dim", padding=(0, 2))
        for column in ("round", "accuracy", "loss", "learners", "samples", "seconds"):
            table.add_column(column, justify="right")
        for number in sorted(self._rounds)[-MAX_ROUNDS:]:
            table.add_row(*round_cells(self._rounds[number]))
        return table


def round_cells(report: RoundReport) -> tuple[str, str, str, str, str, str]:
    """A round as cells: number, accuracy, loss, learners that trained, samples, seconds."""
    metrics = report.metrics
    return (
        f"{report.round}/{report.rounds}{' ★' if report.best else ''}",
        "" if metrics is None else f"{metrics.accuracy:.4f}",
        "" if metrics is None else f"{metrics.loss:.4f}",
        str(len(report.trained)),
        str(report.samples),
        f"{report.seconds:.2f}",
    )


def _running(span: StageSpan, summary: Summary) -> str:
    seconds = max(0.0, (datetime.now(UTC) - span.started_at).total_seconds())
    left = "" if summary.estimate_seconds is None else f" [dim]about {summary.estimate_seconds:.0f} s left[/]"
    return f"{seconds:.0f} s{left}"
