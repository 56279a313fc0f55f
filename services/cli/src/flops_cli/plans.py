"""How a plan looks to people: will it work, what is changed, how long it takes, and where it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flops_protocol.messages.plans import BuildForecast, PlatformForecast, Repair
from flops_protocol.messages.requests import NodeVerdict, PlanReport
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flops_cli.output import Output, error_text
from flops_cli.tables import size

WAYS = {"assembled": "assembled from wheels", "conda": "from conda's channels", "engine": "on an engine's image"}
"""How people call the ways; one that is not known yet goes by its own name."""
TIMED = ("building", "deploying", "training")
"""The stages that take time; the others are over before one has read of them."""


def plan(output: Output, report: PlanReport) -> None:
    """What a submit would do. Lines are as long as the terminal is wide, and no longer."""
    for part in _parts(report):
        output.console.print(part, soft_wrap=False)


def _parts(report: PlanReport) -> Iterator[RenderableType]:
    yield Text.from_markup(f"[bold]{escape(report.repository_url)}[/] at {report.commit[:12]}", overflow="fold")
    yield Text.from_markup(_verdict(report))
    yield _facts(report)
    if report.build is not None:
        changes = merged(report.build.repairs)
        if changes:
            yield _section("Changed", Group(*(_change(each) for each in changes)))
    yield _section("Nodes", _nodes(report.placement))
    warnings = [*report.notices, *(report.build.warnings if report.build else [])]
    if warnings:
        yield _section("Warnings", _listed(warnings, "[yellow]![/]"))
    if report.errors:
        yield _section("Errors", Group(*(error_text(error) for error in report.errors)))


def _verdict(report: PlanReport) -> str:
    if report.errors:
        number = len(report.errors)
        return f"[bold red]It would fail[/]: {number} {'mistake' if number == 1 else 'mistakes'}, see below."
    known = [report.seconds[stage] for stage in TIMED if stage in report.stages and stage in report.seconds]
    unknown = [stage for stage in TIMED if stage in report.stages and stage not in report.seconds]
    took = f", in about {duration(sum(known))}" if known else ""
    took += f" without {' and '.join(unknown)}" if known and unknown else ""
    changes = len(merged(report.build.repairs)) if report.build else 0
    changed = f" {changes} {'change' if changes == 1 else 'changes'} to what is asked for." if changes else ""
    return f"[bold green]It would run[/]{took}.{changed}"


def _facts(report: PlanReport) -> Table:
    rows: list[tuple[str, RenderableType]] = []
    if report.image == "found":
        key = (report.image_key or "").removeprefix("sha256:")[:12]
        rows.append(("images", Text.from_markup(f"[green]found[/], nothing to build ({key})")))
    else:
        rows.append(("images", Text.from_markup(f"[yellow]to build[/]. {escape(report.missed or '')}")))
    build = report.build
    if build is not None and build.file is not None:
        rows.append(("packages", Text(f"from {build.file}")))
    if build is not None and build.python is not None:
        rows.append(("Python", Text(f"{build.python}: {build.python_why}")))
    platforms = build.platforms if build is not None else []
    rows += [
        (each.platform, Text(f"{WAYS.get(each.way, each.way)}: {each.why}\n{_amount(each)}")) for each in platforms
    ]
    rows += [(stage, Text(_time(stage, report))) for stage in TIMED if stage in report.stages]
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _amount(each: PlatformForecast) -> str:
    parts = [f"{each.packages} {'package' if each.packages == 1 else 'packages'}"]
    if each.wheel_bytes is not None:
        unsized = f", {each.unsized} of unknown size" if each.unsized else ""
        parts.append(f"{size(each.wheel_bytes)} of wheels{unsized}")
    if each.layer_bytes is not None:
        parts.append(f"a layer of {size(each.layer_bytes)}, made already")
    return ", ".join(parts)


def _time(stage: str, report: PlanReport) -> str:
    limit = f"at most {duration(report.deadlines[stage])}" if stage in report.deadlines else ""
    if stage not in report.seconds:
        return f"nothing like it was seen yet; {limit}" if limit else "nothing like it was seen yet"
    why = _like(report.build) if stage == "building" and report.build else "as before"
    return f"about {duration(report.seconds[stage])}, {why}{'; ' if limit else ''}{limit}"


def _like(build: BuildForecast) -> str:
    if not build.phase_seconds:
        return "at a guess: no such build was seen here yet"
    return "as the last one of known packages" if build.kind == "kept" else "as the last one of new packages"


@dataclass(frozen=True)
class Change:
    """What becomes of one requirement, by however many rules."""

    before: str
    after: str | None
    place: str
    rules: tuple[tuple[str, str], ...]
    """Name and reason of each."""


def merged(repairs: Sequence[Repair]) -> list[Change]:
    """The changes, those that follow on each other as one; those of a file by its lines, what is added at the end."""
    found: list[Change] = []
    ordered = sorted(repairs, key=lambda each: (each.file is None, each.file or "", each.line or 0))
    for each in ordered:
        place = "" if each.file is None else f"{each.file}:{each.line}" if each.line else each.file
        last = found[-1] if found else None
        if last is not None and place and (last.place, last.after) == (place, each.before):
            found[-1] = Change(last.before, each.after, place, (*last.rules, (each.rule, each.why)))
        else:
            found.append(Change(each.before, each.after, place, ((each.rule, each.why),)))
    return found


def _change(change: Change) -> RenderableType:
    lines = []
    if change.place:
        lines.append(f"[dim]{escape(change.place)}[/]")
    if change.before:
        lines.append(f"[red]- {escape(change.before)}[/]")
    if change.after is not None:
        lines.append(f"[green]+ {escape(change.after)}[/]")
    whys = [
        Padding(Text.from_markup(f"[dim]{rule}[/]: {escape(why)}"), (0, 0, 0, 2), expand=False)
        for rule, why in change.rules
    ]
    return Group(*(Text.from_markup(line) for line in lines), *whys)


def _nodes(verdicts: Sequence[NodeVerdict]) -> Table:
    table = Table.grid(padding=(0, 2), expand=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in verdicts:
        number = f" x {verdict.count}" if verdict.count > 1 else ""
        role = f"[green]+ {verdict.role}{number}[/]" if verdict.taken else f"[dim]- {verdict.role}[/]"
        table.add_row(verdict.node, role, Text(verdict.reason))
    return table


def _listed(texts: Sequence[str], bullet: str) -> Table:
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for text in texts:
        table.add_row(bullet, Text(text))
    return table


def _section(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), Padding(content, (0, 0, 0, 2), expand=False))


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return "1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
