"""Byte code for a layer, made by the host's Python of the same minor.

Measured: importing scikit-learn takes 1.7 s without and 0.5 s with byte code, what a bootstrapper needs of Flower 1.2
and 0.4 s, MLflow 3.3 and 1.1 s; compiling takes about 1 ms a file, once on a machine. Tests inside of packages are left
out, and what no actor loads of our own two layers: more than half of all files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import anyio
from flops_protocol.errors import FlopsError

from flops_builder.failing import tasks
from flops_builder.image.files import ROOT
from flops_builder.image.records import source_hashes
from flops_builder.process import run

WORKER = Path(__file__).with_name("bytecode_worker.py")
SECONDS = 600.0
FORMAT = "1"
"""Count it up when the worker compiles in another way."""
PROCESSES = 2
SKIP = re.compile(
    r"(^|/)(tests?|conftest\.py|__pycache__|site-packages)(/|$)|"
    r"^(grpc/(beta|experimental|framework)|mlflow/(genai/(judges|scorers)|store/(db|db_migrations|fs2db|jobs))|"
    r"flwr/server/superlink|rich/_unicode_data|skops/(card|cli)|tzdata|numpy/(distutils|f2py))/"
)
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
    """The host's Python of one minor, and where compiled files are kept, by what they were compiled from."""

    python: Path
    minor: str
    cache: Path
    limiter: anyio.CapacityLimiter
    """How many processes compile at once, for all environments together: the first one asked for is ready first."""
    _turns: dict[str, anyio.Lock] = field(default_factory=dict)

    async def compile(self, folder: Path, name: str) -> dict[str, Path]:
        """Compiles a folder that becomes `/opt/flops/{name}`: compiled files by their path in it."""
        # The platforms of one layer in turn: most of the second one's files are the first one's.
        async with self._turns.setdefault(name, anyio.Lock()):
            return await self._compile(folder, name)

    async def _compile(self, folder: Path, name: str) -> dict[str, Path]:
        wanted = await anyio.to_thread.run_sync(self._wanted, folder, name)
        missing = [(source, *entry) for source, entry in wanted.items() if not entry.kept.exists()]
        compiled: set[str] = set()

        async def part(files: Sequence[tuple[str, str, Path]]) -> None:
            async with self.limiter:
                compiled.update(await self._run(folder, name, files))

        async with tasks() as group:
            for number in range(min(PROCESSES, len(missing))):
                group.start_soon(part, missing[number::PROCESSES])
        failed = {source for source, *_ in missing} - compiled
        return {self._compiled(source): entry.kept for source, entry in wanted.items() if source not in failed}

    def _wanted(self, folder: Path, name: str) -> dict[str, Wanted]:
        only = ONLY_IN.get(name)
        found = {}
        for source, digest in source_hashes(folder).items():
            if not SKIP.search(source) and (only is None or only.search(source)):
                key = hashlib.sha256(f"{FORMAT} {self.minor} /{ROOT}/{name}/{source} {digest}".encode()).hexdigest()
                found[source] = Wanted(digest, self.cache / key[:2] / key)
        return dict(sorted(found.items()))

    async def _run(self, folder: Path, name: str, files: Sequence[tuple[str, str, Path]]) -> list[str]:
        listed = [(source, digest, str(kept)) for source, digest, kept in files]
        wanted = {"files": listed, "root": str(folder), "place": f"/{ROOT}/{name}"}
        command: list[str | Path] = [self.python, "-I", "-S", "-B", WORKER]
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        stdin = json.dumps(wanted).encode()
        finished = await run(command, environment=environment, folder=folder, seconds=SECONDS, stdin=stdin)
        if finished.returncode != 0:
            raise FlopsError("FLOPS-P010", f"compiling {name} failed: {finished.errors.strip()[-300:]}")
        answer: list[str] = json.loads(finished.output)
        return answer

    def _compiled(self, source: str) -> str:
        folder, _, file = source.rpartition("/")
        compiled = f"__pycache__/{file.removesuffix('.py')}.cpython-{self.minor.replace('.', '')}.pyc"
        return f"{folder}/{compiled}" if folder else compiled


class Wanted(NamedTuple):
    """A source file's SHA-256, and where its byte code is kept."""

    digest: str
    kept: Path


async def find_python(minor: str, uv_binary: str, environment: Mapping[str, str], folder: Path) -> Path | None:
    """The host's Python of a minor, or None."""
    command = [uv_binary, "python", "find", "--no-project", minor]
    try:
        finished = await run(command, environment=environment, folder=folder, seconds=20)
    except TimeoutError:
        return None
    path = anyio.Path(finished.output.strip())
    return Path(path) if finished.returncode == 0 and await path.is_file() else None
