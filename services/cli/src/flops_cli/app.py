"""Puts the command line together, and turns what happens into exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import click
import typer
from flops_protocol.errors import FlopsError

from flops_cli.commands import base, data, images, mesh, projects, protocol, reading
from flops_cli.exits import ExitCode, of_error
from flops_cli.output import Output

app = typer.Typer(
    name="flops",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Federated learning from a repository and a small JSON document.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 no mesh, 4 timeout, 5 cancelled, 130 interrupted.",
)
PROJECTS, READING, MESH = "Projects", "Looking", "Mesh"
app.command(rich_help_panel=PROJECTS)(projects.submit)
app.command(rich_help_panel=PROJECTS)(projects.plan)
app.command(rich_help_panel=PROJECTS)(projects.cancel)
app.command(rich_help_panel=PROJECTS)(projects.retry)
app.command("list", rich_help_panel=READING)(projects.list_projects)
app.command(rich_help_panel=READING)(projects.show)
app.command(rich_help_panel=READING)(reading.watch)
app.command(rich_help_panel=READING)(reading.history)
app.command(rich_help_panel=READING)(reading.logs)
app.command(rich_help_panel=READING)(reading.nodes)
app.command(rich_help_panel=MESH)(mesh.up)
app.command(rich_help_panel=MESH)(mesh.demo)
app.command(rich_help_panel=MESH)(mesh.ui)
app.command(rich_help_panel=MESH)(base.base)
app.add_typer(data.app, name="data", rich_help_panel=MESH)
app.add_typer(images.app, name="images", rich_help_panel=MESH)
app.add_typer(protocol.app, name="protocol", rich_help_panel=MESH)


@app.callback()
def root(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=lambda v: _version(v)),
    ] = False,
) -> None:
    """Federated learning from a repository and a small JSON document."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flops {version('flops-cli')}")
        raise typer.Exit


def main() -> None:
    """Runs the command line of this process, and ends it with the code that exits.py names."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command line, and gives back its exit code. Whatever a person can act on is said in one piece."""
    output = Output(json="--json" in arguments)
    try:
        # click's own mode would end the process, and with 1 at a Ctrl-C.
        outcome = app(arguments, prog_name="flops", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (KeyboardInterrupt, click.exceptions.Abort):
        output.errors.print("Interrupted.")
        return ExitCode.INTERRUPTED
    except FlopsError as error:
        output.error(error.body, getattr(error, "mistakes", ()))
        return of_error(error.body)
    return outcome if isinstance(outcome, int) else ExitCode.OK
