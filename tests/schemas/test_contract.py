from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from asr_data_schemas import (
    CONTRACT_VERSION,
    NOTE_CODES,
    REJECT_CODES,
    REJECTS_SCHEMA,
    SIDES,
    contract_json,
    data_schema,
    frozen_contract_json,
    row_schema,
    scores_schema,
)


def test_the_contract_is_the_frozen_one() -> None:
    now, frozen = json.loads(contract_json()), json.loads(frozen_contract_json())
    codes = [(contract.pop("reject_codes"), contract.pop("note_codes")) for contract in (now, frozen)]
    assert now == frozen, "columns changed: raise CONTRACT_VERSION, then freeze it with python -m asr_data_schemas"
    # A reader that meets a code it does not know still has its message, so a new one does not change the version.
    assert codes[0] == codes[1], "codes changed: freeze them with python -m asr_data_schemas, and never drop one"
    assert contract_json() == frozen_contract_json()


def test_printed_by_the_module_without_heavy_imports() -> None:
    program = (
        "import runpy, sys; runpy.run_module('asr_data_schemas', run_name='__main__');"
        "sys.exit(str({'torch', 'datasets', 'asr_data'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr.strip()) == (frozen_contract_json(), "")


def test_columns_in_the_order_of_the_design() -> None:
    assert data_schema(("completion",)).names == [
        "prompt_ids",
        "completion_ids",
        "completion_mask",
        "completion_token_reward",
        "completion_seg_start",
        "completion_seg_text_start",
        "completion_seg_reward",
        "completion_seg_keep",
        "completion_reward",
        "asr_notes",
        "asr_row",
        "asr_run",
    ]
    assert scores_schema(("completion",)).names == [
        "asr_row",
        "completion_span_end",
        "completion_span_reward",
        "completion_step_end",
        "completion_reward",
    ]
    assert REJECTS_SCHEMA.names == ["asr_row", "code", "message"]


def test_types_are_plain_lists_and_prefixes_go_before_every_column() -> None:
    schema = data_schema(("chosen", "rejected"), prefix="x_")
    assert all(name.startswith("x_") for name in schema.names)
    assert schema.field("x_chosen_mask").type == pa.list_(pa.bool_())
    assert schema.field("x_rejected_reward").type == pa.float32()
    assert schema.field("x_asr_row").type == pa.int64()
    assert row_schema("x_").names == ["x_asr_notes", "x_asr_row", "x_asr_run"]
    assert not any(pa.types.is_large_list(field.type) for field in schema)


def test_an_unknown_side_is_refused() -> None:
    for make in (data_schema, scores_schema):
        with pytest.raises(ValueError, match="'winner' is not one of chosen, rejected, completion"):
            make(("winner",))


def test_version_sides_and_codes() -> None:
    assert (CONTRACT_VERSION, SIDES) == (1, ("chosen", "rejected", "completion"))
    assert json.loads(contract_json())["contract_version"] == 1
    for code, explanation in (REJECT_CODES | NOTE_CODES).items():
        assert code == code.lower()
        assert explanation
    assert {f"empty_mask_{side}" for side in SIDES} <= NOTE_CODES.keys()
