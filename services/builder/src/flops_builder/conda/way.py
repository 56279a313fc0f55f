"""Which way an environment comes to be: PyPI wherever it can serve, conda where it cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flops_protocol.errors import FlopsError

from flops_builder.resolve.relax import Resolution

UNCONFIGURED = "conda could bring it, if channels were configured on the machine that builds (FLOPS_CONDA_CHANNELS)"
NOT_SERVED = frozenset({"FLOPS-B022", "FLOPS-B023"})
"""What PyPI cannot serve: another source may."""

Resolve = Callable[[], Awaitable[Resolution]]
Line = Callable[[str], None]


async def resolve_either(
    pypi: Resolve, conda: Resolve | None, because: str | None, on_line: Line, *, hint: bool = False
) -> Resolution:
    """Locks from PyPI if it can serve, else from conda's channels if it is possible to ask them.

    :param conda: None: it cannot be asked
    :param because: why PyPI is not even asked; None: it is asked first
    :param hint: whether conda could be asked, if there were channels
    :raises FlopsError: FLOPS-B022 to FLOPS-B025, FLOPS-B040, FLOPS-B050 to FLOPS-B052
    """
    refused: FlopsError | None = None
    if conda is None or because is None:
        try:
            return await pypi()
        except FlopsError as error:
            if error.body.code not in NOT_SERVED:
                raise
            if conda is None:
                raise no_channels(error) if hint else error from error
            refused, because = error, error.body.detail
    on_line(f"conda brings the ML environment, as PyPI cannot: {because}")
    try:
        return await conda()
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
