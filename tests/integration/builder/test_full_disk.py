"""Too little room, on a real small disk and under a real limit: a typed error, and nothing half-built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

pytestmark = pytest.mark.timeout(300)
REPOSITORY = Path(__file__).parent.parent.parent.parent
MEBIBYTE = 1024 * 1024


@pytest.fixture
def order(bench, fixture_repository, runtime_wheels):
    """What the process is told, save for where the room is too little."""
    spec, command = bench.order(*fixture_repository("numpy-only"))
    return {
        "spec": spec.model_dump(mode="json", by_alias=True),
        "command": command.model_dump(mode="json"),
        "cache": str(bench.settings.cache_dir),
        "wheels": str(runtime_wheels),
        "file_bytes": 0,
    }


async def run(order, *prefix):
    done = await anyio.run_process(
        [*prefix, sys.executable, "-m", "tests.integration.builder.full_disk"],
        input=json.dumps(order).encode(),
        cwd=REPOSITORY,
        env=dict(os.environ) | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def small_disk(folder, megabytes):
    """A command prefix that runs a program with a small disk of its own at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o size={megabytes}m none "$1" && shift && exec "$@"'
    prefix = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(folder)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets us mount nothing")
    return prefix


async def test_the_registry_is_full(bench, order):
    registry = bench.registry
    prefix = small_disk(registry.parent / "small", 30)
    order["command"]["registry"] = f"oci:{registry.parent / 'small' / 'registry'}"
    # The disk is gone with the process; so what is left there is listed by the process that mounted it.
    script = '"$@"; find "$0" -type f -path "*/blobs/*" | wc -l >&2; find "$0" -name index.json >&2'
    done = await anyio.run_process(
        [
            *prefix,
            "sh",
            "-c",
            script,
            str(registry.parent / "small"),
            sys.executable,
            "-m",
            "tests.integration.builder.full_disk",
        ],
        input=json.dumps(order).encode(),
        cwd=REPOSITORY,
        env=dict(os.environ) | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
    )
    body = json.loads(done.stdout)
    assert body["code"] == "FLOPS-B040"
    assert done.stderr.decode().split() == ["0"]


async def test_the_disk_of_the_cache_is_full(bench, order, tmp_path):
    prefix = small_disk(tmp_path / "small", 60)
    order["cache"] = str(tmp_path / "small" / "cache")
    body = await run(order, *prefix)
    assert body["code"] == "FLOPS-B040"
    assert not (bench.registry / "index.json").exists()


@pytest.mark.parametrize("megabytes", [1, 20])
async def test_files_may_not_grow_that_big(bench, order, tmp_path, megabytes):
    order["cache"] = str(tmp_path / "cache")
    order["file_bytes"] = megabytes * MEBIBYTE
    body = await run(order)
    assert body["code"] == "FLOPS-B040"
    assert not bench.registry.exists() or not [path for path in bench.registry.rglob("*") if path.is_file()]
    assert not list((tmp_path / "cache" / "work").glob("*"))
