"""What is asked for, as JSON: equal plans give equal bytes, and resuming compares them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from typing import Any

from asr_data.config import MaskConfig, OutputConfig, Part, ScoringConfig
from asr_data.response import RESPONSE_TEXT
from asr_data.rows import Layout, Source
from asr_data.scoring.protocol import Scorer
from asr_data.storage.manifest import InputRecord, ReferenceRecord, ScorerRecord, TokenizerRecord
from asr_data.storage.work import PartRecord
from asr_data.text.clock import PLAN_KEY
from asr_data.text.tokenizer import Tokenizer

_VERSIONED = ("asr-data", "numpy", "pyarrow", "tokenizers", "torch", "transformers")


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
) -> dict[str, Any]:
    """The plan of ``score``: input, layout, scorer and how the files are written."""
    info = scorer.info
    record = InputRecord(
        description=_encodable(source.description),
        fingerprint=source.fingerprint,
        rows=source.rows,
        layout=layout.kind,
        columns={str(role): column for role, column in layout.columns.items()},
        column_types={field.name: str(field.type) for field in source.schema},
    )
    scored_by = ScorerRecord(
        name=_encodable(info.name),
        kind=info.kind,
        form=info.form,
        fingerprint=info.fingerprint,
        settings=dict(info.settings),
        partial=info.partial,
    )
    tokenizer = scorer.tokenizer
    return {
        "input": record.model_dump(mode="json"),
        "layout": layout.model_dump(mode="json"),
        "response_text": RESPONSE_TEXT,
        **({} if template_date is None else {PLAN_KEY: template_date.isoformat()}),
        "scorer": scored_by.model_dump(mode="json"),
        "scorer_tokenizer": None if tokenizer is None else tokenizer_record(tokenizer).model_dump(mode="json"),
        "scoring": scoring.model_dump(mode="json"),
        "output": writing.model_dump(mode="json"),
        **({} if reference is None else {"reference": reference.model_dump(mode="json")}),
        "versions": versions(),
    }


def mask_plan(
    scored: Mapping[str, Any], tokenizer: Tokenizer, mask: MaskConfig, template_date: date | None = None
) -> dict[str, Any]:
    """The plan of ``run``, and of ``mask`` after ``score``: the same either way."""
    kept = {key: value for key, value in scored.items() if key not in ("tokenizer", "mask")}
    return {
        **kept,
        "response_text": RESPONSE_TEXT,
        **({} if template_date is None else {PLAN_KEY: template_date.isoformat()}),
        "tokenizer": tokenizer_record(tokenizer).model_dump(mode="json"),
        "mask": mask.model_dump(mode="json"),
    }


def tokenizer_record(tokenizer: Tokenizer) -> TokenizerRecord:
    """Name and fingerprint."""
    return TokenizerRecord(name=_encodable(tokenizer.name), fingerprint=tokenizer.fingerprint)


def _encodable(name: str) -> str:
    """File names may hold bytes that are no UTF-8; no JSON file does."""
    return name.encode("utf-8", "backslashreplace").decode()


def part_record(plan: Mapping[str, Any], part: Part) -> PartRecord:
    """What a part keeps beside the plan."""
    return PartRecord(
        part=part,
        input=InputRecord.model_validate(plan["input"]),
        scorer=ScorerRecord.model_validate(plan["scorer"]),
    )
