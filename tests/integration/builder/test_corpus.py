"""Those repositories of the corpus whose peculiarity shows only at the index, resolved for real."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import pytest
from flops_builder.conda.way import resolve_either
from flops_builder.dependencies.unused import unused
from flops_builder.image.bytecode import find_python
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.relax import Relaxation
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.sources import Sources
from flops_builder.resolve.uv import Target, Uv
from flops_builder.sdist.fetching import Fetcher
from flops_builder.sdist.sandbox import Limits
from flops_builder.sdist.wheelhouse import Wheelhouse
from flops_builder.settings import BuilderSettings
from flops_builder.tools import host_platform
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform
from uv import find_uv_bin

from tests.integration.builder.bench import Repository
from tests.unit.builder.test_corpus import CASES, CORPUS, expected, filled, plan_of

RESOLVED = [case for case in CASES if "resolve" in expected(case)]


HERE = host_platform()
PLATFORMS = {"host": HERE, "other": "linux/arm64" if HERE == "linux/amd64" else "linux/amd64"}
LIMITS = Limits(120, 4 << 30, 64, 1 << 30)


@pytest.fixture
def address(request, tmp_path):
    """Addresses of a case's own sources: a Git repository, an archive on a server."""
    found = {}
    served = tmp_path / "served"
    served.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()

    def make(kind: str, name: str) -> str:
        if (kind, name) not in found:
            source = CORPUS / request.getfixturevalue("case") / "sources" / name
            if kind == "git":
                repository = Repository(tmp_path / "git" / name)
                shutil.copytree(source, repository.folder, dirs_exist_ok=True)
                found[kind, name] = f"git+file://{repository.folder}@{repository.commit({})}"
            else:
                with tarfile.open(served / f"{name}.tar.gz", "w:gz") as archive:
                    archive.add(source, name)
                digest = hashlib.sha256((served / f"{name}.tar.gz").read_bytes()).hexdigest()
                address = f"http://127.0.0.1:{server.server_address[1]}/{name}.tar.gz"
                found[kind, name] = f"{address}#sha256={digest}"
        return found[kind, name]

    yield make
    server.shutdown()
    thread.join(10)
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files, and says nothing about it."""

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", RESOLVED)
async def test_the_lock_is_what_a_user_would_want(case, tmp_path, address):
    plan, wanted = plan_of(case, tmp_path, address), expected(case)["resolve"]
    names = [PLATFORMS.get(each, each) for each in wanted["platforms"]]
    targets = tuple(Target(cast("Platform", each), plan.python, "2.28") for each in names)
    index = site_index(os.environ, tmp_path)
    resolver = Resolver(Uv(index, 60), LockStore(tmp_path / "locks", 1), tmp_path)
    request = Request(plan.requirements, plan.declaration.constraints, targets, plan.declaration.off)
    python = await find_python(plan.python, resolver.uv.binary or find_uv_bin(), index.environment, tmp_path)
    if python is None and "built" in wanted:
        pytest.skip(f"this machine has no Python {plan.python}")
    house = Wheelhouse(tmp_path / "wheels", tmp_path, resolver, python, plan.for_platform(HERE), LIMITS, print)
    sources = Sources(Fetcher(index, BuilderSettings(allow_http=True), tmp_path), {HERE: house})
    pypi = Relaxation(JointResolver(resolver, request), sources).resolve
    resolving = resolve_either(pypi, None, None, lambda _: None, hint=plan.could_be_conda)
    if "error" in wanted:
        with pytest.raises(FlopsError) as caught:
            await resolving
        assert caught.value.body.code == wanted["error"]
        assert wanted.get("detail", "") in f"{caught.value.body.detail} {caught.value.body.hint}"
        assert caught.value.body.file is not None
        return
    resolution = await resolving
    for lock in resolution.locks.values():
        assert lock.versions | wanted.get("versions", {}) == lock.versions
        for name, origin in wanted.get("built", {}).items():
            assert filled(origin, address) in lock.built[name].origin
        assert lock.built.keys() == wanted.get("built", {}).keys()
    lock = next(iter(resolution.locks.values()))
    warnings = [*resolution.warnings, *unused(plan.requirements, plan.imports, lock, plan.declaration.off)]
    for text in wanted.get("warnings", []):
        assert any(text in warning for warning in warnings), warnings
    if "repairs" in wanted:
        assert sorted({each.rule for each in resolution.repairs}) == wanted["repairs"]
