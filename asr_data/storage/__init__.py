"""Output directories: written whole or not at all, read with their checksums, validated to the last row.

What is exported here reads them. What writes them is in the modules: ``output``, ``commit``, ``work``, ``card``.
"""

from __future__ import annotations

from asr_data.storage.commit import FileRecord
from asr_data.storage.manifest import Counts, Manifest, load_manifest
from asr_data.storage.plan import InputRecord, ParentRecord, Plan, ReferenceRecord, ScorerRecord, TokenizerRecord
from asr_data.storage.reader import AnnotatedDirectory, open_output
from asr_data.storage.validate import Problem, validate

__all__ = [
    "open_output",
    "AnnotatedDirectory",
    "load_manifest",
    "Manifest",
    "Plan",
    "InputRecord",
    "ParentRecord",
    "ScorerRecord",
    "ReferenceRecord",
    "TokenizerRecord",
    "Counts",
    "FileRecord",
    "validate",
    "Problem",
]
