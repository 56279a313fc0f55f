"""Credentials from a file as Docker has it (`~/.docker/config.json`); podman, skopeo and others write it, too."""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError


@dataclass(frozen=True, repr=False)
class Credentials:
    """Of one registry. Never shown, not even by accident."""

    user: str = ""
    password: str = ""
    identity_token: str = ""
    """A refresh token (OAuth 2), where the registry gave one at a login."""

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Credentials({self.user!r})"


def default_file() -> Path | None:
    """Docker's own file of this user, where there is one."""
    folder = os.environ.get("DOCKER_CONFIG")
    file = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    return file if file.is_file() else None


def find(file: Path, host: str) -> Credentials | None:
    """What the file says for a registry; None when it says nothing.

    :param host: `host[:port]`
    :raises FlopsError: FLOPS-B046 when it cannot be read, or keeps them where we cannot get at them
    """
    try:
        content = json.loads(file.read_bytes())
        entries = {_host(name): entry for name, entry in (content.get("auths") or {}).items()}
        helpers = {_host(name) for name in content.get("credHelpers") or {}}
        found = _read(entries.get(host) or {})
        in_store = host in helpers or (host in entries and bool(content.get("credsStore")))
    except OSError as error:
        raise FlopsError("FLOPS-B046", f"{file}: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError) as error:
        # What is wrong is not quoted: it may be a secret.
        raise FlopsError("FLOPS-B046", f"{file} is not as Docker writes it: {type(error).__name__}") from error
    if found is None and in_store:
        raise FlopsError(
            "FLOPS-B046",
            f"{file} keeps the credentials of {host} in a store of the desktop; the mesh reads them from the file only",
        )
    return found


def _read(entry: dict[str, Any]) -> Credentials | None:
    token = entry.get("identitytoken") or ""
    user, password = entry.get("username") or "", entry.get("password") or ""
    if not user and entry.get("auth"):
        try:
            text = base64.b64decode(entry["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("auth") from None
        user, _, password = text.partition(":")
        password = password.rstrip("\0")
    return Credentials(user, password, token) if user or token else None


def _host(name: str) -> str:
    """Docker writes a host plainly, and with scheme and path for its own hub."""
    return name.partition("://")[2].partition("/")[0].lower() if "://" in name else name.partition("/")[0].lower()
