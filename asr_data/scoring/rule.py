"""``rule``: a Python function of the user's own gives the rewards."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import numbers
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from asr_data.errors import ConfigError, RowRejected, ScorerError
from asr_data.response import byte_offsets, response_text
from asr_data.scoring.config import RuleConfig
from asr_data.scoring.labels import RewardSpan, check_spans, spans_to_rewards
from asr_data.scoring.protocol import Scored, ScorerInfo
from asr_data.types import ByteRewards, RejectedRow, Row, Text

Rule: TypeAlias = Callable[[Text, str], Iterable[RewardSpan]]
"""From a prompt (a string, or messages) and a response text to ``(start, end, reward)``: spans in code points of the
response, in any order and without overlap. What no span covers is unknown."""


class RuleScorer:
    """Gives the rewards of a function; see :class:`asr_data.scoring.protocol.Scorer`.

    A row for which the function raises, or gives something else than rewards of spans, is rejected.

    Args:
        function: the rule.
        info: for the manifest.
    """

    def __init__(self, function: Rule, info: ScorerInfo) -> None:
        self.tokenizer = None
        self.info = info
        self._function = function

    def score(self, rows: Sequence[Row], on_tokens: Callable[[int], None] | None = None) -> list[Scored]:  # noqa: ARG002 - there are none
        """Score rows; see :class:`asr_data.scoring.protocol.Scorer`."""
        return [self._row(row) for row in rows]

    def _row(self, row: Row) -> Scored:
        try:
            return tuple(
                self._response(row.prompt, response_text(completion.content)) for completion in row.completions
            )
        except RowRejected as rejected:
            return RejectedRow(row.index, rejected.code, rejected.message)

    def _response(self, prompt: Text, response: str) -> ByteRewards:
        try:
            # A copy: the row's own messages are written to the output.
            spans = sorted(_span(item) for item in self._function(copy.deepcopy(prompt), response))
        except Exception as error:  # whatever it is, it is this row's alone
            raise RowRejected("scorer_error", f"{self.info.name}: {type(error).__name__}: {error}") from error
        check_spans(spans, len(response), "scorer_error")
        byte = byte_offsets(response)
        in_bytes = [(int(byte[start]), int(byte[end]), reward) for start, end, reward in spans]
        return spans_to_rewards(in_bytes, int(byte[-1]), np.zeros(0, dtype=np.int32))


def load_rule(config: RuleConfig) -> RuleScorer:
    """Import a rule from where Python finds modules, and from nowhere else.

    The fingerprint is over the settings and the source of the module that is named, not over what that imports.

    Raises:
        ConfigError: there is no such module or function, or its module has no source file.
        ScorerError: the module cannot be imported.
    """
    module_name, _, name = config.function.partition(":")
    module = _import(module_name)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"rule {config.function!r}: the module {module_name!r} has no function {name!r}")
    source = getattr(module, "__file__", None) or ""  # modules that are compiled in have none
    if not source.endswith(".py"):
        raise ConfigError(f"rule {config.function!r}: the module {module_name!r} has no Python source file")
    settings = config.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(Path(source).read_bytes())
    info = ScorerInfo(
        name=config.function,
        kind=config.kind,
        form=config.form,
        fingerprint=digest.hexdigest(),
        settings=config.model_dump(mode="json", exclude_defaults=True),
        partial=True,
    )
    return RuleScorer(function, info)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"rule: there is no module {name!r} where Python looks for modules; install its package, or name its "
                "folder in the environment variable PYTHONPATH"
            ) from error
        raise ScorerError(f"rule: importing {name!r} failed: {error}") from error
    except Exception as error:
        raise ScorerError(f"rule: importing {name!r} failed: {type(error).__name__}: {error}") from error


def _span(item: Any) -> RewardSpan:
    match item:
        case (numbers.Integral(), numbers.Integral(), numbers.Real()):
            return int(item[0]), int(item[1]), float(item[2])
        case _:
            raise TypeError(f"{repr(item)[:80]} is not (start, end, reward)")
