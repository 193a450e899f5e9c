"""A token head with features, beside a plain computation: single sequences, every number by its definition."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from asr_data.config import ScoringConfig
from asr_data.errors import ConfigError, ScorerError
from asr_data.pairs import PairConfig
from asr_data.rows import Layout, normalise_all
from asr_data.scoring.config import HeadConfig, TokenHeadConfig
from asr_data.scoring.feature_config import FeatureConfig
from asr_data.scoring.load import load_scorer
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.types import ByteRewards, Completion, RejectedRow, Row

FP32 = ScoringConfig(dtype="float32", device="cpu")
QUESTION = "How much is 2 + 2?"
GOOD, BAD = "The answer is four.", "The answer may be five, or four."
PARTNER = [{"role": "user", "content": "{{ prompt }} {{ verdict }}: {{ other }}"}]
EVERYTHING: dict[str, Any] = {
    "layer": 1,
    "scalars": ["logp", "entropy", "top", "rank"],
    "partner": PARTNER,
    "words": True,
    "averages": [0.5, 0.8],
    "ratio": 0.3,
    "clip": 2.0,
    "ratio_clip": 1.0,
}


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair(good: str = GOOD, bad: str = BAD, index: int = 0) -> Row:
    sides = Completion("chosen", says(good), preferred=True), Completion("rejected", says(bad), preferred=False)
    return Row(index, {}, [{"role": "user", "content": QUESTION}], sides)


def single(text: str, *, preferred: bool = True) -> Row:
    completion = Completion("completion", says(text), preferred=preferred)
    return Row(0, {}, [{"role": "user", "content": QUESTION}], (completion,))


@pytest.fixture
def make_scorer(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> Callable[..., ModelScorer]:
    """A random causal Llama (hidden 32, 3 layers) with a random head for the features."""

    def make(features: dict[str, Any], batch_tokens: int = 4096, rows: Sequence[Row] = (), **settings: Any) -> Any:
        tokenizer = make_tokenizer()
        tokenizer.hf.save_pretrained(tmp_path)
        config = LlamaConfig(
            vocab_size=len(tokenizer.hf),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            LlamaForCausalLM(config).save_pretrained(tmp_path)
        write_head(tmp_path, FeatureConfig.model_validate(features), settings.get("labels", 1))
        head = {"file": "head.safetensors", "labels": settings.pop("labels", 1)}
        given = {"kind": "token_head", "head": head, "features": features, **settings}
        (tmp_path / "asr_scorer.json").write_text(json.dumps(given))
        scoring = FP32.model_copy(update={"batch_tokens": batch_tokens})
        return load_scorer(tmp_path, scoring=scoring, first_rows=rows)

    return make


def write_head(directory: Path, features: FeatureConfig, labels: int) -> None:
    scalars = len(features.own_columns()) + len(features.partner_columns())
    generator = torch.Generator().manual_seed(5)
    tensors = {
        "score.weight": torch.randn(labels, 32 + len(features.columns()), generator=generator) / 4,
        "score.bias": torch.randn(labels, generator=generator),
        "score.mean": torch.randn(scalars, generator=generator),
        "score.std": torch.rand(scalars, generator=generator) + 0.5,
    }
    save_file(tensors, directory / "head.safetensors")


# --- the plain computation -------------------------------------------------------------------------------


class Plain:
    """The model by itself, and definitions written out token by token."""

    def __init__(self, directory: Path, features: dict[str, Any]) -> None:
        self.model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self.head = {name.removeprefix("score."): t for name, t in load_file(directory / "head.safetensors").items()}
        self.features = features

    @torch.inference_mode()
    def read(self, ids: list[int]) -> tuple[Tensor, Tensor]:
        """Hidden states of the settings' layer, or the last normed one; log-probabilities ``[time, vocabulary]``."""
        kept: list[Tensor] = []
        layer = self.features.get("layer")
        module = self.model.model.norm if layer is None else self.model.model.layers[layer - 1]
        handle = module.register_forward_hook(lambda _m, _i, out: kept.append(out))
        logp = self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        handle.remove()
        return kept[0][0] if kept[0].dim() == 3 else kept[0], logp

    def said(self, logp: Tensor, ids: list[int], position: int) -> list[float]:
        distribution = [float(x) for x in logp[position - 1]]
        own = distribution[ids[position]]
        found = {
            "logp": own,
            "entropy": -sum(math.exp(x) * x for x in distribution),
            "top": max(distribution),
            "rank": math.log(1 + sum(x > own for x in distribution)),
        }
        return [found[name] for name in self.features.get("scalars", [])]

    def with_averages(self, rows: list[list[float]]) -> list[list[float]]:
        out = [list(row) for row in rows]
        for decay in self.features.get("averages", []):
            for t, row in enumerate(out):
                weights = [decay ** (t - s) for s in range(t + 1)]
                for column in range(len(rows[0])):
                    total = sum(w * rows[s][column] for s, w in enumerate(weights))
                    row.append(total / sum(weights))
        return out

    def logits(
        self, hf: Any, prompt: str, text: str, in_view: str | None, *, preferred: bool, shared: list[bool] | None
    ) -> Tensor:
        """Logits ``[1 + tokens, labels]``: at the end of the prompt, then of every token."""
        before, own_ids = hf(prompt)["input_ids"], hf(text)["input_ids"]
        hidden, logp = self.read(before + own_ids)
        own = [self.said(logp, before + own_ids, len(before) + t) for t in range(len(own_ids))]
        columns = self.with_averages(own)
        partner, ratios = None, [0.0] * len(own_ids)
        if in_view is not None:
            longer = hf(in_view)["input_ids"]
            _, seen = self.read(longer + own_ids)
            second = [self.said(seen, longer + own_ids, len(longer) + t) for t in range(len(own_ids))]
            ratios = [b[0] - a[0] for a, b in zip(own, second, strict=True)]
            cut = self.features.get("ratio_clip", 3.0)
            rows = [[*b, max(-cut, min(cut, r))] for b, r in zip(second, ratios, strict=True)]
            if shared is not None:
                rows = [[*row, float(flag)] for row, flag in zip(rows, shared, strict=True)]
            partner = self.with_averages(rows)
        width = len(self.head["mean"]) - len(columns[0])
        out = [self.one(hidden[len(before) - 1], None, None, 0.0, width, preferred, partner is not None)]
        for t, row in enumerate(columns):
            beside = None if partner is None else partner[t]
            state = hidden[len(before) + t]
            out.append(self.one(state, row, beside, ratios[t], width, preferred, partner is not None))
        return torch.stack(out)

    def one(
        self,
        hidden: Tensor,
        own: list[float] | None,
        partner: list[float] | None,
        ratio: float,
        width: int,
        preferred: bool,
        has_partner: bool,
    ) -> Tensor:
        mean, std, clip = self.head["mean"], self.head["std"], self.features.get("clip", 5.0)
        count = len(mean) - width
        a = torch.zeros(count) if own is None else (torch.tensor(own) - mean[:count]) / std[:count]
        b = torch.zeros(width) if partner is None else (torch.tensor(partner) - mean[count:]) / std[count:]
        a, b = a.clamp(-clip, clip), b.clamp(-clip, clip)
        flags = [0.0, 0.0]
        if has_partner:
            flags[int(preferred)] = 1.0
        nothing = torch.zeros(width)
        sides = [nothing, b] if preferred else [b, nothing]
        parts = [hidden, a]
        if self.features.get("partner"):
            parts += [*sides, torch.tensor(flags)]
        out = self.head["weight"] @ torch.cat(parts) + self.head["bias"]
        out[0] += self.features.get("ratio", 0.0) * ratio
        return out


def chatml(content: str) -> str:
    return f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


def scored(scorer: ModelScorer, rows: Sequence[Row]) -> list[tuple[ByteRewards, ...]]:
    out = []
    for entry in scorer.score(rows):
        assert not isinstance(entry, RejectedRow), entry
        out.append(entry)
    return out


SETTINGS: list[dict[str, Any]] = [
    {},
    {"layer": 2},
    {"scalars": ["rank", "logp"]},
    {"scalars": ["entropy"], "averages": [0.9]},
    {"scalars": ["logp"], "partner": PARTNER},
    {"scalars": ["logp"], "partner": PARTNER, "words": True, "ratio": -2.0},
    EVERYTHING,
]


@pytest.mark.parametrize("features", SETTINGS)
def test_rewards_are_those_of_a_plain_computation(
    features: dict[str, Any], tmp_path: Path, make_scorer: Callable[..., ModelScorer]
) -> None:
    scorer = make_scorer(features)
    plain, hf = Plain(tmp_path, features), scorer.tokenizer.hf
    for row in (pair(), single(BAD, preferred=False)):
        (answers,) = scored(scorer, [row])
        for place, (completion, answer) in enumerate(zip(row.completions, answers, strict=True)):
            text = completion.content[0]["content"]
            in_view, shared = None, None
            if features.get("partner") and len(row.completions) == 2:
                other = (GOOD, BAD)[1 - place]
                verdict = "chosen" if completion.preferred else "rejected"
                in_view = chatml(f"{QUESTION} {verdict}: {other}")
                if features.get("words"):
                    shared = shared_by_hand(hf, text)
            wanted = plain.logits(hf, chatml(QUESTION), text, in_view, preferred=completion.preferred, shared=shared)
            np.testing.assert_allclose(answer.span_reward, wanted[:, 0], atol=1e-5)
            assert answer.span_end.tolist()[0] == 0
            assert answer.span_end.tolist()[-1] == len(text.encode())


def shared_by_hand(hf: Any, text: str) -> list[bool]:
    """``The answer`` and ``four.`` are of both; each token is of the word that its last character is of."""
    words = {GOOD: [("The", 1), (" answer", 1), (" is", 0), (" four", 1), (".", 1)]}
    words[BAD] = [("The", 1), (" answer", 1), (" may", 0), (" be", 0), (" five", 0), (",", 0), (" or", 0), (" four", 1)]
    words[BAD].append((".", 1))
    flags = [bool(flag) for word, flag in words[text] for _ in word]
    ends = np.cumsum([len(piece) for piece in hf.convert_ids_to_tokens(hf(text)["input_ids"])])
    return [flags[end - 1] for end in ends]


def test_several_labels_and_a_transform(tmp_path: Path, make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer(EVERYTHING, labels=2, transform="prob_diff", indices=[0, 1])
    plain, hf = Plain(tmp_path, EVERYTHING), scorer.tokenizer.hf
    ((_, answer),) = scored(scorer, [pair()])
    in_view, shared = chatml(f"{QUESTION} rejected: {GOOD}"), shared_by_hand(hf, BAD)
    logits = plain.logits(hf, chatml(QUESTION), BAD, in_view, preferred=False, shared=shared)
    probabilities = logits.softmax(-1)
    np.testing.assert_allclose(answer.span_reward, probabilities[:, 0] - probabilities[:, 1], atol=1e-5)


# --- what a run promises ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_tokens", [1, 150, 4096])
def test_company_does_not_matter(batch_tokens: int, make_scorer: Callable[..., ModelScorer]) -> None:
    rows = [pair(index=0), pair("Four!", "Five! " * 5, index=1), single("Not at all.")]
    alone = [scored(make_scorer(EVERYTHING), [row])[0] for row in rows]
    together = scored(make_scorer(EVERYTHING, batch_tokens), rows)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.span_reward, b.span_reward, atol=1e-5)


def test_a_response_without_a_partner_is_read_once(make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer(EVERYTHING)
    counts = [len(reading.requests) for row in (pair(), single(GOOD)) for reading in scorer.encoder.encode(row)]
    assert counts == [2, 2, 1]
    assert not scorer.info.partial


def test_the_manifest_says_what_each_side_was_read_with(make_scorer: Callable[..., ModelScorer]) -> None:
    seen = "in view, where the row has one"
    assert make_scorer(EVERYTHING, rows=[pair()]).info.settings["partner"] == {"chosen": seen, "rejected": seen}
    assert make_scorer(EVERYTHING, rows=[single(GOOD)]).info.settings["partner"] == {"completion": "none"}
    assert "partner" not in make_scorer({"scalars": ["logp"]}, rows=[pair()]).info.settings


def test_sides_are_respected(make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer(EVERYTHING, sides="rejected")
    ((chosen, rejected),) = scored(scorer, [pair()])
    assert np.isnan(chosen.span_reward).all()
    assert np.isfinite(rejected.span_reward).all()
    assert scorer.info.partial


def test_a_partner_that_makes_a_sequence_too_long_rejects_the_row(make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer(EVERYTHING)
    words = "x y " * 45  # they fit into the context of 256 tokens once, and not twice
    short, long = scorer.score([single(words), pair(words, words + "!", index=4)])
    assert not isinstance(short, RejectedRow)
    assert isinstance(long, RejectedRow)
    assert (long.index, long.code) == (4, "too_long")


def test_tokens_of_other_turns_are_not_read(tmp_path: Path, make_scorer: Callable[..., ModelScorer]) -> None:
    features = {"scalars": ["logp"], "averages": [0.5]}
    scorer = make_scorer(features)
    turns = [*says("Four."), {"role": "user", "content": "Sure?"}, *says("Yes.")]
    row = Row(0, {}, [{"role": "user", "content": QUESTION}], (Completion("completion", turns, preferred=True),))
    ((answer,),) = scored(scorer, [row])
    assert answer.span_end.tolist()[-1] == len("Four.Yes.")
    assert np.isfinite(answer.span_reward).all()


# --- what is refused -------------------------------------------------------------------------------------


def test_a_model_without_a_language_head(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> None:
    model = make_checkpoint(tmp_path)
    features = FeatureConfig(scalars=("logp",))
    write_head(tmp_path, features, 1)
    config = TokenHeadConfig(head=HeadConfig(file="head.safetensors"), features=features)
    with pytest.raises(ScorerError, match=r"missing \['lm_head\.weight'\]"):
        load_scorer(model, config=config, scoring=FP32)


def test_a_hidden_state_alone_needs_no_language_head(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> None:
    model = make_checkpoint(tmp_path)
    features = FeatureConfig(layer=1)
    write_head(tmp_path, features, 1)
    config = TokenHeadConfig(head=HeadConfig(file="head.safetensors"), features=features)
    scorer = load_scorer(model, config=config, scoring=FP32)
    assert isinstance(scorer, ModelScorer)
    ((answer,),) = scored(scorer, [single("Four.")])
    assert np.isfinite(answer.span_reward).all()


def test_a_layer_that_is_not_there(make_scorer: Callable[..., ModelScorer]) -> None:
    with pytest.raises(ScorerError, match="layer is 3, but the model has 3 layers"):
        make_scorer({"layer": 3})


def test_a_head_of_another_size(tmp_path: Path, make_scorer: Callable[..., ModelScorer]) -> None:
    make_scorer({"scalars": ["logp"]})
    config = TokenHeadConfig(
        head=HeadConfig(file="head.safetensors"), features=FeatureConfig(scalars=("logp", "entropy"))
    )
    with pytest.raises(ScorerError, match=r"'score\.weight' .* has shape \[1, 33\], wanted \[1, 34\]"):
        load_scorer(tmp_path, config=config, scoring=FP32)


def test_a_deviation_of_nothing(tmp_path: Path, make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer({"scalars": ["logp"]})
    assert scorer.info.kind == "token_head"
    tensors = load_file(tmp_path / "head.safetensors")
    save_file({**tensors, "score.std": torch.zeros(1)}, tmp_path / "head.safetensors")
    with pytest.raises(ScorerError, match=r"'score\.std' .* must be above 0"):
        load_scorer(tmp_path, scoring=FP32)


@pytest.mark.parametrize(
    ("settings", "says_"),
    [
        ({"features": {"words": True}}, "set partner"),
        ({"features": {"ratio": 0.5}}, "set partner"),
        ({"features": {"partner": "better-answer"}}, "scalars must hold logp"),
        ({"features": {"scalars": ["logp"], "partner": "prompt"}}, "shows no other answer"),
        ({"features": {"averages": [0.5]}}, "name at least one"),
        ({"features": {"scalars": ["logp", "logp"]}}, "at most once"),
        ({"features": {}, "steps": {}}, "without steps"),
        ({"features": {}, "head": {"kind": "mlp2"}}, "linear head"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], says_: str) -> None:
    with pytest.raises(ConfigError, match=says_):
        TokenHeadConfig(**settings)


def test_settings_without_features_are_dumped_as_before() -> None:
    assert "features" not in TokenHeadConfig().model_dump(mode="json")


def test_columns_by_hand() -> None:
    features = FeatureConfig(scalars=("logp", "rank"), partner="better-answer", words=True, averages=(0.8,))
    own = ["logp", "rank", "logp, average 0.8", "rank, average 0.8"]
    partner = ["logp in view", "rank in view", "ratio", "shared"]
    partner += [f"{name}, average 0.8" for name in partner]
    assert features.own_columns() == own
    assert features.partner_columns() == partner
    flags = ["has a partner, rejected", "has a partner, chosen"]
    assert features.columns() == own + [f"{p}, rejected" for p in partner] + [f"{p}, chosen" for p in partner] + flags


def test_of_pairs_of_a_row_only_what_depends_on_the_pair_is_read_again(make_scorer: Callable[..., ModelScorer]) -> None:
    answers = ["It is four.", "I think it may be four.", "It is five."]
    record = {"prompt": QUESTION, "completions": [[{"role": "user", "content": QUESTION}, *says(a)] for a in answers]}
    columns: dict[Any, str] = {"prompt": "prompt", "completions": "completions", "scores": "scores"}
    layout = Layout(kind="scored_completions", columns=columns).with_pairs(PairConfig(rule="all"))
    rows = [row for row in normalise_all(4, {**record, "scores": [3.0, 2.0, 1.0]}, layout) if isinstance(row, Row)]
    scorer = make_scorer({"scalars": ["logp"], "partner": PARTNER, "words": True, "ratio": 0.5})
    apart = [scored(scorer, [pair(*(answers[at] for at in places))])[0] for places in ((0, 1), (0, 2), (1, 2))]
    runner, asked = scorer.runner, list[int]()

    class Counting:
        attention = runner.attention

        def run(self, requests: Any, on_tokens: Any = None) -> Any:
            asked.append(len(requests))
            return runner.run(requests, on_tokens)

    scorer.runner = Counting()
    together = scored(scorer, rows)
    assert asked == [3 + 6]  # each answer after the prompt, and each with each other one in view
    assert [row.pair for row in rows] == [0, 1, 2]
    for mine, alone in zip(together, apart, strict=True):
        for one, other in zip(mine, alone, strict=True):
            np.testing.assert_array_equal(one.span_end, other.span_end)
            np.testing.assert_allclose(one.span_reward, other.span_reward, rtol=1e-4, atol=1e-5)
    # The second answer is rejected in the first pair and chosen in the last: not the same rewards.
    assert not np.allclose(together[0][1].span_reward, together[2][0].span_reward)
