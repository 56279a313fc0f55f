"""Byte code for a layer, made by the host's Python of the same minor.

Measured: importing scikit-learn takes 1.7 s without and 0.5 s with byte code, what a bootstrapper needs of Flower 1.2
and 0.4 s, MLflow 3.3 and 1.1 s; compiling takes about 1 ms a file, once on a machine. Tests inside of packages are left
out, and what no actor loads of our own two layers: more than half of all files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import anyio
from flops_protocol.errors import FlopsError

from flops_builder.failing import tasks
from flops_builder.image.files import ROOT
from flops_builder.process import run

WORKER = Path(__file__).with_name("bytecode_worker.py")
SECONDS = 600.0
PROCESSES = 2
SKIP = re.compile(r"(^|/)(tests?|conftest\.py|__pycache__|site-packages)(/|$)")
ONLY_IN: Mapping[str, re.Pattern[str]] = {
    "runtime": re.compile(
        r"^([^/]+\.py$|flops_|flwr/(__init__\.py|app|agentapp|client|clientapp|common|compat|proto|server|serverapp)|"
        r"flwr/supercore/[^/]+\.py|"
        r"aiomqtt|annotated_types|anyio|click|cryptography/(hazmat|[^/]+\.py)|dotenv|google/protobuf|grpc(_health)?/|httpx|"
        r"idna|iterators|numpy/(_core|_typing|_utils|lib|linalg|matrixlib|typing|[^/]+\.py)|orjson|paho|"
        r"pydantic/(_internal|plugin|[^/]+\.py)|pydantic_(core|settings)|pygments/[^/]+\.py|rich/|structlog|typer|"
        r"typing_inspection)"
    ),
    "tracking": re.compile(
        r"^([^/]+\.py$|mlflow/(agent|artifacts|azure|config|data|entities|genai|legacy_databricks_cli|models|projects|"
        r"prompt|protos|pytorch|sklearn|store|system_metrics|telemetry|tracing|tracking|types|utils|[^/]+\.py)|"
        r"annotated_|anyio|cachetools|certifi|charset_normalizer|click|cloudpickle|dateutil|fastapi|google/protobuf|idna|"
        r"importlib_metadata|opentelemetry/(context|propagat|proto|sdk/(trace|resources)|trace|util|_logs|metrics)|"
        r"packaging|pandas|pydantic/(_internal|plugin|[^/]+\.py)|pydantic_core|requests|skops|sqlparse|starlette|"
        r"typing_inspection|urllib3|yaml|zipp)"
    ),
}
"""What actors load of our own layers, measured. A module that is left out works, too; it is only slower to load."""


@dataclass(frozen=True)
class Compiler:
    """The host's Python of one minor, and where compiled files are kept."""

    python: Path
    minor: str
    cache: Path
    limiter: anyio.CapacityLimiter
    """How many processes compile at once, for all environments together: the first one asked for is ready first."""

    async def compile(self, folder: Path, name: str) -> dict[str, Path]:
        """Compiles a folder that becomes `/opt/flops/{name}`: compiled files by their path in it."""
        sources = await anyio.to_thread.run_sync(_sources, folder, ONLY_IN.get(name))
        compiled: dict[str, str] = {}

        async def part(files: Sequence[str]) -> None:
            async with self.limiter:
                compiled.update(await self._run(folder, name, files))

        async with tasks() as group:
            for number in range(min(PROCESSES, len(sources))):
                group.start_soon(part, sources[number::PROCESSES])
        return {self._name(source): self.cache / key[:2] / key for source, key in sorted(compiled.items())}

    async def _run(self, folder: Path, name: str, files: Sequence[str]) -> dict[str, str]:
        wanted = {"files": files, "root": str(folder), "place": f"/{ROOT}/{name}", "cache": str(self.cache)}
        command: list[str | Path] = [self.python, "-I", "-S", "-B", WORKER]
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        stdin = json.dumps(wanted).encode()
        finished = await run(command, environment=environment, folder=folder, seconds=SECONDS, stdin=stdin)
        if finished.returncode != 0:
            raise FlopsError("FLOPS-P010", f"compiling {name} failed: {finished.errors.strip()[-300:]}")
        answer: dict[str, str] = json.loads(finished.output)
        return answer

    def _name(self, source: str) -> str:
        path = PurePosixPath(source)
        return str(path.parent / "__pycache__" / f"{path.stem}.cpython-{self.minor.replace('.', '')}.pyc")


def _sources(folder: Path, only: re.Pattern[str] | None) -> list[str]:
    found = []
    for file in folder.rglob("*.py"):
        relative = file.relative_to(folder).as_posix()
        if not SKIP.search(relative) and (only is None or only.search(relative)) and not file.is_symlink():
            found.append(relative)
    return sorted(found)


async def find_python(minor: str, uv_binary: str, environment: Mapping[str, str], folder: Path) -> Path | None:
    """The host's Python of a minor, or None."""
    command = [uv_binary, "python", "find", "--no-project", minor]
    try:
        finished = await run(command, environment=environment, folder=folder, seconds=20)
    except TimeoutError:
        return None
    path = anyio.Path(finished.output.strip())
    return Path(path) if finished.returncode == 0 and await path.is_file() else None
