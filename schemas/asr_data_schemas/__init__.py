"""The data contract: columns, types and codes of everything an output directory holds (version 1).

Depends on nothing but pyarrow, so that a reader of the files needs no other package. ``contract-v1.json``
beside this file is the same contract, frozen: a change of one without the other is a failing test.
"""

from __future__ import annotations

from asr_data_schemas.codes import NOTE_CODES, REJECT_CODES
from asr_data_schemas.columns import (
    CONTRACT_VERSION,
    REJECTS_SCHEMA,
    SIDES,
    Side,
    data_schema,
    logprobs_schema,
    rejects_schema,
    row_schema,
    scores_schema,
)
from asr_data_schemas.contract import contract_json, frozen_contract_json

__all__ = [
    "CONTRACT_VERSION",
    "SIDES",
    "Side",
    "data_schema",
    "row_schema",
    "scores_schema",
    "logprobs_schema",
    "rejects_schema",
    "REJECTS_SCHEMA",
    "REJECT_CODES",
    "NOTE_CODES",
    "contract_json",
    "frozen_contract_json",
]
