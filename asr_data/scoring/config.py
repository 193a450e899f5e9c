"""How a checkpoint is read. Stored beside weights as ``asr_scorer.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr_data.errors import ScorerError

CONFIG_NAME = "asr_scorer.json"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackagedBackbone(_Settings):
    """A backbone that a Python package carries as a GGUF file."""

    package: str
    gguf_file: str
    install: str
    """The command that installs the package; shown when it is missing."""


class HeadConfig(_Settings):
    """The layer on top of the last hidden state.

    ``linear``: ``{prefix}weight``, ``{prefix}bias`` if present. ``mlp2``: ``{prefix}0.*``, ReLU, ``{prefix}2.*``
    (Qwen2.5-Math-PRM). ``v_head``: ``{prefix}summary.*`` (TRL's value head; Skywork-o1-PRM).
    """

    kind: Literal["linear", "mlp2", "v_head"] = "linear"
    prefix: str = "score."
    labels: Annotated[int, Field(ge=1)] = 1
    file: str | None = None
    """A safetensors file with just the head; default: the checkpoint's own files."""


class TokenHeadConfig(_Settings):
    """A head that gives a reward at token positions.

    ``transform`` turns logits ``z [labels]`` into a reward: ``raw`` z[index], ``sigmoid`` σ(z[index]),
    ``softmax_idx`` softmax(z)[index], ``sum_idx`` the sum of softmax(z) over ``indices``, ``prob_diff``
    softmax(z)[indices[0]] − softmax(z)[indices[1]].

    ``position`` says where it was trained to be read: ``every`` token; a ``separator`` token put after each step;
    the ``last_token_of_step``.
    """

    kind: Literal["token_head"] = "token_head"
    form: Literal["value", "increment"] = "value"
    backbone: PackagedBackbone | str | None = None
    """A directory or hub id; default: the directory of this file."""
    adapter: str | None = None
    """A PEFT adapter directory, relative to this file; merged into the backbone on load."""
    head: HeadConfig = HeadConfig()
    transform: Literal["raw", "sigmoid", "softmax_idx", "sum_idx", "prob_diff"] = "raw"
    indices: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    position: Literal["every", "separator", "last_token_of_step"] = "every"
    separator: str | None = None
    step_split: str = "\n\n"
    """What stands between the steps of a response."""

    @model_validator(mode="after")
    def _fits(self) -> TokenHeadConfig:
        if self.position == "separator" and not self.separator:
            raise ValueError("position 'separator' needs the separator token's text in 'separator'")
        if max(self.indices, default=-1) >= self.head.labels:
            raise ValueError(f"indices {self.indices} do not fit a head with {self.head.labels} labels")
        wanted = {"prob_diff": 2, "raw": 1, "sigmoid": 1, "softmax_idx": 1}.get(self.transform)
        if not self.indices or (wanted is not None and len(self.indices) != wanted):
            raise ValueError(f"transform {self.transform!r} takes {wanted or 'one or more'} indices")
        if not self.step_split:
            raise ValueError("step_split must not be empty")
        return self


def read_config(path: Path) -> TokenHeadConfig:
    """Read ``asr_scorer.json``.

    Raises:
        ScorerError: if it is missing, is not JSON, or holds a wrong setting.
    """
    try:
        return TokenHeadConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ScorerError(f"no scorer settings at {path}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ScorerError(f"cannot read {path}: {error}") from error
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise ScorerError(f"{path}: {details}") from error
