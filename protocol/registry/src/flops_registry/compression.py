"""Layers, compressed and back (OCI image-spec 1.1, layer.md, "+gzip" and "+zstd").

The same bytes, and the same version of the library, give the same bytes: no time, no name, and pieces of a fixed size,
whatever the number of cores. A layer is one gzip member or one zstd frame, as every engine reads them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import zstandard
from flops_protocol.identifiers import Digest

from flops_registry.documents import LAYER_TYPE

Compression = Literal["gzip", "zstd"]
GZIP_LEVEL = 1
"""Wheels are mostly machine code: the higher levels take three times as long to save a tenth."""
ZSTD_LEVEL = 3
MEDIA_TYPES: dict[Compression, str] = {"gzip": f"{LAYER_TYPE}+gzip", "zstd": f"{LAYER_TYPE}+zstd"}
FORMATS: dict[Compression, str] = {"gzip": f"gzip-{GZIP_LEVEL}", "zstd": f"zstd-{ZSTD_LEVEL}"}
"""What compressed bytes depend on, beside the uncompressed ones; count on when something else changes."""
PIECE = 1024 * 1024
AHEAD = 4
"""Pieces a thread that may wait to be written."""
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952: deflate, no name, time 0, system unknown."""
BAD = (zlib.error, EOFError, gzip.BadGzipFile, zstandard.ZstdError)


class BadCompressionError(ValueError):
    """Raised when bytes are not compressed as their media type says."""


@dataclass(frozen=True)
class Compressed:
    """What has been written."""

    digest: Digest
    size: int


def compress(source: Path, target: Path, kind: Compression, threads: int | None = None) -> Compressed:
    """Compresses a file on all cores.

    :raises OSError: when there is no room
    """
    with source.open("rb") as plain, target.open("wb") as stream:
        sink = _Hashing(stream)
        if kind == "gzip":
            for part in _gzip(plain, threads or os.cpu_count() or 1):
                sink.write(part)
        else:
            # One worker at least: with none, the bytes would be others.
            workers = max(1, threads or os.cpu_count() or 1)
            parameters = zstandard.ZstdCompressionParameters.from_level(
                ZSTD_LEVEL, threads=workers, job_size=4 * PIECE, write_checksum=True, write_content_size=True
            )
            compressor = zstandard.ZstdCompressor(compression_params=parameters)
            compressor.copy_stream(plain, cast("BinaryIO", sink), size=source.stat().st_size, read_size=PIECE)
    return Compressed(f"sha256:{sink.hash.hexdigest()}", sink.size)


def decompress(source: Path, target: Path, media_type: str) -> None:
    """Writes the uncompressed bytes. Whether they are the right ones is for who reads them: they have a digest, too.

    :raises BadCompressionError: when the bytes are something else
    :raises OSError: when there is no room
    """
    with source.open("rb") as packed, target.open("wb") as stream:
        try:
            if media_type.endswith(("+gzip", ".gzip")):
                with gzip.GzipFile(fileobj=packed) as plain:
                    shutil.copyfileobj(plain, stream, PIECE)
            elif media_type.endswith("+zstd"):
                for part in _unzstd(packed):
                    stream.write(part)
            else:
                raise BadCompressionError(f"{media_type} is no layer that can be unpacked")
        except BAD as error:
            raise BadCompressionError(f"it is not compressed as {media_type} says: {error}") from error


def _unzstd(packed: BinaryIO) -> Iterator[bytes]:
    """All frames, one after the other; the library's own reader takes a frame that is cut off for a whole one."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    while piece := packed.read(PIECE):
        while piece:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(piece)
            piece = frame.unused_data
    if not frame.eof:
        raise EOFError("it is cut off")


def is_compressed(media_type: str) -> bool:
    """Whether a layer of this type has to be decompressed."""
    return media_type.endswith(("+gzip", ".gzip", "+zstd"))


class _Hashing:
    """Writes, hashes and counts."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self._stream.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)


def _gzip(plain: BinaryIO, threads: int) -> Iterator[bytes]:
    """One member of pieces that are compressed for themselves and end on a byte (RFC 1951, 3.2.4), as pigz has it."""
    yield HEADER
    checksum, size = 0, 0
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while piece := plain.read(PIECE):
            checksum, size = zlib.crc32(piece, checksum), size + len(piece)
            waiting.append(pool.submit(_deflate, piece))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush(zlib.Z_FINISH)
    yield struct.pack("<LL", checksum, size & 0xFFFFFFFF)


def _deflate(piece: bytes) -> bytes:
    deflater = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(piece) + deflater.flush(zlib.Z_FULL_FLUSH)
