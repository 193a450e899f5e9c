"""Rewards are compared with a plain reading: one sequence at a time, no batching, no alignment code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaModel

from asr_data.config import ScoringConfig
from asr_data.errors import ScorerError
from asr_data.scoring.config import HeadConfig, StepLayoutConfig, TokenHeadConfig
from asr_data.scoring.engine import Request
from asr_data.scoring.load import load_scorer
from asr_data.scoring.model_scorer import ModelScorer
from asr_data.scoring.protocol import Scorer
from asr_data.scoring.token_head import transform
from asr_data.types import ByteRewards, Completion, Float32, RejectedRow, Row, Text

USER = [{"role": "user", "content": "How much is 2 + 2?"}]
ANSWERS = [
    ("The answer is four.\n\nThat is all.", "Five!"),
    ("Café 👩\u200d👧 二\n\n\n\nstep 2 \n\n", "a\n\nb\n\nc\n\nd\n\ne"),
    ("e\u0301", "x " * 30),
]
FP32 = ScoringConfig(dtype="float32", device="cpu")
SEPARATED = StepLayoutConfig(separator="<sep>", read="separator")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 3


HEADS: dict[str, tuple[HeadConfig, dict[str, Tensor]]] = {
    "linear": (
        HeadConfig(labels=3),
        {"score.weight": normal(3, 32), "score.bias": normal(3, seed=1)},
    ),
    "mlp2": (
        HeadConfig(kind="mlp2", labels=3),
        {
            "score.0.weight": normal(32, 32),
            "score.0.bias": normal(32, seed=1),
            "score.2.weight": normal(3, 32, seed=2),
            "score.2.bias": normal(3, seed=3),
        },
    ),
    "v_head": (
        HeadConfig(kind="v_head", prefix="v_head.", labels=3),
        {"v_head.summary.weight": normal(3, 32), "v_head.summary.bias": normal(3, seed=1)},
    ),
}


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def row(index: int, prompt: Text, *answers: Text) -> Row:
    sides = ("chosen", "rejected") if len(answers) == 2 else ("completion",)
    completions = (Completion(s, a, s != "rejected") for s, a in zip(sides, answers, strict=True))
    return Row(index, {}, prompt, tuple(completions))


ROWS = [row(i, USER, says(a), says(b)) for i, (a, b) in enumerate(ANSWERS)]


def plain_logits(directory: Path, ids: list[int], head: str) -> Tensor:
    """Logits ``[time, labels]`` from the file's tensors."""
    tensors = load_file(directory / "model.safetensors")
    model = LlamaModel.from_pretrained(directory, dtype=torch.float32).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    with torch.inference_mode():
        x = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    if head == "linear":
        return x @ tensors["score.weight"].T + tensors["score.bias"]
    if head == "v_head":
        return x @ tensors["v_head.summary.weight"].T + tensors["v_head.summary.bias"]
    inner = torch.relu(x @ tensors["score.0.weight"].T + tensors["score.0.bias"])
    return inner @ tensors["score.2.weight"].T + tensors["score.2.bias"]


def chatml(prompt: list[dict[str, str]], response: str | None = None) -> str:
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in prompt)
    return text + "<|im_start|>assistant\n" + (f"{response}<|im_end|>\n" if response is not None else "")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, make_checkpoint: Callable[..., Path]) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(head: str) -> Path:
        if head not in made:
            made[head] = make_checkpoint(tmp_path_factory.mktemp(head), HEADS[head][1])
        return made[head]

    return of


@pytest.fixture
def scorer_of(directory: Callable[[str], Path]) -> Callable[..., ModelScorer]:
    def make(head: str = "linear", batch_tokens: int = 4096, max_length: int | None = None, **settings: Any) -> Any:
        config = TokenHeadConfig(head=HEADS[head][0], **settings)
        scoring = FP32.model_copy(update={"batch_tokens": batch_tokens, "max_length": max_length})
        return load_scorer(directory(head), config=config, scoring=scoring)

    return make


def scored(scorer: Scorer, rows: list[Row] = ROWS) -> list[tuple[ByteRewards, ...]]:
    out = []
    for entry in scorer.score(rows):
        assert not isinstance(entry, RejectedRow), entry
        out.append(entry)
    return out


# --- transforms and positions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "indices", "wanted"),
    [
        ("raw", (2,), lambda z: z[2]),
        ("sigmoid", (1,), lambda z: 1 / (1 + torch.exp(-z[1]))),
        ("softmax_idx", (1,), lambda z: torch.exp(z[1]) / torch.exp(z).sum()),
        ("sum_idx", (0, 2), lambda z: (torch.exp(z[0]) + torch.exp(z[2])) / torch.exp(z).sum()),
        ("prob_diff", (2, 0), lambda z: (torch.exp(z[2]) - torch.exp(z[0])) / torch.exp(z).sum()),
    ],
)
@pytest.mark.parametrize("head", HEADS)
def test_every_token(
    head: str,
    name: str,
    indices: tuple[int, ...],
    wanted: Callable[[Tensor], Tensor],
    directory: Callable[[str], Path],
    scorer_of: Callable[..., ModelScorer],
) -> None:
    scorer = scorer_of(head, transform=name, indices=indices)
    hf = scorer.tokenizer.hf
    prompt_ids = hf(chatml(USER))["input_ids"]
    for answers, rewards in zip(ANSWERS, scored(scorer), strict=True):
        for answer, reward in zip(answers, rewards, strict=True):
            logits = plain_logits(directory(head), hf(chatml(USER, answer))["input_ids"], head)
            tokens = hf(answer)["input_ids"]  # no token of ours crosses the template's line break or end token
            plain = [wanted(logits[len(prompt_ids) - 1 + t]) for t in range(len(tokens) + 1)]
            np.testing.assert_allclose(reward.span_reward, torch.stack(plain), atol=1e-5)
            widths = [0, *(len(piece) for piece in hf.convert_ids_to_tokens(tokens))]  # a character is a byte
            assert reward.span_end.tolist() == np.cumsum(widths).tolist()
            assert reward.span_end[-1] == len(answer.encode())
            assert reward.step_end.tolist() == []
            assert reward.reward is None


STEPS: list[tuple[str, list[str], list[int]]] = [  # text, its steps, their byte ends
    ("The answer is four.\n\nThat is all.", ["The answer is four.", "That is all."], [21, 33]),
    ("Five!", ["Five!"], [5]),
    ("Café 二\n\n\n\nstep 2 \n\n", ["Café 二", "step 2"], [13, 22]),
    ("a \n\nb", ["a", "b"], [4, 5]),
    ("\n\nlate", ["\n\nlate"], [6]),
]


@pytest.mark.parametrize(("text", "steps", "ends"), STEPS)
def test_separator(
    text: str,
    steps: list[str],
    ends: list[int],
    directory: Callable[[str], Path],
    scorer_of: Callable[..., ModelScorer],
) -> None:
    scorer = scorer_of(transform="softmax_idx", indices=(1,), steps=SEPARATED)
    ids = scorer.tokenizer.hf(chatml(USER, "".join(step + "<sep>" for step in steps)))["input_ids"]
    logits = plain_logits(directory("linear"), ids, "linear")
    separator = scorer.tokenizer.hf.convert_tokens_to_ids("<sep>")
    plain = [logits[t].softmax(-1)[1] for t, i in enumerate(ids) if i == separator]
    ((reward,),) = scored(scorer, [row(0, USER, says(text))])
    np.testing.assert_allclose(reward.span_reward, torch.stack(plain), atol=1e-5)
    assert reward.span_end.tolist() == reward.step_end.tolist() == ends


@pytest.mark.parametrize(("text", "steps", "ends"), STEPS)
def test_last_token_of_step(
    text: str,
    steps: list[str],
    ends: list[int],
    directory: Callable[[str], Path],
    scorer_of: Callable[..., ModelScorer],
) -> None:
    scorer = scorer_of(steps=StepLayoutConfig())
    hf = scorer.tokenizer.hf
    logits = plain_logits(directory("linear"), hf(chatml(USER, text))["input_ids"], "linear")
    first, position, plain = len(hf(chatml(USER))["input_ids"]), 0, []
    for step in steps:
        position = text.index(step, position) + len(step)
        before = hf(text[:position])["input_ids"]  # white space starts a token of its own
        plain.append(logits[first + len(before) - 1, 0])
    ((reward,),) = scored(scorer, [row(0, USER, says(text))])
    np.testing.assert_allclose(reward.span_reward, torch.stack(plain), atol=1e-5)
    assert reward.span_end.tolist() == reward.step_end.tolist() == ends


def test_unicode_white_space_at_the_end_of_a_step(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    config, tensors = HEADS["linear"]
    model = make_checkpoint(tmp_path, tensors, template="trimming")
    settings = TokenHeadConfig(head=config, steps=StepLayoutConfig())
    ((reward,),) = scored(load_scorer(model, config=settings, scoring=FP32), [row(0, USER, says("Four.\u3000"))])
    assert reward.span_end.tolist() == [8]


def test_strings(directory: Callable[[str], Path], scorer_of: Callable[..., ModelScorer]) -> None:
    scorer = scorer_of()
    ids = scorer.tokenizer.hf("2 + 2 = \n4.<|im_end|>")["input_ids"]
    ((reward,),) = scored(scorer, [row(0, "2 + 2 = \n", "4.")])
    logits = plain_logits(directory("linear"), ids, "linear")
    np.testing.assert_allclose(reward.span_reward, logits[-4:-1, 0], atol=1e-5)
    assert reward.span_end.tolist() == [0, 1, 2]


def test_steps_of_several_messages(scorer_of: Callable[..., ModelScorer]) -> None:
    scorer = scorer_of(steps=SEPARATED)
    completion = [*says("a\n\nb"), {"role": "user", "content": "more\n\nplease"}, *says("c")]
    ((reward,),) = scored(scorer, [row(0, USER, completion)])
    assert reward.step_end.tolist() == [3, 4, 5]


# --- rows that cannot be scored --------------------------------------------------------------------------


def test_a_separator_in_the_text(scorer_of: Callable[..., ModelScorer]) -> None:
    scorer = scorer_of(steps=SEPARATED)
    rows = [row(7, USER, says("one<sep> two"), says("five")), ROWS[0]]
    bad, good = scorer.score(rows)
    assert isinstance(bad, RejectedRow)
    assert (bad.index, bad.code) == (7, "separator_in_text")
    assert not isinstance(good, RejectedRow)


def test_a_separator_in_the_prompt_is_no_step(scorer_of: Callable[..., ModelScorer]) -> None:
    scorer = scorer_of(steps=SEPARATED)
    prompt = [{"role": "user", "content": "What does <sep> mean?"}]
    ((reward,),) = scored(scorer, [row(0, prompt, says("a\n\nb"))])
    assert reward.step_end.tolist() == [3, 4]


def test_nothing_but_white_space(scorer_of: Callable[..., ModelScorer]) -> None:
    (entry,) = scorer_of(steps=StepLayoutConfig()).score([row(3, USER, says("\n\n"))])
    assert isinstance(entry, RejectedRow)
    assert (entry.index, entry.code) == (3, "tokens_uncovered")


def test_nothing_written(scorer_of: Callable[..., ModelScorer]) -> None:
    (entry,) = scorer_of(steps=StepLayoutConfig()).score([row(3, USER, says(""))])
    assert isinstance(entry, RejectedRow)
    assert entry.code == "empty_response"


def test_too_long(scorer_of: Callable[..., ModelScorer]) -> None:
    length = len(scorer_of().tokenizer.hf(chatml(USER, "Five!"))["input_ids"])
    short = [row(0, USER, says("Five!"))]
    assert not isinstance(scorer_of(max_length=length).score(short)[0], RejectedRow)
    (entry,) = scorer_of(max_length=length - 1).score(short)
    assert isinstance(entry, RejectedRow)
    assert entry.code == "too_long"
    assert f"{length} tokens" in entry.message
    assert str(length - 1) in entry.message


def test_a_separator_of_several_tokens(scorer_of: Callable[..., ModelScorer]) -> None:
    with pytest.raises(ScorerError, match="must be one"):
        scorer_of(steps=StepLayoutConfig(separator="step 1", read="separator"))


class FullMemory:
    """A runner that has no room for requests longer than ``tokens``."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def run(self, requests: Sequence[Request], on_tokens: object = None) -> list[Float32 | None]:
        return [np.zeros(len(r.read), np.float32) if len(r.ids) <= self.tokens else None for r in requests]


def test_what_does_not_fit_into_memory_is_rejected(scorer_of: Callable[..., ModelScorer]) -> None:
    scorer = scorer_of()
    scorer.runner = FullMemory(70)
    entries = scorer.score([ROWS[0], row(5, USER, says("x y " * 20), says("no")), ROWS[0]])
    assert [isinstance(entry, RejectedRow) for entry in entries] == [False, True, False]
    assert isinstance(entries[1], RejectedRow)
    assert (entries[1].index, entries[1].code) == (5, "out_of_memory")


def flat(answers: list[tuple[ByteRewards, ...]]) -> np.ndarray:
    return np.concatenate([reward.span_reward for entry in answers for reward in entry])


@pytest.mark.parametrize("batch_tokens", [1, 100, 300])
def test_company_does_not_matter(batch_tokens: int, scorer_of: Callable[..., ModelScorer]) -> None:
    together = flat(scored(scorer_of()))
    np.testing.assert_allclose(flat(scored(scorer_of(batch_tokens=batch_tokens))), together, atol=1e-5)
    shuffled = scored(scorer_of(), ROWS[::-1])[::-1]
    np.testing.assert_allclose(flat(shuffled), together, atol=1e-5)


def test_tokens_are_counted(scorer_of: Callable[..., ModelScorer]) -> None:
    scorer = scorer_of(batch_tokens=100)
    counts: list[int] = []
    scorer.score(ROWS, counts.append)
    hf = scorer.tokenizer.hf
    assert sum(counts) == sum(len(hf(chatml(USER, a))["input_ids"]) for pair in ANSWERS for a in pair)
    assert len(counts) > 1


def test_a_scorer_is_what_the_protocol_says(scorer_of: Callable[..., ModelScorer]) -> None:
    assert isinstance(scorer_of(), Scorer)


def test_transforms_by_hand() -> None:
    logits = torch.tensor([[0.0, float(np.log(3.0))]])  # probabilities 1/4 and 3/4
    head = HeadConfig(labels=2)
    cases: list[tuple[dict[str, Any], float]] = [
        ({"transform": "raw", "indices": (1,)}, float(np.log(3.0))),
        ({"transform": "sigmoid", "indices": (1,)}, 0.75),
        ({"transform": "softmax_idx", "indices": (0,)}, 0.25),
        ({"transform": "sum_idx", "indices": (0, 1)}, 1.0),
        ({"transform": "prob_diff", "indices": (1, 0)}, 0.5),
    ]
    for settings, wanted in cases:
        config = TokenHeadConfig(head=head, **settings)
        assert transform(logits, config).tolist() == pytest.approx([wanted])
