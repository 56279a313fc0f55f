"""Which kinds of registry there are."""

from __future__ import annotations

from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_registry.interface import Registry
from flops_registry.layout import LayoutRegistry


def open_registry(reference: str) -> Registry:
    """The registry that a reference names.

    :raises FlopsError: FLOPS-B041 when it is of a kind that is not known
    """
    if reference.startswith("oci:/"):
        return LayoutRegistry(Path(reference.removeprefix("oci:")))
    raise FlopsError("FLOPS-B041", f"{reference}: images go to an OCI layout folder, written `oci:/absolute/path`")
