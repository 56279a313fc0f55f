"""Building images: cold, cached, one line of code changed, a second platform, and found.

uv's own cache is warm (a first build that is not measured sees to it); the builder's own cache is empty where it says
cold. Every figure is of one run of this program, and the ratios are against the cold build.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from flops_builder.outcome import Outcome
from flops_builder.settings import BuilderSettings

from tests.bench import peers
from tests.bench.table import machine, show
from tests.integration.builder.bench import Bench, Repository

REPOSITORY = Path(__file__).parent.parent.parent / "examples" / "digits-sklearn"
ONE = ("linux/amd64",)
OTHER = ("linux/arm64",)
BOTH = (*ONE, *OTHER)
AGAINST_PEERS = {
    "amd64": {"docker build, pip": 0.15, "docker build, uv": 0.5},
    "arm64": {"docker build, pip": 0.05, "docker build, uv": 0.3},
}
MEMORY = 400
SECOND_PLATFORM, CHANGED_LINE, PUSHED = 1.25, 0.2, 100_000


@dataclass
class Series:
    """What was measured of one kind of build."""

    seconds: list[float] = field(default_factory=list)
    outcome: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
        """Takes one build."""
        self.seconds.append(outcome.seconds)
        self.outcome = outcome


def main() -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="how often each build is measured (default 3)")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="a folder with an ML repository")
    parser.add_argument("--engine", help="a Docker engine, unix:///…: build there, and with buildah, too")
    parser.add_argument("--base", default="flops-base", help="the base image there, with a tag for each architecture")
    arguments = parser.parse_args()
    others: list[peers.Peer] = []
    with tempfile.TemporaryDirectory(prefix="flops-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        series = anyio.run(measure, folder, arguments.repository, arguments.repeat)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if arguments.engine:
            engine = peers.Engine(arguments.engine, arguments.base)
            others = peers.measure(engine, folder / "warm" / "registry", arguments.repository, folder / "peers")
    cold = statistics.median(series["cold"].seconds)
    targets = {
        "cold, second platform": SECOND_PLATFORM,
        "one line changed": CHANGED_LINE,
    }
    print(machine())
    show(
        f"Building {arguments.repository.name}: seconds from clone to pushed, of {arguments.repeat}",
        ["build", "best", "median", "worst", "median / cold", "to reach", "MB pushed"],
        [
            [
                name,
                min(each.seconds),
                statistics.median(each.seconds),
                max(each.seconds),
                statistics.median(each.seconds) / cold,
                f"≤ {targets[name]:g}" if name in targets else "",
                each.outcome.bytes_pushed / 1e6 if each.outcome else 0,
            ]
            for name, each in series.items()
        ],
    )
    changed = series["one line changed"].outcome
    pushed = changed.bytes_pushed if changed else 0
    print(f"\nOne changed line pushes {pushed} bytes (to reach: ≤ {PUSHED}).")
    print(f"\nPeak memory of the builder: {memory:.0f} MB (to reach: ≤ {MEMORY}).")
    phases = series["cold"].outcome.phase_seconds if series["cold"].outcome else {}
    show(
        "Phases of the last cold build; they overlap",
        ["phase", "seconds"],
        [[name, value] for name, value in phases.items()],
    )
    if others:
        _show_peers({"amd64": series["cold"], "arm64": series["cold, the other platform"]}, others)


def _show_peers(ours: Mapping[str, Series], others: Sequence[peers.Peer]) -> None:
    rows = []
    for architecture, series in ours.items():
        median = statistics.median(series.seconds)
        rows.append([architecture, "flops-mesh", median, 1.0, "", ""])
        for peer in others:
            wanted = AGAINST_PEERS[architecture].get(peer.name)
            to_reach = f"≤ {wanted:g}" if wanted else ""
            seconds = peer.cold[architecture]
            rows.append([architecture, peer.name, seconds, median / seconds, to_reach, peer.changed[architecture]])
    columns = ["platform", "build", "cold", "ours / its", "to reach", "one line changed"]
    show("The same images, built by others: seconds, downloads cached", columns, rows)


async def measure(folder: Path, source: Path, repeat: int) -> dict[str, Series]:
    """All builds, the kinds taken in turn so that a busy machine is unfair to all of them alike."""
    repository = Repository(folder / source.name)
    shutil.copytree(source, repository.folder, dirs_exist_ok=True)
    commit = repository.commit({})
    model = next(path for path in sorted(repository.folder.rglob("model_manager.py")))
    name, text = model.relative_to(repository.folder).as_posix(), model.read_text()
    series = {
        kind: Series()
        for kind in (
            "cold",
            "cold, second platform",
            "cold, the other platform",
            "dependencies cached",
            "one line changed",
            "image found",
        )
    }
    await build(folder / "warm", repository, commit, BOTH)
    for number in range(repeat):
        place = folder / f"round-{number}"
        series["cold"].add(await build(place / "one", repository, commit, ONE))
        series["cold, second platform"].add(await build(place / "both", repository, commit, BOTH))
        series["cold, the other platform"].add(await build(place / "other", repository, commit, OTHER))
        cached = place / "one" / "cache"
        series["dependencies cached"].add(await build(place / "cached", repository, commit, ONE, cache=cached))
        changed = repository.commit({name: f"{text}\n# change {number}\n"})
        series["one line changed"].add(await build(place / "one", repository, changed, ONE))
        series["image found"].add(await build(place / "one", repository, commit, ONE))
        shutil.rmtree(place)
    return series


async def build(
    place: Path, repository: Repository, commit: str, platforms: Sequence[str], *, cache: Path | None = None
) -> Outcome:
    """One build with the registry, and the cache unless another is given, below `place`."""
    bench = Bench(BuilderSettings(cache_dir=cache or place / "cache"), place / "registry")
    return await bench.build(repository, commit, supported_platforms=list(platforms))


if __name__ == "__main__":
    main()
