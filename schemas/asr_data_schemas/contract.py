"""The contract as JSON, for readers in other languages and for the test that guards it."""

from __future__ import annotations

import json
from importlib.resources import files

import pyarrow as pa

from asr_data_schemas.codes import NOTE_CODES, REJECT_CODES
from asr_data_schemas.columns import (
    CONTRACT_VERSION,
    REJECTS_SCHEMA,
    SIDES,
    data_schema,
    logprobs_schema,
    rejects_schema,
    scores_schema,
)


def contract_json() -> str:
    """The contract as declared in Python: column names and Arrow types in order, and all codes."""
    contract = {
        "contract_version": CONTRACT_VERSION,
        "sides": list(SIDES),
        "configs": {
            layout: {
                "default": _columns(data_schema(sides)),
                "default with a reference": _columns(data_schema(sides, reference=True)),
                "default with weights": _columns(data_schema(sides, weights=True)),
                "default with a reference and weights": _columns(data_schema(sides, reference=True, weights=True)),
                "scores": _columns(scores_schema(sides)),
                "logprobs": _columns(logprobs_schema(sides)),
            }
            for layout, sides in (("pair", SIDES[:2]), ("single", SIDES[2:]))
        },
        "rejects": _columns(REJECTS_SCHEMA),
        "where a row can be several pairs": {
            "default": _columns(data_schema(SIDES[:2], pairs=True)),
            "scores": _columns(scores_schema(SIDES[:2], pairs=True)),
            "logprobs": _columns(logprobs_schema(SIDES[:2], pairs=True)),
            "rejects": _columns(rejects_schema(pairs=True)),
        },
        "reject_codes": REJECT_CODES,
        "note_codes": NOTE_CODES,
    }
    return json.dumps(contract, indent=2) + "\n"


def frozen_contract_json() -> str:
    """The contract as frozen in ``contract-v1.json``."""
    name = f"contract-v{CONTRACT_VERSION}.json"
    return files("asr_data_schemas").joinpath(name).read_text(encoding="utf-8")


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}
