"""The columns of ``data/``: the input's, then those that are added, under names that the input does not use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from asr_data.errors import ConfigError


def check_collisions(input_columns: Iterable[str], added: Iterable[str]) -> None:
    """Refuses to add a column under a name that the input uses.

    Args:
        input_columns: names of the input's columns.
        added: names of the columns to be added, prefix included.

    Raises:
        ConfigError: names the columns and ``--prefix``.
    """
    taken = set(input_columns)
    colliding = [name for name in added if name in taken]
    if colliding:
        raise ConfigError(
            f"the input already has {_quoted(colliding)}, which would be added: pass --prefix TEXT to put "
            "TEXT before every added column"
        )


def with_added(columns: pa.Schema, added: Iterable[pa.Field[Any]]) -> pa.Schema:
    """The input's columns, with the metadata that ``datasets`` reads their features from, then the added ones."""
    metadata: Any = columns.metadata
    return pa.schema([*columns, *added], metadata=metadata)


def _quoted(names: list[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + ", ".join(repr(name) for name in names)
