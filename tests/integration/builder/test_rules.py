"""Repairs that need an index, with uv as it is and an index of a few packages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from flops_builder.dependencies.declaration import requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.relax import Relaxation, Resolution
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.torch import torch_class
from flops_builder.resolve.uv import Target, Uv
from flops_protocol.errors import FlopsError

from tests.integration.builder.tiny_index import TinyIndex

AMD64 = Target("linux/amd64", "3.11", "2.28")
ARM64 = Target("linux/arm64", "3.11", "2.28")
Resolve = Callable[..., Awaitable[Resolution]]


@pytest.fixture
def index(tmp_path):
    return TinyIndex(tmp_path / "index")


@pytest.fixture
def cpu_index(tmp_path):
    return TinyIndex(tmp_path / "cpu")


@pytest.fixture
def uv(index, tmp_path):
    environment = {"UV_DEFAULT_INDEX": index.url, "UV_CACHE_DIR": str(tmp_path / "uv"), "PIP_CONFIG_FILE": "/dev/null"}
    return Uv(site_index(environment, tmp_path), 60)


@pytest.fixture
def resolve(uv, tmp_path) -> Resolve:
    async def one(
        *texts: str, cpu: str | None = None, targets: tuple[Target, ...] = (AMD64,), **more: Any
    ) -> Resolution:
        tool = replace(uv, index=uv.index.for_cpu(cpu))
        resolver = Resolver(tool, LockStore(tmp_path / "locks", 1), tmp_path)
        wanted = tuple(requirement(text, "requirements.txt", line) for line, text in enumerate(texts, 1))
        off = frozenset(more.pop("off", ()))
        return await Relaxation(JointResolver(resolver, Request(wanted, (), targets, off, **more))).resolve()

    return one


def changes(resolution: Resolution) -> list[tuple[str, str, str | None]]:
    return [(each.rule.value, each.before, each.after) for each in resolution.repairs]


class TestYanked:
    @pytest.fixture(autouse=True)
    def releases(self, index):
        for version, reason in (("1.0", None), ("1.1", "broken on Tuesdays"), ("1.2", "worse"), ("1.3", None)):
            index.add("nets", version, yanked=reason)
        index.add("gone", "1.0", yanked="a mistake")
        index.add("wants", "1.0", "nets==1.2")

    async def test_a_pin_moves_to_the_nearest_that_was_not_taken_back(self, resolve):
        resolution = await resolve("nets==1.1", targets=(AMD64, ARM64))
        assert changes(resolution) == [("yanked", "nets==1.1", "nets==1.3")]
        assert "broken on Tuesdays" in resolution.repairs[0].why
        assert (resolution.repairs[0].file, resolution.repairs[0].line) == ("requirements.txt", 1)
        assert all(lock.versions == {"nets": "1.3"} for lock in resolution.locks.values())
        assert resolution.warnings == ()

    @pytest.mark.parametrize("how", [{"locked": True}, {"off": [Rule.YANKED]}])
    async def test_a_lock_is_honoured_and_told(self, resolve, how):
        for _ in range(2):  # the second time, it comes from the cache
            resolution = await resolve("nets==1.2", **how)
            assert changes(resolution) == []
            (lock,) = resolution.locks.values()
            assert lock.versions == {"nets": "1.2"}
            assert resolution.warnings == ("requirements.txt:1: its project took nets 1.2 back: worse; it stays",)

    async def test_one_without_another_release_stays(self, resolve):
        resolution = await resolve("gone==1.0")
        assert changes(resolution) == []
        assert "took gone 1.0 back: a mistake" in resolution.warnings[0]

    async def test_one_that_another_package_wants_stays(self, resolve):
        resolution = await resolve("wants", "nets==1.2")
        assert changes(resolution) == []
        assert "1.3 is the nearest other one, which does not fit the others" in resolution.warnings[0]


class TestConflict:
    @pytest.fixture(autouse=True)
    def releases(self, index):
        for version in ("1.0", "1.4", "2.0", "3.0"):
            index.add("helper", version)
        index.add("torch", "1.0", "helper<2")
        index.add("torch", "1.0.1", "helper<3")
        index.add("torch", "1.1", "helper")
        for version in ("1.0", "1.1"):
            index.add("scikit-learn", version, "helper<1.2" if version == "1.0" else "helper")
        index.add("mine", "1.0", "helper<1.2")
        index.add("mine", "1.1", "helper")
        index.add("stuck", "1.0", "helper<2")

    @pytest.mark.parametrize(
        ("texts", "imported", "change"),
        [
            # A move within the minor series is the least, even of a framework.
            (["torch==1.0", "helper==2.0"], ["torch", "helper"], ("torch==1.0", "torch==1.0.1")),
            # A framework across minors is more than a helper across majors.
            (["torch==1.0", "helper==3.0"], ["torch", "helper"], ("helper==3.0", "helper==1.4")),
            (["scikit-learn==1.0", "helper==1.4"], ["scikit_learn"], ("helper==1.4", "helper==1.0")),
            # Where the moves are alike, what the code imports itself stays.
            (["mine==1.0", "helper==1.4"], ["helper"], ("mine==1.0", "mine==1.1")),
            (["mine==1.0", "helper==1.4"], ["mine"], ("helper==1.4", "helper==1.0")),
            # An upper bound moves up, no further than it has to.
            (["stuck", "helper>=2,<4"], ["helper"], ("helper<4,>=2", "helper==1.4")),
            (["torch<1.0.1", "helper==2.0"], ["torch"], ("torch<1.0.1", "torch==1.0.1")),
        ],
    )
    async def test_the_change_that_a_user_would_notice_least(self, resolve, texts, imported, change):
        resolution = await resolve(*texts, imported=frozenset(imported), targets=(AMD64, ARM64))
        assert changes(resolution) == [("conflict", *change)]

    async def test_it_is_told_as_a_person_would(self, resolve):
        (repair,) = (await resolve("mine==1.0", "helper==1.4", imported=frozenset({"helper"}))).repairs
        assert str(repair) == (
            "[conflict] mine==1.0 → mine==1.1 (requirements.txt:1): mine==1.0 needs helper<1.2, but helper==1.4 "
            "(requirements.txt:2) is asked for; mine 1.1 is the nearest release that fits"
        )

    @pytest.mark.parametrize("how", [{"locked": True}, {"off": [Rule.CONFLICT]}])
    async def test_what_may_not_be_changed_is_explained_with_what_would_help(self, resolve, how):
        with pytest.raises(FlopsError) as caught:
            await resolve("mine==1.0", "helper==1.4", **how)
        body = caught.value.body
        assert body.code == "FLOPS-B022"
        assert body.detail.startswith("mine==1.0 needs helper<1.2, but helper==1.4 (requirements.txt:2) is asked for")
        assert "mine==1.0 (requirements.txt:1) → 1.1" in body.detail

    async def test_two_contradictions_at_once_are_told(self, resolve, index):
        index.add("other", "1.0", "base<2")
        for version in ("1.0", "2.0"):
            index.add("base", version)
        with pytest.raises(FlopsError, match="no single requirement of the repository") as caught:
            await resolve("mine==1.0", "helper==1.4", "other==1.0", "base==2.0")
        assert (caught.value.body.code, caught.value.body.line) == ("FLOPS-B022", 1)


async def test_a_build_that_only_its_own_index_has_becomes_the_plain_release(resolve, index):
    index.add("nets", "1.2.3", tag="py3-none-manylinux_2_17_x86_64")
    index.add("nets", "1.2.4", tag="py3-none-manylinux_2_17_x86_64")
    index.add("nets", "1.2.4", tag="py3-none-manylinux_2_17_aarch64")
    assert changes(await resolve("nets==1.2.3+cu118")) == [("local-version", "nets==1.2.3+cu118", "nets==1.2.3")]
    resolution = await resolve("nets==1.2.3+cu118", targets=(AMD64, ARM64))
    assert changes(resolution) == [
        ("local-version", "nets==1.2.3+cu118", "nets==1.2.3"),
        ("no-wheel", "nets==1.2.3", "nets==1.2.4"),
    ]
    with pytest.raises(FlopsError, match="FLOPS-B022"):
        await resolve("nets==1.2.3+cu118", off=[Rule.LOCAL_VERSION])
    index.add("nets", "1.2.5+cu118")
    assert changes(await resolve("nets==1.2.5+cu118", off=["no-wheel"])) == []


class TestTorch:
    @pytest.fixture(autouse=True)
    def releases(self, index, cpu_index):
        index.add("nvidia-cublas", "1.0")
        index.add("torch", "2.3.0", "nvidia-cublas")
        index.add("torch", "2.4.0", "nvidia-cublas")
        cpu_index.add("torch", "2.3.0+cpu")
        cpu_index.add("torch", "2.4.0+cpu")

    @pytest.mark.parametrize(("wanted", "version"), [("torch==2.3.0", "2.3.0+cpu"), ("torch", "2.4.0+cpu")])
    async def test_nodes_without_gpus_get_a_build_for_the_cpu(self, resolve, cpu_index, uv, tmp_path, wanted, version):
        resolution = await resolve(wanted, cpu=cpu_index.url)
        (lock,) = resolution.locks.values()
        assert lock.versions == {"torch": version}
        assert (changes(resolution), resolution.warnings) == ([], ())
        assert torch_class(lock, gpus=False) == f"PyTorch {version} for the CPU: no learner's node has a GPU"
        place = tmp_path / "installed"
        await anyio.Path(place).mkdir()
        tool = replace(uv, index=uv.index.for_cpu(cpu_index.url))
        await tool.install(lock.text, AMD64, place, tmp_path)
        assert (place / "torch.py").is_file()

    async def test_nodes_with_gpus_get_cuda(self, resolve, cpu_index):
        resolution = await resolve("torch==2.3.0", cpu=cpu_index.url, gpus=True)
        (lock,) = resolution.locks.values()
        assert lock.versions == {"torch": "2.3.0", "nvidia-cublas": "1.0"}
        assert resolution.warnings == ()
        assert torch_class(lock, gpus=True) == "PyTorch 2.3.0 with CUDA, for the GPUs of the learners' nodes"

    @pytest.mark.parametrize("how", [{"cpu": "http://127.0.0.1:9/simple"}, {"off": [Rule.CPU_TORCH]}])
    async def test_where_there_is_none_cuda_comes_with_a_warning(self, resolve, how):
        resolution = await resolve("torch==2.3.0", **how)
        (lock,) = resolution.locks.values()
        assert "nvidia-cublas" in lock.versions
        assert "which no learner's node can use" in resolution.warnings[0]
        assert torch_class(lock, gpus=False) == "PyTorch 2.3.0 with CUDA, though no learner's node has a GPU"

    async def test_a_folder_of_wheels_will_do(self, resolve, cpu_index):
        (lock,) = (await resolve("torch==2.3.0", cpu=str(cpu_index.folder / "torch"))).locks.values()
        assert lock.versions == {"torch": "2.3.0+cpu"}
