"""``asr.json``: what an output directory is, how it was made, and what each of its files must be."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import ConfigError, CorruptFileError
from asr_data.storage.commit import FileRecord
from asr_data.storage.seal import parse_json, sealed_json, unsealed
from asr_data.types import RewardForm, Side
from asr_data_schemas import CONTRACT_VERSION, REJECTS_SCHEMA, data_schema, logprobs_schema, row_schema, scores_schema

MANIFEST_NAME: Final = "asr.json"
CARD_NAME: Final = "README.md"

_LIST_ITEM: Final = re.compile(r"(list(?:_view)?<)[^:<>]+: ")


def type_name(kind: pa.DataType | str) -> str:
    """An Arrow type as text. Values of lists are always named ``item``: Parquet renames them ``element``."""
    return _LIST_ITEM.sub(r"\1item: ", str(kind))


Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputRecord(_Part):
    """The data set that was read.

    Attributes:
        description: what the user asked for, such as a path or a Hub id with its split.
        fingerprint: hash of the content.
        rows: number of rows, rejected ones included.
        layout: the layout that was detected or asked for.
        columns: role to column, such as ``{"prompt": "question"}``.
        column_types: every input column and its Arrow type, in order.
        license: the data set's licence identifier, where it is known.
    """

    description: str
    fingerprint: str
    rows: Count
    layout: str
    columns: dict[str, str]
    column_types: dict[str, Annotated[str, AfterValidator(type_name)]]
    license: str | None = None


class ScorerRecord(_Part):
    """The reward model.

    Attributes:
        name: what the user asked for.
        kind: such as ``token_head``.
        form: whether it gives values or increments.
        fingerprint: hash of weights and settings.
        settings: how it was read.
        partial: whether it may leave rewards unknown; only then may reward columns hold nulls.
    """

    name: str
    kind: str
    form: RewardForm
    fingerprint: str
    settings: dict[str, JsonValue] = {}
    partial: bool = False


class TokenizerRecord(_Part):
    """The policy tokenizer that the masks are for."""

    name: str
    fingerprint: str


class ReferenceRecord(_Part):
    """The reference model whose log-probabilities are written.

    Attributes:
        name: what the user asked for.
        fingerprint: hash of its weights.
        tokenizer: its tokenizer; log-probabilities are over its tokens.
        dtype: number format that it ran in.
    """

    name: str
    fingerprint: str
    tokenizer: TokenizerRecord
    dtype: str


class Counts(_Part):
    """Rows in and rows out; ``rows = annotated + rejected``.

    Attributes:
        rows: input rows.
        annotated: rows in ``data/``.
        rejected: rows in ``rejects/``.
        notes: how many annotated rows carry each note code.
        rejects: how many rejected rows carry each reason code.
    """

    rows: Count
    annotated: Count
    rejected: Count
    notes: dict[str, Count] = {}
    rejects: dict[str, Count] = {}


class Manifest(_Part):
    """Content of ``asr.json``. Holds no time, place or machine, so that equal runs give equal files.

    Attributes:
        contract_version: version of the data contract.
        asr_data_version: version of this package.
        stage: ``masked``, or ``scored`` where ``data/`` has no masks yet.
        run_id: 16 hexadecimal digits; the value of every ``asr_run``.
        input: the data set.
        scorer: the reward model.
        tokenizer: the policy tokenizer; None before masking.
        reference: the reference model, where log-probabilities were asked for.
        scoring: how the model was run.
        mask: how segments and masks were made; None before masking.
        output: how the files were written.
        sides: the columns that were scored.
        statistics: what was measured over the data set, such as ``sigma``.
        counts: rows in and out.
        files: every Parquet file of the directory.
        versions: package to version, of all that can change bytes.
        card_sha256: SHA-256 of ``README.md``; None before the directory is finished.
        plan: what was asked for; resuming compares it.
    """

    contract_version: Literal[1] = CONTRACT_VERSION
    asr_data_version: str
    stage: Literal["scored", "masked"]
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    input: InputRecord
    scorer: ScorerRecord
    tokenizer: TokenizerRecord | None = None
    reference: ReferenceRecord | None = None
    scoring: ScoringConfig = ScoringConfig()
    mask: MaskConfig | None = None
    output: OutputConfig = OutputConfig()
    sides: Annotated[tuple[Side, ...], Field(min_length=1)]
    statistics: dict[str, FiniteFloat] = {}
    counts: Counts
    files: tuple[FileRecord, ...]
    versions: dict[str, str] = {}
    card_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    plan: dict[str, JsonValue] = {}

    @property
    def prefix(self) -> str:
        """Put before every added column."""
        return self.output.prefix

    def added_columns(self) -> dict[str, str]:
        """The columns that ``data/`` has beyond the input's, and their Arrow types, in order."""
        masked = self.stage == "masked"
        with_reference = self.reference is not None
        schema = data_schema(self.sides, self.prefix, reference=with_reference) if masked else row_schema(self.prefix)
        return {field.name: type_name(field.type) for field in schema}

    def columns_of(self, record: FileRecord) -> dict[str, str]:
        """The columns of one of the files and their Arrow types, in order."""
        config = record.path.partition("/")[0]
        if config == "data":
            return self.input.column_types | self.added_columns()
        schemas = {"scores": scores_schema(self.sides), "logprobs": logprobs_schema(self.sides)}
        return {field.name: type_name(field.type) for field in schemas.get(config, REJECTS_SCHEMA)}

    def files_of(self, config: Literal["data", "scores", "logprobs", "rejects"]) -> tuple[FileRecord, ...]:
        """The files in one of the folders, in row order."""
        return tuple(record for record in self.files if record.path.startswith(f"{config}/"))

    def to_bytes(self) -> bytes:
        """The content of ``asr.json``."""
        return sealed_json(self.model_dump(mode="json"))


def load_manifest(directory: Path) -> Manifest:
    """Reads ``directory/asr.json``.

    Raises:
        CorruptFileError: it is missing, not what was written, or does not describe an output of this contract version.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        raise CorruptFileError(
            f"{path}: missing; {directory} is not a finished output of asr-annotate ({MANIFEST_NAME} is written last)"
        )
    data = path.read_bytes()
    content = parse_json(path, data)
    version = content.get("contract_version") if isinstance(content, dict) else None
    if version != CONTRACT_VERSION:
        raise CorruptFileError(
            f"{path}: contract_version is {version!r}, but this package reads version {CONTRACT_VERSION}"
        )
    try:
        return Manifest.model_validate(unsealed(path, data))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise CorruptFileError(f"{path}: {problems}") from error


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one JSON text of a value: keys sorted, no spaces, ASCII.

    Raises:
        ConfigError: the value has no JSON form, or holds a number that is not finite.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings have no JSON form: {error}") from error


def run_id(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that tie files to what they were made from.

    Args:
        parts: everything that can change a byte of the output, as JSON values.
    """
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]
