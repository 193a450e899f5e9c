"""Annotated rows made visible to people."""
