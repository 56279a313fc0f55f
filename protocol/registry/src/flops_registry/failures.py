"""How a failure of a registry is told."""

from __future__ import annotations

import errno

from flops_protocol.errors import FlopsError


def out_of_space(error: OSError) -> bool:
    """Whether a write failed because there is no more room: disk, quota or file size limit."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def from_os(error: OSError, where: object) -> FlopsError:
    """The error for a file of a registry that could not be read or written."""
    if out_of_space(error):
        return FlopsError("FLOPS-B040", f"writing to {where}: {error.strerror}")
    return FlopsError("FLOPS-B041", f"{where}: {error.strerror or error}")
