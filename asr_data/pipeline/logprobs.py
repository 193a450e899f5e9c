"""The reference model's log-probabilities beside the rewards of stage ``score``: how they are recorded and stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from asr_data.errors import ConfigError
from asr_data.pipeline.plan import tokenizer_record
from asr_data.storage import ReferenceRecord
from asr_data.storage.output import Rows
from asr_data.text.tokenizer import Tokenizer
from asr_data.types import Float32, Side
from asr_data_schemas import logprobs_schema

if TYPE_CHECKING:  # loads torch
    from asr_data.scoring.reference import Reference


def reference_record(reference: Reference | None) -> ReferenceRecord | None:
    """What the manifest says of a reference; None without one."""
    if reference is None:
        return None
    return ReferenceRecord(
        name=reference.name,
        fingerprint=reference.fingerprint,
        tokenizer=tokenizer_record(reference.tokenizer),
        dtype=reference.dtype,
        device=reference.device,
        batch_tokens=reference.engine.batch_tokens,
        attention=reference.engine.attention,
    )


def check_reference(reference: Reference | None, policy: Tokenizer) -> None:
    """Raise ConfigError unless the reference's tokens are the policy's."""
    if reference is not None and reference.tokenizer.fingerprint != policy.fingerprint:
        raise ConfigError(
            f"the reference {reference.name} has another tokenizer than the policy ({policy.name}), so its "
            "log-probabilities would be of other tokens; name the reference's tokenizer with --tokenizer, or leave out "
            "--logprobs"
        )


def logprob_table(rows: Sequence[int], found: Sequence[tuple[Float32, ...]], sides: Sequence[Side]) -> Rows:
    """The ``logprobs`` columns of the rows with these indices."""
    from asr_data.pipeline.scoring import ragged

    schema = logprobs_schema(sides)
    columns: list[Any] = [pa.array(rows, type=pa.int64())]
    columns += [ragged([row[position] for row in found], pa.float32()) for position in range(len(sides))]
    return schema, [pa.Table.from_arrays(columns, schema=schema)]
