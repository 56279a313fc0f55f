"""Those repositories of the corpus whose peculiarity shows only at the index, resolved for real."""

from __future__ import annotations

import os
from typing import cast

import pytest
from flops_builder.conda.way import resolve_either
from flops_builder.dependencies.unused import unused
from flops_builder.resolve.index import site_index
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.relax import Relaxation
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target, Uv
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

from tests.unit.builder.test_corpus import CASES, expected, plan_of

RESOLVED = [case for case in CASES if "resolve" in expected(case)]


@pytest.mark.parametrize("case", RESOLVED)
async def test_the_lock_is_what_a_user_would_want(case, tmp_path):
    plan, wanted = plan_of(case, tmp_path), expected(case)["resolve"]
    targets = tuple(Target(cast("Platform", each), plan.python, "2.28") for each in wanted["platforms"])
    resolver = Resolver(Uv(site_index(os.environ, tmp_path), 60), LockStore(tmp_path / "locks", 1), tmp_path)
    request = Request(plan.requirements, plan.declaration.constraints, targets, plan.declaration.off)
    pypi = Relaxation(JointResolver(resolver, request)).resolve
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
    lock = next(iter(resolution.locks.values()))
    warnings = [*resolution.warnings, *unused(plan.requirements, plan.imports, lock, plan.declaration.off)]
    for text in wanted.get("warnings", []):
        assert any(text in warning for warning in warnings), warnings
    if "repairs" in wanted:
        assert sorted({each.rule for each in resolution.repairs}) == wanted["repairs"]
