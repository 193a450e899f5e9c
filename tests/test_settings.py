"""What all settings share: errors that say what is allowed, and marks on their fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, ValidationError

from asr_data.config import FixedBaseline, MaskConfig, Optimal, OutputConfig, Part, Pivot, Schmitt, ScoringConfig
from asr_data.errors import ConfigError
from asr_data.settings import Settings, SweepValues, field_type, forms, swept
from asr_data.storage.manifest import Manifest


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskConfig(reward="x"), 'MaskConfig.reward is \'x\': expected "value" or "delta"'),
        (lambda: Schmitt(delta=-1), 'Schmitt.delta is -1: expected a finite number >= 0 or "auto"'),
        (lambda: MaskConfig(segmenter={"kind": "pivot", "tau": "much"}), "MaskConfig.segmenter.tau is 'much'"),
        (lambda: MaskConfig(segmenter=3), 'MaskConfig.segmenter is 3: expected "sequence"'),
        (lambda: MaskConfig(baseline=True), 'MaskConfig.baseline is True: expected "pair"'),
        (lambda: MaskConfig(baseline=float("nan")), "MaskConfig.baseline.value is nan: expected a finite number"),
        (lambda: MaskConfig(segmenter=FixedBaseline(value=1)), "MaskConfig.segmenter is FixedBaseline"),
        (lambda: FixedBaseline(), "FixedBaseline.value is missing: expected a finite number"),
        (lambda: Optimal(boundary={"word": 0}), "Optimal.boundary.word is 0: expected a finite number > 0"),
        (lambda: Optimal(boundary={"para": 2}), "Optimal.boundary.para is not a setting; allowed are inside_word"),
        (lambda: MaskConfig(sigma=1), "MaskConfig.sigma is not a setting; allowed are segmenter, baseline"),
        (lambda: ScoringConfig(batch_tokens=0), 'ScoringConfig.batch_tokens is 0: expected a whole number >= 1'),
        (lambda: OutputConfig(shard_rows=1.5), "OutputConfig.shard_rows is 1.5: expected a whole number >= 1"),
        (lambda: Part(num_shards=2, shard_index=2), "Part is invalid: shard_index is 2, but of 2 jobs"),
        (lambda: MaskConfig.model_validate({"noise": "all"}), "MaskConfig.noise is 'all'"),
        (lambda: MaskConfig.model_validate([]), "MaskConfig is []: expected MaskConfig"),
    ],
)  # fmt: skip
def test_wrong_settings_say_what_is_allowed(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build()
    assert str(raised.value).startswith(message)


def test_a_class_that_may_hold_secrets_keeps_values_out_of_messages() -> None:
    class Login(Settings):
        model_config = ConfigDict(hide_input_in_errors=True)

        user: Annotated[str, Field(min_length=1)]
        variable: Annotated[str, Field(pattern="^[A-Z]+$")]
        tries: int = 1

    with pytest.raises(ConfigError) as raised:
        Login(user="", variable="s3cret", tries="s3cret")
    assert str(raised.value).splitlines()[1:] == [
        "  Login.user is invalid: expected text that is not empty",
        "  Login.variable is invalid: expected text of the form ^[A-Z]+$",
        "  Login.tries is invalid: expected a whole number",
    ]


def test_every_wrong_setting_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        Pivot(tau="big", k=0, width=3)
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 settings are wrong:"
    assert [line.split()[0] for line in lines[1:]] == ["Pivot.tau", "Pivot.k", "Pivot.width"]


def test_settings_within_a_file_are_the_error_of_its_reader() -> None:
    with pytest.raises(ValidationError) as raised:
        Manifest.model_validate({"mask": {"segmenter": {"kind": "schmitt", "delta": -1}}})
    assert ("mask", "segmenter", "schmitt", "delta") in {error["loc"][:4] for error in raised.value.errors()}


def test_names_and_numbers_are_short_for_settings() -> None:
    assert MaskConfig(segmenter="schmitt", baseline=0.5) == MaskConfig(
        segmenter=Schmitt(), baseline=FixedBaseline(value=0.5)
    )


def test_dumps_are_those_of_old_manifests() -> None:
    assert list(Pivot().model_dump().items()) == [("kind", "pivot"), ("tau", "auto"), ("k", 3.0)]
    assert list(Schmitt(delta=0.5).model_dump().items()) == [("kind", "schmitt"), ("delta", 0.5), ("k", 1.0)]
    assert list(Optimal(boundary=None).model_dump().items()) == [
        ("kind", "optimal"), ("penalty", "paper"), ("boundary", None),
    ]  # fmt: skip
    assert list(MaskConfig().model_dump()) == [
        "segmenter", "baseline", "reward", "sequence_reward", "segment_reward", "noise", "on_empty", "end_token",
    ]  # fmt: skip


class One(Settings):
    """Two marked settings."""

    kind: Literal["one"] = "one"
    size: Annotated[int, Field(ge=1, le=9), SweepValues(1, 2)] = 1
    how: Annotated[Literal["a", "b"] | None, SweepValues("a", None)] = "a"


class Two(Settings):
    """A required setting that is not marked."""

    kind: Literal["two"] = "two"
    size: float


def test_the_sweep_is_every_combination_of_the_marks() -> None:
    found = swept(One | Two)
    assert found == (One(size=1), One(size=1, how=None), One(size=2), One(size=2, how=None))


def test_forms_by_hand() -> None:
    allowed = {name: forms(field_type(field)) for name, field in One.model_fields.items()}
    assert allowed == {
        "kind": ['"one"'],
        "size": ["a whole number >= 1 and <= 9"],
        "how": ['"a"', '"b"', "None"],
    }
