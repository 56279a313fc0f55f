"""How an image somewhere is called: in a registry by tag or digest, in a layout folder by name or digest."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from flops_protocol.identifiers import Digest

from flops_registry.address import LAYOUT, NAMESPACE, Address

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
HOST = re.compile(r"localhost(:\d+)?|[^/]*[.:][^/]*")
"""What comes first in a reference without a scheme, and is a host: Docker's rule."""


@dataclass(frozen=True)
class ImageName:
    """`oci:/path[:name][@digest]`, or `[http(s)://]host[:port]/repository[:tag][@digest]`."""

    registry: str
    """As `open_registry` takes it."""
    repository: str
    """Empty in a layout."""
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Reads it.

        :raises ValueError: when it is something else
        """
        rest, _, digest = text.partition("@") if "@sha256:" in text else (text, "", "")
        if digest and not DIGEST.fullmatch(digest):
            raise ValueError(f"{digest} is no digest: sha256: and 64 hexadecimal digits")
        if rest.startswith(f"{LAYOUT}/"):
            path, _, name = rest.removeprefix(LAYOUT).partition(":")
            return cls(f"{LAYOUT}{path}", "", name or None, digest or None)
        scheme, separator, place = rest.rpartition("://")
        host, _, path = place.partition("/")
        if not path or not HOST.fullmatch(host) or scheme not in {"", "http", "https"}:
            raise ValueError(
                f"{text} is no image: it is written host[:port]/repository[:tag] or …@sha256:…, or oci:/folder[:name]"
            )
        registry = str(Address.parse(f"{scheme or 'https'}{separator or '://'}{host}"))
        repository, _, tag = path.partition(":")
        if not NAMESPACE.fullmatch(repository) or (tag and not TAG.fullmatch(tag)):
            raise ValueError(f"{path} cannot be the name of an image in a registry")
        return cls(registry, repository, tag or (None if digest else "latest"), digest or None)

    def at(self, digest: Digest) -> ImageName:
        """The same image, whatever becomes of its tag."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        """As it is written."""
        place = self.registry if not self.repository else f"{self.registry}/{self.repository}"
        return place + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
