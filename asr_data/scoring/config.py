"""How a checkpoint is read. Stored beside weights as ``asr_scorer.json``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError, model_validator

from asr_data.errors import ConfigError, ScorerError
from asr_data.scoring.context_config import ContextConfig, Sides, is_both, is_prompt
from asr_data.scoring.feature_config import FeatureConfig, is_absent
from asr_data.settings import Settings, explain, models
from asr_data.types import Criterion, WordUnit

CONFIG_NAME = "asr_scorer.json"
Boundary: TypeAlias = Literal["line", "sentence", "clause", "word"] | Annotated[int, Field(ge=1)]
"""Where a response is cut: at boundaries of the text, or after every N tokens."""


class PackagedBackbone(Settings):
    """A backbone that a Python package carries as a GGUF file."""

    package: str
    gguf_file: str
    install: str
    """The command that installs the package; shown when it is missing."""


class HeadConfig(Settings):
    """The layer on top of the last hidden state.

    ``linear``: ``{prefix}weight``, ``{prefix}bias`` if present. ``mlp2``: ``{prefix}0.*``, ReLU, ``{prefix}2.*``
    (Qwen2.5-Math-PRM). ``v_head``: ``{prefix}summary.*`` (TRL's value head; Skywork-o1-PRM).
    """

    kind: Literal["linear", "mlp2", "v_head"] = "linear"
    prefix: str = "score."
    labels: Annotated[int, Field(ge=1)] = 1
    file: str | None = None
    """A safetensors file with just the head; default: the checkpoint's own files."""


class _Backbone(Settings):
    backbone: PackagedBackbone | str | None = None
    """A directory or hub id; default: the directory of this file."""
    adapter: str | None = None
    """A PEFT adapter directory, relative to this file; merged into the backbone on load."""
    context: Annotated[ContextConfig, Field(exclude_if=is_prompt)] = "prompt"
    """What it reads before a response."""
    sides: Annotated[Sides, Field(exclude_if=is_both)] = "both"
    """Which responses it scores; the others are unknown."""


class PromptConfig(Settings):
    """What stands before a response."""

    template: str | None = None
    """Text with ``{prompt}`` in it, for models that were trained without a chat template; the prompt is then a
    string, or the one user message of a conversation. System messages are left out (these models know none), and
    rows with any other turn are rejected. Default: the tokenizer's chat template; a string stands as it is."""
    special: Literal["tokenizer", "bos", "none"] = "tokenizer"
    """Special tokens in front of a prompt that no chat template made: those that the tokenizer puts there, its BOS
    token where it has one (some tokenizers have one and do not put it there), or none."""
    system: str | None = None
    """A system message for prompts that have none; for the chat template."""
    strings: Literal["plain", "turns"] = "plain"
    """``turns``: a string prompt is a user message and a string response an assistant message, for models that know
    nothing but their chat template."""

    @model_validator(mode="after")
    def _fits(self) -> PromptConfig:
        if self.template is not None and "{prompt}" not in self.template:
            raise ValueError("template must hold {prompt}")
        if self.template is not None and self.system is not None:
            raise ValueError("a template has no place for a system message")
        return self


class StepLayoutConfig(Settings):
    """How a response is cut into steps and put to a model that reads one reward per step."""

    split: str = "\n\n"
    """What stands between the steps of a response."""
    empty: Literal["merge", "keep"] = "merge"
    """``merge``: runs of ``split`` with white space around them, and white space at the end, are one separation, so
    that no step is empty; ``keep``: every ``split`` ends a step, as ``str.split`` does it; an empty last one is left
    out."""
    separator: str | None = None
    """Text put after each step, instead of what stood between them."""
    separator_ids: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Tokenised ``together`` and ``inline``: ids that the token of the separator may have by which it is found.
    Default: the id of the separator, which must then be one token."""
    tokenize: Literal["together", "by_step"] = "together"
    """``by_step``: prompt, steps and separators are tokenised one by one and their ids put together."""
    layout: Literal["inline", "turn_per_step"] = "inline"
    """``turn_per_step``: each step is a user turn, answered by an assistant turn that is the separator. The first
    has the prompt in front, as the prompt's template puts it (default ``{prompt}``, a space)."""
    read: Literal["separator", "before_separator", "last_token_of_step"] = "last_token_of_step"
    """The token whose hidden state is read: the separator's last (the one found by ``separator_ids``), the one before
    the separator, or the step's last, which is the one with its last character that is not white space."""
    back: Annotated[int, Field(ge=0)] = 0
    """How many tokens before that one the hidden state is read in fact (ReasonEval-7B)."""

    @model_validator(mode="after")
    def _fits(self) -> StepLayoutConfig:
        if not self.split:
            raise ValueError("split must not be empty")
        if not self.separator and (self.read != "last_token_of_step" or self.layout == "turn_per_step"):
            raise ValueError(f"read {self.read!r} in layout {self.layout!r} needs a separator")
        if self.layout == "turn_per_step" and self.tokenize == "by_step":
            raise ValueError("layout 'turn_per_step' is tokenised together")
        return self


class TokenHeadConfig(_Backbone):
    """A head that gives a reward at token positions.

    ``transform`` turns logits ``z [labels]`` into a reward: ``raw`` z[index], ``sigmoid`` σ(z[index]),
    ``softmax_idx`` softmax(z)[index], ``sum_idx`` the sum of softmax(z) over ``indices``, ``prob_diff``
    softmax(z)[indices[0]] − softmax(z)[indices[1]].

    ``steps`` says where it was trained to be read; None: at every token. ``features``: what a linear head reads of a
    token beside its last hidden state, or in its place.
    """

    kind: Literal["token_head"] = "token_head"
    form: Literal["value", "increment"] = "value"
    head: HeadConfig = HeadConfig()
    transform: Literal["raw", "sigmoid", "softmax_idx", "sum_idx", "prob_diff"] = "raw"
    indices: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    prompt: PromptConfig = PromptConfig()
    steps: StepLayoutConfig | None = None
    features: Annotated[FeatureConfig | None, Field(exclude_if=is_absent)] = None

    @model_validator(mode="after")
    def _fits(self) -> TokenHeadConfig:
        if max(self.indices, default=-1) >= self.head.labels:
            raise ValueError(f"indices {self.indices} do not fit a head with {self.head.labels} labels")
        wanted = {"prob_diff": 2, "raw": 1, "sigmoid": 1, "softmax_idx": 1}.get(self.transform)
        if not self.indices or (wanted is not None and len(self.indices) != wanted):
            raise ValueError(f"transform {self.transform!r} takes {wanted or 'one or more'} indices")
        if self.prompt.template is not None and self.steps is None:
            raise ValueError("a prompt template is for models that read steps")
        if self.features is not None and self.steps is not None:
            raise ValueError("features are of every token: they go without steps")
        if self.features is not None and self.head.kind != "linear":
            raise ValueError(f"features are for a linear head, not for {self.head.kind!r}")
        return self


class SequenceHeadConfig(_Backbone):
    """A sequence reward model (Bradley–Terry): one score for a conversation, trained at its last token.

    ``read``: ``branch`` puts the end of turn after every boundary and reads there, where the head was trained, so
    that every prefix gets its own score; ``segment_end`` reads the response's own tokens at the boundaries;
    ``every`` reads every token. The last two read where the head was not trained, unless its card says so.

    The reward is ``(z − mean) / std``. The sequence score is that of the whole conversation, in every case.
    """

    kind: Literal["seq_head"] = "seq_head"
    form: Literal["value"] = "value"
    head: HeadConfig = HeadConfig()
    index: Annotated[int, Field(ge=0)] = 0
    """The label that is the reward."""
    mean: float | Literal["config"] = 0.0
    std: Annotated[float, Field(gt=0)] | Literal["config"] = 1.0
    """``config``: the fields ``mean`` and ``std`` of config.json, or 0 and 1 where it has none (OpenRLHF)."""
    prompt: PromptConfig = PromptConfig()
    read: Literal["branch", "segment_end", "every"] = "branch"
    boundary: Boundary = "sentence"
    """Where prefixes end: at boundaries of the text, or after every N tokens; always at the end of the response."""
    pooled: Literal["last", "before_eos"] = "last"
    """Which token of a finished conversation the head was trained at: the last one, or (where padding and EOS are
    one token, so that the pooling of transformers passes over it) the one before the EOS tokens at its end."""

    @model_validator(mode="after")
    def _fits(self) -> SequenceHeadConfig:
        if self.index >= self.head.labels:
            raise ValueError(f"index {self.index} does not fit a head with {self.head.labels} labels")
        if self.prompt.template is not None:
            raise ValueError("a sequence head reads conversations: it has no prompt template")
        return self


class LabelTokenConfig(_Backbone):
    """A language model that answers with label tokens: the reward is the probability of the good one.

    ``vocabulary`` ``pair``: softmax over the two labels' logits alone; ``full``: over the whole vocabulary.
    """

    kind: Literal["lm_label_tokens"] = "lm_label_tokens"
    form: Literal["value"] = "value"
    good: str = "+"
    bad: str = "-"
    """Texts of the labels; each must be one token. What it is not in this tokenizer is given by id."""
    good_id: Annotated[int, Field(ge=0)] | None = None
    bad_id: Annotated[int, Field(ge=0)] | None = None
    """Ids to use in place of the texts."""
    vocabulary: Literal["pair", "full"] = "pair"
    prompt: PromptConfig = PromptConfig()
    steps: StepLayoutConfig


class _LanguageModel(_Backbone):
    """Settings of the kinds that read a language model's own log-probabilities."""

    prompt: PromptConfig = PromptConfig()

    @model_validator(mode="after")
    def _reads_its_own_tokens(self) -> Self:
        if self.prompt.template is not None or self.prompt.special != "tokenizer":
            raise ValueError("log-probabilities are of the model's own tokens: no prompt template, no other specials")
        return self


class _LogRatio(_LanguageModel):
    """``form`` ``increment``: of each token; ``value``: summed up to it."""

    form: Literal["value", "increment"] = "increment"
    reference: str | None = None
    beta: Annotated[float, Field(gt=0)] = 1.0
    steps: StepLayoutConfig | None = None
    """Where the sums are read, for models that give one reward per step: at the last token of each. Only ``split``
    and ``empty`` are used, since the text stands as it is; needs form ``value``."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.steps is not None and self.form != "value":
            raise ValueError("steps are read from sums: form 'value'")
        if self.steps is not None and self.steps != StepLayoutConfig(split=self.steps.split, empty=self.steps.empty):
            raise ValueError("log-probabilities are of the text as it is: of the steps only split and empty apply")
        return self


class ImplicitConfig(_LogRatio):
    """The reward that a policy and its reference imply: ``β (log π − log π_ref)`` (DPO; Rafailov et al. 2023).

    It is ``contrast`` with two models and one context; of each token (SePO, RTO, PRIME), or summed up to it
    (EurusPRM). The backbone is the policy; ``reference``, a directory or hub id, may be given with the command instead.
    """

    kind: Literal["implicit"] = "implicit"


class ContrastConfig(_LogRatio):
    """What a context changes: ``β [log p(y_t | A, y_<t) − log p(y_t | B, y_<t)]`` of each token, or summed up to it.

    A is ``context``, B ``against``. Both are read by the backbone; B by ``reference`` where one is named.
    """

    kind: Literal["contrast"] = "contrast"
    context: ContextConfig = "better-answer"
    against: ContextConfig = "prompt"


class LogProbabilityConfig(_LanguageModel):
    """``log p(y_t | context, y_<t)`` of each token: what a language model says of a response in one context."""

    kind: Literal["logp"] = "logp"
    form: Literal["increment"] = "increment"


class AnswerValueConfig(_LanguageModel):
    """How likely an answer is after each sentence of a response: the mean log-probability of the answer's tokens.

    ``V_k = 1/m Σ_j log p(a_j | context, y_{≤k}, bridge, a_{<j})``, read at a branch that hangs off the response at
    every boundary.
    """

    kind: Literal["answer_value"] = "answer_value"
    form: Literal["value"] = "value"
    answer: Annotated[str, Field(pattern=r"^(better-answer|other-row|column:\S.*)$")] = "better-answer"
    """The answer: the pair's better one (for the response that is not), another row's (a control), or a column."""
    bridge: str = "\n\nThe answer:\n"
    """Text between a part of the response and the answer; tokenised with the answer, and not part of the mean."""
    boundary: Boundary = "sentence"
    """As for ``seq_head``."""


class LabelsConfig(Settings):
    """No model: the data set's own labels are the rewards."""

    kind: Literal["labels"] = "labels"
    form: Literal["value"] = "value"
    rewards: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Label as it stands in the data → reward, in place of the format's own rule; others keep that."""
    criteria: dict[Criterion, FiniteFloat] = Field(default_factory=dict)
    """Criterion → weight, for labels that are scores by the five criteria: the reward is the weighted mean of the
    scores from 0 to 1, where a negative weight counts how far a score is from the best. Default: helpfulness,
    correctness and coherence count alike."""

    @model_validator(mode="after")
    def _weighs(self) -> LabelsConfig:
        if self.criteria and not any(self.criteria.values()):
            raise ValueError("criteria: at least one weight must not be 0")
        return self


class RuleConfig(Settings):
    """No model: a Python function gives the rewards.

    ``function`` is an import path, ``package.module:name``, or a file and a name, ``./rules.py:name``. It gets the
    prompt and the response text, and gives ``(start, end, reward)`` for spans of the response's characters; what none
    covers is unknown.
    """

    kind: Literal["rule"] = "rule"
    form: Literal["value", "increment"] = "value"
    function: Annotated[str, Field(pattern=r"^([A-Za-z_][\w.]*|.*[/\\].*\.py):[A-Za-z_]\w*$")]


class DiffConfig(Settings):
    """No model: a word of a response that the other answer has is worth 1, any other 0."""

    kind: Literal["diff"] = "diff"
    form: Literal["value"] = "value"
    unit: WordUnit = "auto"
    """What is compared. ``auto``: words, characters in languages without spaces, tokens in fenced code;
    ``character``: characters; ``code``: tokens of code, for responses that are code without fences."""


LANGUAGE_KINDS: Final = (ImplicitConfig, ContrastConfig, LogProbabilityConfig, AnswerValueConfig)
"""Kinds that read a language model's own log-probabilities."""
LanguageModelConfig: TypeAlias = ImplicitConfig | ContrastConfig | LogProbabilityConfig | AnswerValueConfig
WithoutModel: TypeAlias = LabelsConfig | RuleConfig | DiffConfig
BackboneConfig: TypeAlias = TokenHeadConfig | SequenceHeadConfig | LabelTokenConfig | LanguageModelConfig
ScorerConfig: TypeAlias = Annotated[BackboneConfig | WithoutModel, Field(discriminator="kind")]
ScorerKind: TypeAlias = Literal[
    "token_head",
    "seq_head",
    "lm_label_tokens",
    "implicit",
    "contrast",
    "logp",
    "answer_value",
    "labels",
    "rule",
    "diff",
]

_CONFIG: TypeAdapter[ScorerConfig] = TypeAdapter(ScorerConfig)


def parse_config(settings: Any) -> ScorerConfig:
    """Settings from JSON; ``kind`` may be left out for a ``token_head``.

    Raises:
        ValidationError: pydantic's, naming each wrong setting.
    """
    if isinstance(settings, dict) and "kind" not in settings:
        settings = {"kind": "token_head", **settings}
    return _CONFIG.validate_python(settings)


def read_config(path: Path) -> ScorerConfig:
    """Read ``asr_scorer.json``.

    Raises:
        ScorerError: it is missing, or is not JSON.
        ConfigError: it holds a wrong setting.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
        return parse_config(settings)
    except FileNotFoundError as error:
        raise ScorerError(f"no scorer settings at {path}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explained(settings, error)}") from error
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, no JSON, nesting without end
        raise ScorerError(f"cannot read {path}: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's settings; JSON would let the last of two with one name pass in silence."""
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is set twice")
    return dict(pairs)


def _explained(settings: Any, error: ValidationError) -> str:
    """What is wrong, in the words of the kind that is meant."""
    if not isinstance(settings, dict):
        return f"expected an object with settings, not {json.dumps(settings)[:40]}"
    known = {model.model_fields["kind"].default: model for model in models(ScorerConfig)}
    kind = settings.get("kind", "token_head")
    if not isinstance(kind, str) or kind not in known:
        return f"kind is {kind!r}: expected one of {', '.join(known)}"
    return explain(known[kind], error)
