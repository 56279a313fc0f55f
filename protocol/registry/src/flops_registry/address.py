"""Where a registry is, and how that is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

LAYOUT = "oci:"
NAMESPACE = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
"""distribution-spec 1.1, "Pulling manifests": what a repository's name may be."""


@dataclass(frozen=True)
class Address:
    """`http(s)://host[:port][/namespace]`. A namespace goes before every repository's name."""

    origin: str
    """`http(s)://host[:port]`."""
    namespace: str = ""

    @classmethod
    def parse(cls, reference: str) -> Address:
        """Reads it. Credentials do not belong into it: it travels through topics and logs.

        :raises ValueError: when it is something else
        """
        parts = urlsplit(reference)
        if "@" in parts.netloc:
            raise ValueError("a registry's address has no credentials in it: they belong into a file")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{reference} is no registry: it is written http(s)://host[:port][/namespace]")
        namespace = parts.path.strip("/")
        if namespace and not NAMESPACE.fullmatch(namespace):
            raise ValueError(f"{namespace} cannot be the namespace of a registry: lower-case letters, digits, . _ - /")
        _ = parts.port  # raises where it is no number
        return cls(f"{parts.scheme}://{parts.netloc.lower()}", namespace)

    @property
    def host(self) -> str:
        """`host[:port]`, as files with credentials call it."""
        return urlsplit(self.origin).netloc

    @property
    def secure(self) -> bool:
        """Whether nobody on the way can read along."""
        return self.origin.startswith("https:")

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.origin}/{self.namespace}" if self.namespace else self.origin

    def name(self, repository: str) -> str:
        """What the registry calls one of our repositories."""
        return f"{self.namespace}/{repository}" if self.namespace else repository

    def url(self, repository: str, rest: str) -> str:
        """The address of something in a repository."""
        return f"{self.origin}/v2/{self.name(repository)}/{rest}"

    def owns(self, url: str) -> bool:
        """Whether a URL leads to this registry, and not to where it keeps its bytes."""
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.lower()}" == self.origin

    def join(self, url: str, location: str) -> str:
        """Where a `Location` in the answer to `url` leads."""
        return urljoin(url, location)


def check(reference: str) -> str:
    """A reference as it is, if it is one: `oci:/absolute/path` or `http(s)://host[:port][/namespace]`.

    :raises ValueError: when it is something else
    """
    if reference.startswith(f"{LAYOUT}/"):
        return reference
    if reference.startswith(("http://", "https://")):
        return str(Address.parse(reference))
    raise ValueError(
        "a registry is an OCI layout folder, `oci:/absolute/path`, or a server, `http(s)://host[:port][/namespace]`"
    )
