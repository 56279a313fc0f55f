"""Which way an environment comes to be: PyPI wherever it can serve, conda where it cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from flops_protocol.errors import FlopsError

from flops_builder.conda.resolver import CondaResolver
from flops_builder.conda.wish import CondaWish
from flops_builder.resolve.relax import Resolution
from flops_builder.resolve.uv import Target

UNCONFIGURED = "conda could bring it, if channels were configured on the machine that builds (FLOPS_CONDA_CHANNELS)"
NOT_SERVED = frozenset({"FLOPS-B022", "FLOPS-B023"})
"""What PyPI cannot serve: another source may."""

Line = Callable[[str], None]


async def resolve_either(
    pypi: Callable[[], Awaitable[Resolution]],
    conda: CondaResolver,
    wish: CondaWish | None,
    targets: Sequence[Target],
    on_line: Line,
    *,
    hint: bool = False,
) -> Resolution:
    """Locks from PyPI if it can serve, else from conda's channels if it is possible to ask them.

    :param wish: what is asked of conda; None: it cannot be asked
    :param hint: whether it could be, if there were channels
    :raises FlopsError: FLOPS-B022 to FLOPS-B025, FLOPS-B040, FLOPS-B050 to FLOPS-B052
    """
    if wish is None:
        try:
            return await pypi()
        except FlopsError as error:
            raise no_channels(error) if hint and error.body.code in NOT_SERVED else error from error
    refused: FlopsError | None = None
    because = wish.because
    if because is None:
        try:
            return await pypi()
        except FlopsError as error:
            if error.body.code not in NOT_SERVED:
                raise
            refused, because = error, error.body.detail
    on_line(f"conda brings the ML environment, as PyPI cannot: {because}")
    try:
        return await conda.resolve(wish, targets)
    except FlopsError as error:
        if refused is None:
            raise
        body = error.body
        detail = f"{body.detail}. PyPI cannot serve it either: {refused.body.detail}"
        raise FlopsError(body.code, detail, hint=body.hint, file=body.file, line=body.line) from error


def no_channels(error: FlopsError) -> FlopsError:
    """The error of PyPI's way, with a hint at conda's."""
    body = error.body
    hint = f"{body.hint.rstrip('.')}. Or: {UNCONFIGURED}."
    return FlopsError(body.code, body.detail, hint=hint, file=body.file, line=body.line)
