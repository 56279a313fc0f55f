"""`flops data`: the data of this machine's node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flops_cli import options
from flops_cli.data import folder
from flops_cli.data.folder import DataFile
from flops_cli.mesh.state import StateFolder
from flops_cli.output import Output

app = typer.Typer(no_args_is_help=True, help="The data of this machine's node.")


@app.command("add")
def add(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True, metavar="FILE…", help="Parquet, CSV, .npz, .npy, or a folder of images, one subfolder a label."
        ),
    ],
    *,
    tag: Annotated[str, typer.Option("--tag", help="The tag that SLAs name in data_tags.")],
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Add files under a tag; learners on this node may then train on them. The files stay where they are."""
    try:
        folder.check_tag(tag)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tag") from error
    home = StateFolder(state)
    home.make()
    _show(folder.add(home.data, tag, files), Output(json=json))


@app.command("list")
def list_data(*, state: options.State = options.STATE, json: options.Json = False) -> None:
    """List what this machine's node has: files, rows and columns by tag."""
    output = Output(json=json)
    found = folder.listing(StateFolder(state).data)
    if not found and not json:
        output.console.print("No data yet: add some with `flops data add --tag TAG FILE…`.")
        return
    _show(found, output)


def _show(files: list[DataFile], output: Output) -> None:
    if output.json:
        output.document([entry.as_json() for entry in files])
        return
    for entry in files:
        columns = ", ".join(f"{name} ({kind})" for name, kind in entry.columns.items())
        output.console.print(f"[bold]{entry.tag}[/]/{entry.file}  {entry.rows} rows  [dim]{columns}[/]")
