"""How a worker is started."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import flops_mlrepo

_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class DataSource:
    """Which rows the code gets: part `part` (from 0) of `parts` of all rows of the tags, below `folder`/{tag}/."""

    folder: Path
    tags: list[str]
    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts:
            raise ValueError(f"part {self.part} of {self.parts}")


@dataclass(frozen=True)
class WorkerSettings:
    """What the worker runs, with what, and within which limits."""

    python: str
    """The interpreter, of the Python minor that the environment was made for."""
    mlenv: Path
    """The repository's environment: a folder of installed packages."""
    code: Path
    """The repository. It may be read-only."""
    data: DataSource | None = None
    """None: the code gets no data, as in the smoke round and in the aggregator."""
    memory_bytes: int | None = None
    """What the code's processes may take together, without files mapped; None: no limit of ours."""
    threads: int | None = None
    """How many threads numeric libraries may use; None: what they choose."""
    extra_paths: list[Path] = field(default_factory=list)
    """Folders behind the environment on the path."""
    scratch: Path | None = None
    """Where HOME and TMPDIR of the code are made; None: a temporary folder, removed afterwards."""
    guest: Path | None = None
    """The folder that holds `flops_mlrepo` for the worker; None: the environment does."""
    prefix: Path | None = None
    """The conda prefix that the interpreter belongs to, if it does: its programs come first on the code's PATH."""
    network: bool = True
    """False: the code gets none, where this machine allows that; see `MlWorker.in_network`."""
    max_parameter_bytes: int = 16 << 30
    """More than this is never accepted from the worker."""

    def command(self, channel: int, trace: int) -> list[str]:
        """The command line of the worker. It is free of secrets, as `ps` shows it."""
        worker = (self.guest or self.mlenv) / "flops_mlrepo" / "worker.py"
        folders = [str(path.absolute()) for path in self.extra_paths]
        network = "yes" if self.network else "no"
        places = [str(self.mlenv.absolute()), str(self.code.absolute())]
        arguments = [str(channel), str(trace), str(os.getpid()), network, *places]
        # -B: code and environment stay as they are, byte for byte.
        return [self.python, "-u", "-I", "-S", "-B", "-X", "utf8", str(worker.absolute()), *arguments, *folders]

    def environment(self, scratch: Path) -> dict[str, str]:
        """The whole environment of the worker: named variables of ours, none of the mesh's."""
        home, temporary = scratch / "home", scratch / "tmp"
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        threads = {} if self.threads is None else dict.fromkeys(_THREADS, str(self.threads))
        prefix = {}
        if self.prefix is not None:
            path = passed_on.pop("PATH", os.defpath)
            prefix = {"PATH": f"{self.prefix.absolute() / 'bin'}{os.pathsep}{path}", "CONDA_PREFIX": str(self.prefix)}
        return {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            **passed_on,
            **prefix,
            **threads,
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "MPLCONFIGDIR": str(temporary),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # What code logs to MLflow by itself goes nowhere: the mesh tracks, and the code's folder may be read-only.
            "MLFLOW_TRACKING_URI": (temporary / "mlruns").as_uri(),
            "GIT_PYTHON_REFRESH": "quiet",
        }


def guest_folder() -> Path:
    """The folder that holds this `flops_mlrepo` and `flops_utils`: what an ML environment needs a copy of."""
    return Path(flops_mlrepo.__file__).parent.parent


def guest_files() -> list[tuple[str, Path]]:
    """What to copy into an ML environment: path within it and source, in a fixed order; without the host's part."""
    root = guest_folder()
    files = []
    for package in ("flops_mlrepo", "flops_utils"):
        for path in sorted((root / package).rglob("*")):
            relative = path.relative_to(root).as_posix()
            if path.suffix in (".py", ".typed") and not relative.startswith("flops_mlrepo/host/"):
                files.append((relative, path))
    return files
