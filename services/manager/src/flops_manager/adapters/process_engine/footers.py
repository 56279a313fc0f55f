"""`python -m flops_manager.adapters.process_engine.footers`: reads the footers of Parquet files, by itself.

Paths come on standard input, one after each NUL; a JSON list of what each one says goes to standard output, None for a
file that is no Parquet. What reads Parquet takes as much memory as the rest of the manager together, and is needed only
when data has changed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile


def read(path: str) -> dict[str, Any] | None:
    """How many rows a file has, and the Arrow types of its columns; None when it is no Parquet."""
    try:
        with ParquetFile(path) as file:
            return {
                "rows": file.metadata.num_rows,
                "columns": {field.name: str(field.type) for field in file.schema_arrow},
            }
    except (OSError, ArrowException) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return None


if __name__ == "__main__":
    json.dump([read(path) for path in sys.stdin.read().split("\0") if path], sys.stdout)
