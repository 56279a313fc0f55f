"""A whole project, digits-sklearn with 2 learners and 3 rounds: without an image, and with the image found.

uv's own cache is warmed by a first project on another state folder; the mesh that is measured starts with an empty one.
FLOps's figures are the medians of the raw data that was published with the thesis behind it: MNIST instead of digits,
other hardware (not recorded), stages polled every 30 s. The steps are the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from flops_cli.demo import digits
from flops_cli.demo.report import FLOPS_MEDIANS

from tests.bench.table import machine, show
from tests.e2e.harness import EXAMPLES, Up, repository, sla

STAGES = ("accepted", "resolving", "building", "deploying", "training")
TARGETS = {"cold": 15.0, "image found": 6.0}


def main() -> None:
    """Measures, and prints the stage table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured (default 3)")
    repeat: int = parser.parse_args().repeat
    seen: dict[str, list[dict[str, float]]] = {"cold": [], "image found": []}
    with tempfile.TemporaryDirectory(prefix="flops-bench-") as folder:
        for number in range(repeat + 1):
            runs = measure(Path(folder) / str(number))
            if number:  # The first warms uv's cache.
                for kind, seconds in runs.items():
                    seen[kind].append(seconds)
    print(machine())
    rows: list[list[object]] = []
    for stage in STAGES:
        flops = next((median for name, (median, _) in FLOPS_MEDIANS.items() if name.value == stage), None)
        cold, found = (statistics.median(run.get(stage, 0.0) for run in seen[kind]) for kind in seen)
        rows.append([stage, cold, found, flops, None if flops is None else flops / cold])
    totals = {kind: statistics.median(run["total"] for run in runs) for kind, runs in seen.items()}
    compared = sum(median for median, _ in FLOPS_MEDIANS.values())
    rows.append(["submit to completed", *totals.values(), compared, compared / totals["cold"]])
    rows.append(["to reach", *TARGETS.values(), None, None])
    title = f"Seconds a stage, median of {repeat}"
    show(title, ["stage", "cold", "image found", "FLOps, median", "FLOps / cold"], rows)


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """One mesh from nothing; the project twice."""
    folder.mkdir()
    data = folder / "digits.parquet"
    digits.write(data)
    up = Up(folder / "state")
    added = up.flops("data", "add", "--tag", digits.TAG, str(data))
    assert added.code == 0, added.err
    up.start()
    try:
        up.wait_for_mlflow()
        url = repository(EXAMPLES / "digits-sklearn", folder / "digits-sklearn")
        document = sla(url, learners=2, rounds=3, tag=digits.TAG)
        return {kind: stage_seconds(up, document) for kind in TARGETS}
    finally:
        up.end()


def stage_seconds(up: Up, document: dict[str, Any]) -> dict[str, float]:
    """Runs the project to its end; seconds by stage, and `total` from submit to completed."""
    done = up.run_project(document, timeout=600)
    assert done.code == 0, f"{done.out}\n{done.err}"
    stages = {span["stage"]: float(span["seconds"]) for span in done.document["summary"]["stages"]}
    return stages | {"total": sum(stages.values())}


if __name__ == "__main__":
    main()
