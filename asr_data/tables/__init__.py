"""Annotated data as tables: lazy polars frames, and SQL over them. Importing this does not import polars."""

from asr_data.tables.frames import frame
from asr_data.tables.sql import VIEWS, matching, query, views

__all__ = ["frame", "views", "query", "matching", "VIEWS"]
