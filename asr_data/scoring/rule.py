"""``rule``: a Python function of the user's own gives the rewards."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import json
import numbers
import sys
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
_Known: TypeAlias = dict[str, tuple[Text, ByteRewards]]
"""Response text → the prompt that it was scored after, and its rewards."""


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
        """Score rows; see :class:`asr_data.scoring.protocol.Scorer`. Of pairs of a row, each answer once."""
        known: _Known = {}
        index: int | None = None
        out = []
        for row in rows:
            if row.pair is None or row.index != index:
                known, index = {}, row.index
            out.append(self._row(row, known))
        return out

    def _row(self, row: Row, known: _Known) -> Scored:
        try:
            return tuple(
                self._known(row.prompt, response_text(completion.content), known) for completion in row.completions
            )
        except RowRejected as rejected:
            return RejectedRow(row.index, rejected.code, rejected.message)

    def _known(self, prompt: Text, response: str, known: _Known) -> ByteRewards:
        before = known.get(response)
        if before is None or before[0] != prompt:
            before = known[response] = (prompt, self._response(prompt, response))
        return before[1]

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


def rule_config(model: str) -> RuleConfig:
    """Settings from what the user typed: ``package.module:name``, ``package.module.name`` or ``path/to/file.py:name``.

    Raises:
        ConfigError: it is none of these.
    """
    path, colon, name = model.rpartition(":")
    if not colon and not model.endswith(".py") and "/" not in model:
        path, _, name = model.rpartition(".")  # a dot where the colon should be
    if path.endswith(".py") and not _has_folder(path):
        path = f"./{path}"
    try:
        return RuleConfig(function=f"{path}:{name}")
    except ConfigError as error:
        raise ConfigError(
            f"rule {model!r}: give package.module:function, or a file and a function as in ./my_rules.py:score"
        ) from error


def load_rule(config: RuleConfig) -> RuleScorer:
    """Import a rule from where Python finds modules, or from the file that is named, and from nowhere else.

    The fingerprint is over the settings and the source of the module that is named, not over what that imports.

    Raises:
        ConfigError: there is no such module or function, or its module has no source file.
        ScorerError: the module cannot be imported.
    """
    module_name, _, name = config.function.rpartition(":")
    module = _import_file(Path(module_name)) if _has_folder(module_name) else _import(module_name, name)
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


def _has_folder(name: str) -> bool:
    return "/" in name or "\\" in name


def _import(name: str, function: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            here = Path(f"{name}.py")
            advice = "install its package, or name its folder in the environment variable PYTHONPATH"
            if here.is_file():
                advice = f"for the file in this folder give ./{here}:{function}"
            raise ConfigError(f"rule: there is no module {name!r} where Python looks for modules; {advice}") from error
        raise ScorerError(f"rule: importing {name!r} failed: {error}") from error
    except Exception as error:
        raise ScorerError(f"rule: importing {name!r} failed: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"rule: there is no file {path}")
    # Its own name among modules: a file may be called like a module that is installed.
    name = f"_asr_data_rule_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"rule: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look it up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ScorerError(f"rule: importing {path} failed: {type(error).__name__}: {error}") from error
    return module


def _span(item: Any) -> RewardSpan:
    match item:
        case (numbers.Integral(), numbers.Integral(), numbers.Real()):
            return int(item[0]), int(item[1]), float(item[2])
        case _:
            raise TypeError(f"{repr(item)[:80]} is not (start, end, reward)")
