"""Output directories: written whole or not at all, read with their checksums, validated to the last row."""

from __future__ import annotations

from asr_data.storage.card import dataset_card
from asr_data.storage.columns import check_collisions
from asr_data.storage.commit import (
    COMMIT_POINTS,
    FileRecord,
    check_file,
    commit_bytes,
    commit_parquet,
    file_sha256,
    observe,
)
from asr_data.storage.manifest import (
    Counts,
    InputRecord,
    Manifest,
    ReferenceRecord,
    ScorerRecord,
    TokenizerRecord,
    load_manifest,
    run_id,
)
from asr_data.storage.output import OutputDirectory
from asr_data.storage.reader import AnnotatedDirectory, open_output
from asr_data.storage.validate import Problem, validate
from asr_data.storage.work import PartRecord, ShardRecord, WorkState

__all__ = [
    "OutputDirectory",
    "ShardRecord",
    "PartRecord",
    "WorkState",
    "Manifest",
    "InputRecord",
    "ScorerRecord",
    "ReferenceRecord",
    "TokenizerRecord",
    "Counts",
    "FileRecord",
    "load_manifest",
    "run_id",
    "dataset_card",
    "check_collisions",
    "open_output",
    "AnnotatedDirectory",
    "validate",
    "Problem",
    "COMMIT_POINTS",
    "observe",
    "commit_bytes",
    "commit_parquet",
    "check_file",
    "file_sha256",
]
