# How everything is run. `just --list` shows it; `just` itself comes with the dev group (`uv run just …`).

set positional-arguments := true

_default:
    @just --list --unsorted

[doc("A whole federated project on this machine: repository and SLA in, model out")]
[group("run")]
demo *arguments:
    uv run flops demo "$@"

[doc("The whole mesh in the foreground")]
[group("run")]
up *arguments:
    uv run flops up "$@"

[doc("All tests: static checks, units, contracts, real parts, whole projects")]
[group("test")]
test *arguments:
    uv run pytest "$@"

[doc("Static checks only: formatting, lints, types, import rules")]
[group("test")]
check:
    uv run pytest tests/unit/test_house.py

[doc("Unit and contract tests only: seconds")]
[group("test")]
test-unit *arguments:
    uv run pytest tests/unit tests/contract "$@"

[doc("Tests on a real broker, Git, uv, MLflow and processes")]
[group("test")]
test-integration *arguments:
    uv run pytest tests/integration "$@"

[doc("Whole projects, as a user runs them")]
[group("test")]
test-e2e *arguments:
    uv run pytest tests/e2e "$@"

[doc("Measurements, each as a ratio: bus, round, build, project, mesh")]
[group("measure")]
bench name *arguments:
    shift; uv run python -m tests.bench.{{ name }} "$@"

[doc("Format the code, and sort its imports")]
[group("maintain")]
format:
    uv run ruff check --fix-only --quiet .
    uv run ruff format .

[doc("Generate the schemas, the AsyncAPI document and docs/protocol.md")]
[group("maintain")]
schema *arguments:
    uv run python -m flops_protocol.schemas "$@"

[doc("Pin what is installed now: names and versions in pyproject.toml, no hosts")]
[group("maintain")]
lock:
    uv run python .ci/lock.py
