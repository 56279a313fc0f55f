"""How replies look to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flops_protocol.messages.mesh import NodeStatus
from flops_protocol.messages.project import ProjectSpec, ProjectStage, ProjectStatus
from flops_protocol.messages.requests import ProjectSummary, Reply
from flops_registry.housekeeping.interface import Removed, StoredImage
from rich.markup import escape
from rich.table import Table

from flops_cli.output import Output, error_text

COLOURS = {
    ProjectStage.COMPLETED: "green",
    ProjectStage.FAILED: "red",
    ProjectStage.CANCELLED: "yellow",
}


def submitted(output: Output, reply: Reply) -> None:
    """What came of a submit."""
    known = "" if reply.created is not False else " [dim](it was submitted before with this token)[/]"
    output.console.print(f"Project [bold]{reply.project}[/]{known}")
    for notice in reply.notices:
        output.console.print(f"  [yellow]notice[/] {escape(notice)}")


def images(output: Output, found: Sequence[StoredImage], projects: Mapping[str, Sequence[str]]) -> None:
    """The images of a registry."""
    if not found:
        output.console.print("No images yet: the first project of a repository brings them.")
        return
    table = _table("repository", "commit", "image key", "platforms", "size", "last used", "projects")
    for image in found:
        table.add_row(
            escape(image.slug),
            image.commit[:12],
            image.image_key.removeprefix("sha256:")[:12],
            ", ".join(image.platforms),
            f"{image.bytes / 1e6:.1f} MB",
            "not known" if image.last_used is None else f"{image.last_used:%Y-%m-%d %H:%M}",
            ", ".join(projects.get(image.image_key, ())),
        )
    output.console.print(table)


def pruned(output: Output, removed: Removed, *, dry_run: bool) -> None:
    """What has been removed from a registry."""
    for image in removed.images:
        output.console.print(
            f"{'would go' if dry_run else 'removed'}  [bold]{escape(image.slug)}[/] {image.commit[:12]}  "
            f"[dim]{image.image_key.removeprefix('sha256:')[:12]}[/]"
        )
    if not removed.images:
        output.console.print("Nothing is that old.")
    elif not dry_run:
        freed = "the registry frees their bytes" if removed.bytes is None else f"{removed.bytes / 1e6:.1f} MB are free"
        output.console.print(f"{len(removed.images)} images are gone; {freed}.")


def projects(output: Output, found: list[ProjectSummary]) -> None:
    """A list of projects."""
    if not found:
        output.console.print("No projects yet: `flops submit FILE` starts one, `flops demo` shows one.")
        return
    table = _table("project", "stage", "since", "accuracy", "repository")
    for item in found:
        stage = _stage(item.stage)
        if item.error:
            stage += f" [dim]{escape(item.error)}[/]"
        accuracy = "" if item.accuracy is None else f"{item.accuracy:.3f}"
        table.add_row(item.project, stage, ago(item.stage_since), accuracy, escape(item.repository_url))
    output.console.print(table)


def project(output: Output, status: ProjectStatus, spec: ProjectSpec | None) -> None:
    """Everything about one project."""
    rows = [
        ("stage", f"{_stage(status.stage)} [dim]since {ago(status.stage_since)}[/]"),
        ("submitted", f"{status.submitted_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("repository", escape(status.repository_url)),
        ("commit", status.commit or ""),
    ]
    if status.attempt > 1:
        rows.append(("attempt", str(status.attempt)))
    if status.deadline is not None and not status.stage.ended:
        rows.append(("deadline", f"{status.deadline:%Y-%m-%d %H:%M:%S} UTC"))
    if spec is not None and spec.sla.training_configuration.data_tags:
        rows.append(("data tags", escape(", ".join(spec.sla.training_configuration.data_tags))))
    if status.images is not None:
        rows.append(("images", f"{status.images.lookup}, Python {status.images.python}"))
        rows.append(("image key", status.images.image_key))
    rows += [(f"{actor.role}", f"{actor.instance} on {actor.node}: {escape(actor.state)}") for actor in status.actors]
    if status.training is not None:
        best = status.training.best
        rows.append(("best round", f"{best.round}: accuracy {best.accuracy:.4f}, loss {best.loss:.4f}"))
        rows.append(("MLflow run", status.training.mlflow_run or ""))
        rows.append(("model", status.training.model_uri or ""))
    rows += [("notice", escape(notice)) for notice in status.notices]
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[dim]{name}[/]", value)
    output.console.print(f"[bold]{status.project}[/]")
    output.console.print(table)
    if status.error is not None:
        output.console.print(error_text(status.error))


def nodes(output: Output, found: list[NodeStatus]) -> None:
    """The nodes of the mesh, a few lines each: a table of all of this fits no terminal."""
    for node in sorted(found, key=lambda node: node.node):
        state = "" if node.state == "up" else " [red]down[/]"
        pythons = f", Python {', '.join(sorted(node.pythons))}" if node.pythons else ""
        output.console.print(f"[bold]{node.node}[/]{state}  {node.engine}, {node.platform}{pythons}")
        room = f"{node.cpus} CPUs, {size(node.memory_bytes)} of memory, {size(node.disk_free_bytes)} of disk free"
        output.console.print(f"  {', '.join(node.capabilities)}; {node.actors} actors; {room}")
        for tag in node.data_tags:
            columns = ", ".join(tag.columns)
            output.console.print(
                f"  data [bold]{escape(tag.tag)}[/]  {tag.rows} rows, {size(tag.bytes)}  [dim]{escape(columns)}[/]"
            )


def ago(moment: datetime) -> str:
    """How long ago a moment was."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.0f} TB"


def _stage(stage: ProjectStage) -> str:
    return f"[{COLOURS.get(stage, 'cyan')}]{stage}[/]"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
