"""From a run's arguments to its plan."""

from __future__ import annotations

from datetime import date
from importlib.metadata import version
from typing import Final

from asr_data.config import OutputConfig, ScoringConfig
from asr_data.response import RESPONSE_TEXT
from asr_data.rows import Layout, Source
from asr_data.scoring.protocol import Scorer
from asr_data.storage.plan import InputRecord, Plan, ReferenceRecord, ScorerRecord, TokenizerRecord
from asr_data.text.tokenizer import Tokenizer

_VERSIONED: Final = ("asr-data", "numpy", "pyarrow", "tokenizers", "torch", "transformers")


def versions() -> dict[str, str]:
    """Versions of the packages that can change bytes."""
    return {package: version(package) for package in _VERSIONED}


def scoring_plan(
    source: Source,
    layout: Layout,
    scorer: Scorer,
    scoring: ScoringConfig,
    writing: OutputConfig,
    reference: ReferenceRecord | None = None,
    template_date: date | None = None,
    config_sha256: str | None = None,
) -> Plan:
    """The plan of ``score``: input, layout, scorer and how the files are written."""
    info = scorer.info
    return Plan(
        input=input_record(source, layout),
        layout=layout,
        scorer=ScorerRecord(
            name=_encodable(info.name),
            kind=info.kind,
            form=info.form,
            fingerprint=info.fingerprint,
            settings=dict(info.settings),
            partial=info.partial,
        ),
        scorer_tokenizer=None if scorer.tokenizer is None else tokenizer_record(scorer.tokenizer),
        scoring=scoring,
        output=writing,
        reference=reference,
        versions=versions(),
        response_text=RESPONSE_TEXT,
        template_date=template_date,
        config_sha256=config_sha256,
    )


def input_record(source: Source, layout: Layout) -> InputRecord:
    """The data set, as the plan and the manifest have it."""
    return InputRecord(
        description=_encodable(source.description),
        fingerprint=source.fingerprint,
        rows=source.rows,
        layout=layout.kind,
        columns={str(role): column for role, column in layout.columns.items()},
        column_types={field.name: str(field.type) for field in source.schema},
        where=source.where,
    )


def tokenizer_record(tokenizer: Tokenizer) -> TokenizerRecord:
    """Name and fingerprint."""
    return TokenizerRecord(name=_encodable(tokenizer.name), fingerprint=tokenizer.fingerprint)


def _encodable(name: str) -> str:
    """File names may hold bytes that are not UTF-8; JSON files cannot."""
    return name.encode("utf-8", "backslashreplace").decode()
