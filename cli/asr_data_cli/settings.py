"""From the words of the command line to typed settings.

Every function names the option in its error. :class:`Checks` gathers the errors, so that a user sees all of
them at once and not one per attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from asr_data.config import MaskConfig, Part, SegmenterConfig
from asr_data.errors import ConfigError
from asr_data.settings import Settings, models
from asr_data_cli.setting_text import (
    kind_of,
    name_value_pairs,
    option,
    option_fields,
    parse,
    parse_baseline,
    parse_weights,
)

T = TypeVar("T")
F = TypeVar("F")
S = TypeVar("S", bound=Settings)


class Checks:
    """Collects the errors of several settings."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def attempt(self, build: Callable[[], T], fallback: F) -> T | F:
        """What ``build`` returns; where it raises ConfigError, note the message and give ``fallback``."""
        try:
            return build()
        except ConfigError as error:
            self.note(str(error))
            return fallback

    def note(self, message: str) -> None:
        """Add one error."""
        self._messages.append(message)

    def finish(self) -> None:
        """Raise ConfigError with every error noted, if there is one."""
        if len(self._messages) == 1:
            raise ConfigError(self._messages[0])
        if self._messages:
            lines = "".join(f"\n  {message}" for message in self._messages)
            raise ConfigError(f"{len(self._messages)} options are invalid:{lines}")


def from_options(kind: type[S], values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> S:
    """Settings from the values of options with the fields' names.

    Args:
        kind: the settings class.
        values: by field.
        names: what the user calls a field, where that is not its option.

    Raises:
        ConfigError: a value is wrong; the message has the option in place of the field.
    """
    try:
        return kind.model_validate(dict(values))
    except ConfigError as error:
        said = str(error).replace(f"{kind.__name__} is invalid: ", "")
        typed = re.sub(rf"\b{kind.__name__}\.(\w+)", lambda found: (names or {}).get(found[1], option(found[1])), said)
        raise ConfigError(typed) from None


def mask_config(typed: Mapping[str, Any], checks: Checks) -> MaskConfig:
    """Settings of segments and masks; errors go to ``checks``, with defaults in their place.

    Args:
        typed: the options by parameter name, as the user typed them; None where not given.
        checks: collects the errors.
    """
    plain = {name: typed[name] for name in MaskConfig.model_fields if name not in ("segmenter", "baseline", "weights")}
    chosen: dict[str, Any] = {"segmenter": segmenter(typed, checks)}
    if (baseline := typed["baseline"]) is not None:  # left out, it is up to the scorer
        chosen["baseline"] = checks.attempt(lambda: parse_baseline(baseline), MaskConfig().baseline)
    return MaskConfig(
        **chosen,
        weights=checks.attempt(lambda: parse_weights(typed["weights"]), MaskConfig().weights),
        **plain,
    )


def segmenter(typed: Mapping[str, Any], checks: Checks) -> SegmenterConfig:
    """The segmenter chosen; a setting that belongs to another one is an error."""
    found: dict[str, Any] = {}
    [chosen] = [model for model in models(SegmenterConfig) if kind_of(model) == typed["segmenter"]]
    own = set(option_fields(chosen))
    for name, owners in segmenter_options().items():
        text = typed[name]
        if text is not None and name in own:
            parsed: dict[str, Any] = checks.attempt(partial(parse, chosen, name, text, option(name)), {})
            found |= parsed
        elif text is not None:
            kinds = " or ".join(map(kind_of, owners))
            checks.note(f"{option(name)} belongs to --segmenter {kinds} and does not apply to {typed['segmenter']}")
    return chosen(**found)  # type: ignore[return-value] # a member of the union


def segmenter_options() -> dict[str, list[type[BaseModel]]]:
    """The settings of all segmenters by name, with the segmenters that have them."""
    found: dict[str, list[type[BaseModel]]] = {}
    for model in models(SegmenterConfig):
        for name in option_fields(model):
            found.setdefault(name, []).append(model)
    return found


def batch_tokens(text: str) -> int | Literal["auto"]:
    """``auto`` or a whole number of at least 1."""
    if text == "auto":
        return "auto"
    # Python refuses to read numbers of thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) >= 1):
        raise ConfigError(f"--batch-tokens is {text[:99]!r}: expected auto or a whole number >= 1")
    return int(text)


def device_map(text: str | None) -> Literal["auto"] | dict[str, int | str] | None:
    """``auto``, or what a JSON file says: parts of the model → devices."""
    if text is None or text == "auto":
        return None if text is None else "auto"
    path = Path(text)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"--device-map is {text!r}: expected auto or a JSON file, and there is no such file"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--device-map: cannot read {path}: {error}") from error
    is_map = isinstance(content, dict) and content
    if not is_map or not all(type(device) in (int, str) for device in content.values()):
        raise ConfigError(
            f'--device-map: {path} must hold an object of parts and devices, such as {{"layers.0": 0, "": "cpu"}}'
        )
    found: dict[str, int | str] = content
    return found


def columns(texts: Sequence[str]) -> dict[str, str]:
    """``prompt=question,chosen=answer_a``: role to column; the option may be given several times."""
    found: dict[str, str] = {}
    for text in texts:
        for role, column in name_value_pairs("--columns", text, None).items():
            if role in found:
                raise ConfigError(f"--columns names {role} twice: {found[role]!r} and {column!r}")
            found[role] = column
    return found


def write_over(*, resume: bool, overwrite: bool) -> None:
    """Refuse the two answers to an existing output given together."""
    if resume and overwrite:
        raise ConfigError("--resume continues what is there and --overwrite deletes it: give one of them")


def template_date(text: str | None) -> date | None:
    """The date in ``--template-date``; None where it was not given."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--template-date {text}: not a date like 2026-01-31") from error


def part(num_shards: int | None, shard_index: int | None) -> Part | None:
    """Which share of the data set is meant; None for all of it."""
    if num_shards is None and shard_index is None:
        return None
    if num_shards is None or shard_index is None:
        raise ConfigError("--num-shards N and --shard-index I go together: part I of N, I from 0")
    if shard_index >= num_shards:
        raise ConfigError(f"--shard-index is {shard_index}: with --num-shards {num_shards} it is 0 to {num_shards - 1}")
    return Part(num_shards=num_shards, shard_index=shard_index)
