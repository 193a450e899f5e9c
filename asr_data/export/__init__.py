"""Annotated directories in the formats of trainers that know nothing of masks."""

from __future__ import annotations

from asr_data.export.examples import Truncate
from asr_data.export.formats import FORMATS, Target
from asr_data.export.run import Exported, export

__all__ = ["export", "Exported", "Target", "Truncate", "FORMATS"]
