"""What a file holds and how it is compressed, by its name or as the user says, and its bytes without compression."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import pyarrow as pa

from asr_data.errors import ConfigError, InputError

Kind: TypeAlias = Literal["parquet", "arrow", "jsonl", "ndjson", "json", "csv", "tsv"]
Compression: TypeAlias = Literal["gz", "zst", "xz", "bz2"]
BinaryFile: TypeAlias = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | io.BufferedReader

_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_TEXTS: Final[tuple[Kind, ...]] = ("jsonl", "ndjson", "json", "csv", "tsv")
_COMPRESSIONS: Final[tuple[Compression, ...]] = get_args(Compression)
_BUFFER: Final = 1 << 20

ALLOWED_SUFFIXES: Final[tuple[str, ...]] = (
    *(f".{kind}" for kind in _KINDS),
    *(f".{kind}.{compression}" for kind in _TEXTS for compression in _COMPRESSIONS),
)
"""How the name of a file may end."""
ALLOWED: Final = (
    f"{', '.join(f'.{kind}' for kind in _KINDS)}; {', '.join(f'.{kind}' for kind in _TEXTS)} also followed by "
    f"{', '.join(f'.{compression}' for compression in _COMPRESSIONS)}"
)
"""The same for messages."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a file holds, and how it is compressed; None where it is not."""

    kind: Kind
    compression: Compression | None = None


def format_of_name(name: str) -> FileFormat | None:
    """The format of a file of this name; None where the name does not say."""
    stem, _, last = name.lower().rpartition(".")
    if last in _COMPRESSIONS:
        kind = stem.rpartition(".")[2]
        return FileFormat(kind, last) if kind in _TEXTS else None
    return FileFormat(last) if stem and last in _KINDS else None


def named_format(text: str) -> FileFormat:
    """The format that the user names, such as ``jsonl`` or ``csv.gz``.

    Raises:
        ConfigError: there is no such format.
    """
    found = format_of_name(f"file.{text.removeprefix('.')}")
    if found is None:
        raise ConfigError(f"--format is {text!r}: allowed are {ALLOWED.replace('.', '')} (as in jsonl.gz)")
    return found


@contextmanager
def decompressed(path: Path, compression: Compression | None) -> Iterator[BinaryFile]:
    """The file's bytes without its compression.

    Raises:
        InputError: it cannot be read, is cut short or is damaged; also while it is being read inside the block.
    """
    try:
        with _opened(path, compression) as stream:
            yield stream
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _opened(path: Path, compression: Compression | None) -> BinaryFile:
    match compression:
        case None:
            return path.open("rb")
        case "gz":
            return gzip.open(path, "rb")
        case "bz2":
            return bz2.open(path, "rb")
        case "xz":
            return lzma.open(path, "rb")
        case "zst":
            stream: Any = pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "zstd")
            return io.BufferedReader(stream, _BUFFER)  # Arrow's own stream reads no lines
