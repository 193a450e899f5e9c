"""Annotated rows as one HTML file, which needs nothing but a browser."""

from asr_data.view.report.page import DEFAULT_ROWS, Report, write_report

__all__ = ["DEFAULT_ROWS", "Report", "write_report"]
