"""What packages say of their own files: the hashes in their RECORDs, which save reading every file."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
from pathlib import Path


def source_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 in hexadecimal of the Python sources below an environment's folder, by relative path.

    From the packages' RECORDs (PyPA's "Recording installed projects"), and by reading where those say nothing. A RECORD
    may lie: who keeps something under a hash has to check it.
    """
    known: dict[str, str] = {}
    for record in folder.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8", errors="replace") as stream:
            for row in csv.reader(stream):
                if len(row) >= 2 and row[0].endswith(".py") and row[1].startswith("sha256="):
                    known[row[0]] = row[1][7:]
    hashes = {}
    start = len(str(folder)) + 1
    for file in folder.rglob("*.py"):
        relative = str(file)[start:]
        hashes[relative] = _hexadecimal(known.get(relative, "")) or hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def _hexadecimal(encoded: str) -> str | None:
    try:
        digest = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (ValueError, binascii.Error):
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
