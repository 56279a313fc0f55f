"""`flops protocol`: the contracts, for whoever writes a service or a reader of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flops_cli import options
from flops_cli.output import Output

app = typer.Typer(no_args_is_help=True, help="The mesh's contracts.")
PREFIX = "protocol/schemas/"


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to write; made if need be.")],
    *,
    json: options.Json = False,
) -> None:
    """Write the JSON Schema of every message, and the AsyncAPI document of all topics, into a folder."""
    from flops_protocol.schemas import documents

    written = []
    for path, text in documents().items():
        if path.startswith(PREFIX):
            target = folder / path.removeprefix(PREFIX)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            except OSError as error:
                raise typer.BadParameter(f"{target} cannot be written: {error}", param_hint="DIR") from error
            written.append(str(target))
    output = Output(json=json)
    if json:
        output.document({"files": written})
    else:
        output.console.print(f"{len(written)} documents are in {folder}")
