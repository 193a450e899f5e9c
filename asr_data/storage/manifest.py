"""``asr.json``: what an output directory is, how it was made, and what each of its files must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from asr_data.config import MaskConfig, OutputConfig, ScoringConfig
from asr_data.errors import CorruptFileError
from asr_data.storage.commit import FileRecord
from asr_data.storage.plan import (
    Count,
    InputRecord,
    Plan,
    ReferenceRecord,
    ScorerRecord,
    TokenizerRecord,
    plain_json,
    type_name,
)
from asr_data.storage.seal import parse_json, sealed_json, unsealed
from asr_data.types import Side
from asr_data_schemas import CONTRACT_VERSION, data_schema, logprobs_schema, rejects_schema, row_schema, scores_schema

MANIFEST_NAME: Final = "asr.json"
CARD_NAME: Final = "README.md"

_OF_PLAN: Final = ("input", "scorer", "scoring", "output", "reference", "mask", "versions")
"""What the manifest says on its own, and its plan, too."""


class Counts(BaseModel):
    """Rows in and rows out; ``annotated + rejected`` is ``rows``, or ``pairs``.

    Attributes:
        rows: input rows.
        annotated: rows in ``data/``.
        rejected: rows in ``rejects/``.
        pairs: where an input row can be several rows, all of them, with the input rows that are rejected as a whole.
        notes: how many annotated rows carry each note code.
        rejects: how many rejected rows carry each reason code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Count
    annotated: Count
    rejected: Count
    notes: dict[str, Count] = {}
    rejects: dict[str, Count] = {}
    pairs: Annotated[Count | None, Field(exclude_if=lambda pairs: pairs is None)] = None

    @property
    def entries(self) -> int:
        """Rows of ``data/`` and ``rejects/`` together."""
        return self.rows if self.pairs is None else self.pairs


class Manifest(BaseModel):
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

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    plan: Plan

    @model_validator(mode="before")
    @classmethod
    def _plan_in_order(cls, content: Any) -> Any:
        """A file has the plan's keys sorted; the manifest's own records keep the order of the input's columns."""
        plan = content.get("plan") if isinstance(content, dict) else None
        if not isinstance(plan, dict):
            return content
        ordered = {name: content[name] for name in _OF_PLAN if name in plan and plan[name] == content.get(name)}
        return {**content, "plan": {**plan, **ordered}}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.stage == "masked" and self.mask is None:
            raise ValueError("stage is masked, but mask does not say how")
        if (self.counts.pairs is not None) != self.plan.several_pairs:
            raise ValueError(f"counts.pairs is {self.counts.pairs}, and plan.layout.pairs is {self.plan.layout.pairs}")
        of_layout = self.plan.layout.sides
        if self.sides != of_layout:
            raise ValueError(f"sides are {', '.join(self.sides)}, but those of plan.layout {', '.join(of_layout)}")
        for name in _OF_PLAN:
            if getattr(self, name) != getattr(self.plan, name):
                raise ValueError(f"plan.{name} is not what {name} says")
        return self

    @classmethod
    def of(
        cls,
        plan: Plan,
        *,
        asr_data_version: str,
        counts: Counts,
        files: Sequence[FileRecord],
        statistics: Mapping[str, float],
    ) -> Self:
        """The manifest of what a plan asked for.

        Args:
            plan: what was asked for.
            asr_data_version: version of this package.
            counts: rows in and out.
            files: every Parquet file.
            statistics: what was measured over the data set.
        """
        return cls(
            asr_data_version=asr_data_version,
            stage="scored" if plan.mask is None else "masked",
            run_id=plan.run_id,
            input=plan.input,
            scorer=plan.scorer,
            tokenizer=plan.tokenizer or plan.scorer_tokenizer,
            reference=plan.reference,
            scoring=plan.scoring,
            mask=plan.mask,
            output=plan.output,
            sides=plan.layout.sides,
            statistics=dict(statistics),
            counts=counts,
            files=tuple(sorted(files, key=lambda file: file.path)),
            versions=plan.versions,
            plan=plan,
        )

    @property
    def prefix(self) -> str:
        """Put before every added column."""
        return self.output.prefix

    @property
    def has_weights(self) -> bool:
        """Whether the rows have ``S_weight``."""
        return self.mask is not None and self.mask.has_weights

    def added_columns(self) -> dict[str, str]:
        """The columns that ``data/`` has beyond the input's, and their Arrow types, in order."""
        masked = self.stage == "masked"
        pairs = self.plan.several_pairs
        optional = {"reference": self.reference is not None, "weights": self.has_weights, "pairs": pairs}
        schema = data_schema(self.sides, self.prefix, **optional) if masked else row_schema(self.prefix, pairs=pairs)
        return {field.name: type_name(field.type) for field in schema}

    def schemas(self) -> dict[str, pa.Schema]:
        """Of the folders ``scores``, ``logprobs`` and ``rejects``."""
        pairs = self.plan.several_pairs
        return {
            "scores": scores_schema(self.sides, pairs=pairs),
            "logprobs": logprobs_schema(self.sides, pairs=pairs),
            "rejects": rejects_schema(pairs=pairs),
        }

    def columns_of(self, record: FileRecord) -> dict[str, str]:
        """The columns of one of the files and their Arrow types, in order."""
        config = record.path.partition("/")[0]
        if config == "data":
            return self.input.column_types | self.added_columns()
        schemas = self.schemas()
        return {field.name: type_name(field.type) for field in schemas.get(config, schemas["rejects"])}

    def files_of(self, config: Literal["data", "scores", "logprobs", "rejects"]) -> tuple[FileRecord, ...]:
        """The files in one of the folders, in row order."""
        return tuple(record for record in self.files if record.path.startswith(f"{config}/"))

    def to_bytes(self) -> bytes:
        """The content of ``asr.json``."""
        # Sorted, as every file of this contract version has it: equal runs of other versions give equal bytes.
        return sealed_json({**self.model_dump(mode="json"), "plan": plain_json(self.plan.to_json())})


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
