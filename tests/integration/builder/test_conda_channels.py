"""Solving and linking from channels: in a folder, and on a server that wants a password."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from flops_builder.conda.channels import Channels, site_channels
from flops_builder.conda.explain import unsolvable
from flops_builder.conda.lock import CondaPackage
from flops_builder.conda.prefix import link
from flops_builder.conda.solver import Solver, UnsolvableError, open_gateway
from flops_builder.dependencies.conda import CondaSpec
from flops_builder.resolve.uv import Target
from flops_protocol.errors import FlopsError
from rattler.index import index_fs

from tests.conda.channel import make_channel
from tests.conda.packages import Package

AMD, ARM = Target("linux/amd64", "3.11", "2.28"), Target("linux/arm64", "3.11", "2.28")
CREDENTIALS = "reader:open-sesame"


class Guarded(SimpleHTTPRequestHandler):
    """A channel's server, for those who know the password."""

    def do_GET(self) -> None:
        wanted = f"Basic {base64.b64encode(CREDENTIALS.encode()).decode()}"
        if self.headers.get("Authorization") == wanted:
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a folder that is served, without its credentials."""
    (tmp_path / "served" / "lab").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Guarded, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}/lab"
    server.shutdown()
    thread.join()
    server.server_close()


async def solve(channels: Channels, tmp_path: Path, *specs: str, target: Target = AMD) -> tuple[CondaPackage, ...]:
    solver = Solver(channels.for_file([])[0], open_gateway(tmp_path / "cache"), 30)
    try:
        return await solver.solve(specs, target)
    except UnsolvableError as error:
        listed = [CondaSpec(text, text.split()[0], "e.yml", line) for line, text in enumerate(specs, start=1)]
        raise await unsolvable(solver, listed, target, error.explanation) from error


async def test_a_server_is_asked_with_the_credentials_which_nobody_is_told(served, tmp_path):
    await make_channel(tmp_path / "served" / "lab")
    channels = site_channels([f"http://{CREDENTIALS}@{served}"], {}, {})
    packages = await solve(channels, tmp_path, "lab-signal")
    assert {each.url.rpartition("/")[0].rpartition("/")[0] for each in packages} == {f"http://{served}"}
    await link(packages, channels, AMD, tmp_path / "prefix", tmp_path / "cache", 60)
    assert (tmp_path / "prefix" / "etc" / "lab.conf").read_text() == "prefix = /opt/flops/mlenv\n"


async def test_a_server_that_refuses_is_told_without_the_credentials(served, tmp_path):
    await make_channel(tmp_path / "served" / "lab")
    channels = site_channels([f"http://reader:wrong-word@{served}"], {}, {})
    with pytest.raises(FlopsError) as caught:
        await solve(channels, tmp_path, "lab-signal")
    assert caught.value.body.code == "FLOPS-B052"
    assert "wrong-word" not in caught.value.body.detail
    assert "401" in caught.value.body.detail


async def test_the_machine_that_is_meant_counts_not_this_one(tmp_path):
    folder = tmp_path / "lab"
    for machine in ("x86_64", "aarch64"):
        Package(f"only-{machine}", subdir="noarch", depends=[f"__archspec 1 {machine}"]).write(folder)
    Package("newer", subdir="noarch", depends=["__glibc >=2.29"]).write(folder)
    Package("older", subdir="noarch", depends=["__glibc >=2.28", "__linux", "__unix"]).write(folder)
    await index_fs(folder)
    channels = site_channels([str(folder)], {}, {})
    for target, machine, other in ((AMD, "x86_64", "aarch64"), (ARM, "aarch64", "x86_64")):
        assert await solve(channels, tmp_path, f"only-{machine}", "older", target=target)
        for name in (f"only-{other}", "newer"):
            with pytest.raises(FlopsError, match="of the machine, which does not have it"):
                await solve(channels, tmp_path, name, target=target)


async def test_what_excludes_each_other_is_named_with_its_places(tmp_path):
    folder = tmp_path / "lab"
    for version in ("1.0", "2.0"):
        Package("core", version, subdir="noarch").write(folder)
    Package("a", subdir="noarch", depends=["core <2"]).write(folder)
    Package("b", subdir="noarch", depends=["core >=2"]).write(folder)
    await index_fs(folder)
    with pytest.raises(FlopsError) as caught:
        await solve(site_channels([str(folder)], {}, {}), tmp_path, "a", "b")
    body = caught.value.body
    assert (body.code, body.file, body.line) == ("FLOPS-B050", "e.yml", 1)
    reasons, _, wanted = body.detail.removeprefix("linux/amd64: ").partition(". Wanted: ")
    said = reasons.removesuffix(": these exclude each other")
    assert said != reasons
    assert sorted(said.split("; ")) == ["a 1.0 needs core <2", "b 1.0 needs core >=2"]
    assert wanted == "a (e.yml:1), b (e.yml:2)"


async def test_linking_that_is_given_up_leaves_what_it_had_to_the_caller(tmp_path):
    channels = site_channels([str(await make_channel(tmp_path / "lab", python=True))], {}, {})
    packages = await solve(channels, tmp_path, "python")
    with anyio.move_on_after(0.01) as scope:
        await link(packages, channels, AMD, tmp_path / "prefix", tmp_path / "cache", 60)
    assert scope.cancelled_caught
    # What was half fetched is no obstacle for the next.
    await link(packages, channels, AMD, tmp_path / "again", tmp_path / "cache", 60)
    assert (tmp_path / "again" / "bin" / "python3").exists()
