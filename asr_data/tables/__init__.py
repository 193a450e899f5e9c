"""Annotated data as tables: lazy polars frames, and SQL over them. Importing this does not import polars."""

from asr_data.tables.filtering import filter_rows
from asr_data.tables.frames import frame
from asr_data.tables.sql import VIEWS, check_asked, check_reads_views, matching, query, views

__all__ = ["frame", "views", "query", "matching", "filter_rows", "check_asked", "check_reads_views", "VIEWS"]
