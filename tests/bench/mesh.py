"""The embedded mesh: how long until it is ready, and the memory of each of its processes.

PSS is a process's memory with its share of what it shares with others (proc(5), smaps_rollup): these add up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from tests.bench.table import machine, show
from tests.e2e.harness import Up

READY = 4.0


def main() -> None:
    """Measures, and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="how often the start is measured (default 5)")
    repeat: int = parser.parse_args().repeat
    with tempfile.TemporaryDirectory(prefix="flops-bench-") as folder:
        first = [start(Path(folder) / f"new-{number}") for number in range(repeat)]
        again = [start(Path(folder) / "new-0") for _ in range(repeat)]
        processes = memory(Path(folder) / "memory")
    print(machine())
    show(
        f"Seconds until the embedded mesh is ready, without MLflow's server (to reach: {READY:g}), of {repeat}",
        ["state folder", "best", "median", "worst", "median / target"],
        [
            [name, min(seconds), statistics.median(seconds), max(seconds), statistics.median(seconds) / READY]
            for name, seconds in (("new", first), ("used", again))
        ],
    )
    show("Memory of each process, idle (MB)", ["process", "PSS", "RSS"], processes)


def start(state: Path) -> float:
    """Starts a mesh and ends it; seconds until it was ready."""
    up = Up(state, ["--no-mlflow"]).start()
    seconds = float(up.ready["seconds"])
    up.end()
    return seconds


def memory(state: Path) -> list[list[object]]:
    """Memory by process, MLflow's server included, and in all."""
    up = Up(state).start()
    try:
        up.wait_for_mlflow()
        named = {int(record["pid"]): name for name, record in mesh_processes(state)}
        assert up.process is not None
        named[up.process.pid] = "flops up"
        rows = [
            (named.get(pid) or f"child of {named.get(parent(pid), parent(pid))}", *usage(pid))
            for pid in sorted({*up.left(), up.process.pid})
        ]
        return [*map(list, rows), ["all", sum(pss for _, pss, _ in rows), sum(rss for _, _, rss in rows)]]
    finally:
        up.end()


def mesh_processes(state: Path) -> list[tuple[str, dict[str, int]]]:
    """The services of a mesh."""
    return list(json.loads((state / "mesh.json").read_text())["processes"].items())


def usage(pid: int) -> tuple[float, float]:
    """PSS and RSS in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    pairs = [line.split()[:2] for line in lines if line.endswith("kB")]
    fields = {name.rstrip(":"): float(value) for name, value in pairs}
    return fields["Pss"] / 1000, fields["Rss"] / 1000


def parent(pid: int) -> int:
    """The process that started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main()
