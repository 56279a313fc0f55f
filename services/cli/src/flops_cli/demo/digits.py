"""scikit-learn's handwritten digits as a Parquet file: images and labels, as MNIST has them on the Hub."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

TAG = "digits"


def write(path: Path) -> int:
    """Writes the 1,797 digits as PNG images of 8 x 8 pixels with labels; returns their number.

    :raises ModuleNotFoundError: when scikit-learn is not installed
    """
    from sklearn.datasets import load_digits

    from flops_cli.adapters import arrow

    digits = load_digits()
    images = [png(image) for image in (digits.images * (255 / 16)).round().astype("uint8")]
    arrow.write(arrow.image_table(images, [int(label) for label in digits.target], list("0123456789")), path)
    return len(images)


def png(pixels: Any) -> bytes:
    """A grey image (rows x columns, uint8) as PNG (https://www.w3.org/TR/png-3/)."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
