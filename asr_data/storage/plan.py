"""What a run was asked for: equal plans give equal bytes, and resuming compares them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Final, Self

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from asr_data.config import MaskConfig, OutputConfig, ScoringConfig, SequenceBaseline
from asr_data.errors import ConfigError
from asr_data.response import RESPONSE_TEXT
from asr_data.rows.layouts import Layout
from asr_data.types import RewardForm

_ABSENT: Final = "nothing"
_OPTIONAL: Final = ("reference", "tokenizer", "mask", "response_text", "template_date", "parent", "config_sha256")
_REMARKS: Final = ("config_sha256",)
"""Members that change no byte of the data: runs with another one are the same run."""
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
        where: the condition that rows had to meet to be scored; None for all rows.
    """

    description: str
    fingerprint: str
    rows: Count
    layout: str
    columns: dict[str, str]
    column_types: dict[str, Annotated[str, AfterValidator(type_name)]]
    license: str | None = None
    where: Annotated[str | None, Field(exclude_if=lambda where: where is None)] = None


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

    @property
    def knows_verdict(self) -> bool:
        """Whether it reads a response beside its partner, and is told which of the two is better.

        The levels of its rewards then say nothing of the verdict, and comparing a response with the other one is of no
        use.
        """
        features = self.settings.get("features")
        return isinstance(features, dict) and features.get("partner") is not None


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


class ParentRecord(_Part):
    """The output that this one is a selection of, and what was selected.

    Attributes:
        run_id: its ``asr_run``.
        manifest_sha256: SHA-256 of its ``asr.json``.
        where: the condition that rows meet; None for all.
        sample: how many of these were drawn; None for all.
        seed: of the draw.
        parent: what it was a selection of itself.
    """

    run_id: str
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    where: str | None = None
    sample: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    parent: ParentRecord | None = None

    def describe(self) -> str:
        """What was selected, as on the command line."""
        drawn = [] if self.sample is None else [f"--sample {self.sample} --seed {self.seed}"]
        return " ".join([*([] if self.where is None else [f"--where {self.where}"]), *drawn])


class Plan(_Part):
    """Everything that can change a byte of the output.

    Attributes:
        input: the data set.
        layout: how its rows are read.
        scorer: the reward model.
        scorer_tokenizer: its own tokenizer, where it has one.
        scoring: how the model is run.
        output: how the files are written.
        reference: the reference model, where log-probabilities are asked for.
        versions: package to version, of all that can change bytes.
        tokenizer: the policy tokenizer; None where masks are not asked for.
        mask: how segments and masks are made; None where they are not asked for.
        response_text: what response texts are, :data:`asr_data.response.RESPONSE_TEXT`; None: the contents alone, as in
            outputs of earlier versions.
        template_date: what chat templates that ask for the date are told; None where none asks.
        parent: the output that this one is a selection of; None where it is of an input.
        config_sha256: SHA-256 of the file of options that ``--config`` named; None where there was none.
    """

    input: InputRecord
    layout: Layout
    scorer: ScorerRecord
    scorer_tokenizer: TokenizerRecord | None
    scoring: ScoringConfig
    output: OutputConfig
    reference: ReferenceRecord | None = None
    versions: dict[str, str]
    tokenizer: TokenizerRecord | None = None
    mask: MaskConfig | None = None
    response_text: str | None = None
    template_date: date | None = None
    parent: ParentRecord | None = None
    config_sha256: str | None = None

    @property
    def shards(self) -> int:
        """Number of shards of the whole data set."""
        return -(-self.input.rows // self.output.shard_rows)

    @property
    def several_pairs(self) -> bool:
        """Whether an input row can become several rows, which ``asr_pair`` tells apart."""
        return self.layout.pairs.several

    @property
    def run_id(self) -> str:
        """16 hexadecimal digits that tie files to what they were made from; the value of every ``asr_run``.

        Raises:
            ConfigError: see :func:`canonical_json`.
        """
        counted = {name: value for name, value in self.to_json().items() if name not in _REMARKS}
        return hashlib.sha256(canonical_json(counted).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values, in order; what was not asked for is left out."""
        absent = {name for name in _OPTIONAL if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=absent)

    def masked(self, tokenizer: TokenizerRecord, mask: MaskConfig, template_date: date | None = None) -> Self:
        """The same plan with these segments and masks; ``template_date``: if it has none yet.

        A baseline that nobody chose is ``sequence`` where the scorer was told the verdict.
        """
        if self.scorer.knows_verdict and "baseline" not in mask.model_fields_set:
            mask = mask.model_copy(update={"baseline": SequenceBaseline()})
        day = self.template_date or template_date
        now = {"tokenizer": tokenizer, "mask": mask, "response_text": RESPONSE_TEXT, "template_date": day}
        return self.model_copy(update=now)

    def differences(self, other: Plan) -> list[str]:
        """See :func:`plan_differences`."""
        return plan_differences(self.to_json(), other.to_json())


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one JSON text of a value: keys sorted, no spaces, ASCII.

    Raises:
        ConfigError: the value has no JSON form, or holds a number that is not finite.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings have no JSON form: {error}") from error


def plain_json(value: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The value as it is read back from its canonical JSON: keys sorted, tuples as lists.

    Raises:
        ConfigError: see :func:`canonical_json`.
    """
    result: dict[str, JsonValue] = json.loads(canonical_json(value))
    return result


def plan_differences(before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> list[str]:
    """One line per setting that differs: its dotted name and both values, in order of name."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{name}: was {old.get(name, _ABSENT)}, now {new.get(name, _ABSENT)}"
        for name in sorted((old.keys() | new.keys()) - set(_REMARKS))
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


def _flat(plan: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in plan.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)
