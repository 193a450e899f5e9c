from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from asr_data.errors import ConfigError
from asr_data.scoring.token_head import TokenRewardModel
from asr_data.training.config import TrainingConfig
from asr_data.training.encode import Encoded, Unit
from asr_data.training.loop import OptimiserStep, _optimise, learning_rate, plan_steps, predict, train, values_of

NAN = float("nan")


class Quiet:
    def __init__(self) -> None:
        self.updates: list[tuple[str, int, int, int]] = []
        self.messages: list[str] = []

    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        self.updates.append((stage, rows, total, tokens))

    def message(self, text: str) -> None:
        self.messages.append(text)


class Killed(Exception):  # noqa: N818 - what happens, not an error of ours
    pass


class KilledAt(Quiet):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def update(self, stage: str, rows: int, total: int, tokens: int) -> None:
        if rows == self.step:
            raise Killed


def encoded(rng: np.random.Generator, targets: Sequence[float]) -> Encoded:
    ids = [int(i) for i in rng.integers(1, 50, 5 + len(targets))]
    return Encoded(ids, 5, np.array(targets, dtype=np.float32))


def make_units() -> list[Unit]:
    rng = np.random.default_rng(0)
    units = []
    for i in range(12):
        sides = tuple(encoded(rng, [NAN] * int(rng.integers(2, 9))) for _ in range(2))
        units.append(Unit(f"p{i}", "demo pairs", "pair", sides))
    for i in range(6):
        units.append(Unit(f"r{i}", "spans", "labels", (encoded(rng, rng.choice([0.0, 1.0, NAN], 7).tolist()),)))
    return [unit for unit in units if len(unit.sequences) == 2 or not np.isnan(unit.sequences[0].target).all()]


UNITS = make_units()


def config(**settings: float) -> TrainingConfig:
    given = {
        "max_tokens": 900,
        "batch_tokens": 64,
        "micro_batch_tokens": 64,
        "checkpoint_steps": 3,
        "learning_rate": 1e-2,
    }
    return TrainingConfig.model_validate({"sources": ["unused.jsonl"], **given, **settings})


def tiny_model() -> TokenRewardModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        backbone = LlamaModel(
            LlamaConfig(
                vocab_size=50,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                attention_dropout=0.1,  # so that a resumed run has to draw the same numbers
            )
        )
        return TokenRewardModel(backbone, nn.Linear(32, 1))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# --- the plan --------------------------------------------------------------------------------------------


def test_the_plan_is_the_seeds() -> None:
    assert plan_steps(UNITS, config()) == plan_steps(UNITS, config())
    assert plan_steps(UNITS, config()) != plan_steps(UNITS, config(seed=18))


def test_steps_have_the_tokens_asked_for() -> None:
    steps = plan_steps(UNITS, config())
    longest = max(unit.tokens for unit in UNITS)
    for step in steps:
        members = [i for batch in step.micro_batches for i in batch]
        assert step.units == len(members)
        assert step.tokens == sum(UNITS[i].tokens for i in members)
        assert 64 <= step.tokens < 64 + longest
        for batch in step.micro_batches:
            rows = [s for i in batch for s in UNITS[i].sequences]
            assert len(batch) == 1 or len(rows) * max(len(s.ids) for s in rows) <= 64
    assert sum(step.tokens for step in steps[:-1]) < 900 <= sum(step.tokens for step in steps)


def test_a_source_is_used_up_before_it_is_repeated() -> None:
    steps = plan_steps(UNITS, config(max_tokens=20_000))
    seen = Counter(i for step in steps for batch in step.micro_batches for i in batch)
    for source in ("demo pairs", "spans"):
        counts = [seen[i] for i, unit in enumerate(UNITS) if unit.source == source]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("mixing", [0.0, 1.0])
@pytest.mark.parametrize("epochs", [1, 2])
def test_epochs_use_every_unit_so_often(epochs: int, mixing: float) -> None:
    steps = plan_steps(UNITS, TrainingConfig(sources=["x"], epochs=epochs, batch_tokens=64, mixing=mixing))
    used = Counter(i for step in steps for batch in step.micro_batches for i in batch)
    assert used == dict.fromkeys(range(len(UNITS)), epochs)
    assert sum(step.tokens for step in steps) == epochs * sum(unit.tokens for unit in UNITS)
    assert all(step.tokens >= 64 for step in steps[:-1])


def test_a_training_ends_by_tokens_or_by_epochs() -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        TrainingConfig(sources=["x"], epochs=2, max_tokens=100)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_sources_are_mixed_by_a_power_of_their_size(mixing: float) -> None:
    sizes = {source: sum(u.tokens for u in UNITS if u.source == source) for source in ("demo pairs", "spans")}
    steps = plan_steps(UNITS, config(max_tokens=50_000, mixing=mixing))
    drawn = Counter[str]()
    for i in (i for step in steps for batch in step.micro_batches for i in batch):
        drawn[UNITS[i].source] += UNITS[i].tokens
    wanted = (sizes["demo pairs"] / sizes["spans"]) ** mixing
    assert drawn["demo pairs"] / drawn["spans"] == pytest.approx(wanted, rel=0.01)


def test_learning_rate_by_hand() -> None:
    settings = config(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(step, 10, settings) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]  # two steps up, then the cosine begins
    assert rates[6] == pytest.approx(0.1 + 0.9 * 0.5)  # half of the eight others
    assert rates[9] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 7 / 8)))
    assert learning_rate(0, 1, settings) == 1.0


# --- values ----------------------------------------------------------------------------------------------


def test_values_do_not_depend_on_the_company() -> None:
    model = tiny_model().eval()
    with torch.inference_mode():
        together = values_of(model, UNITS[:3])
        for unit, values in zip(UNITS[:3], together, strict=True):
            alone = values_of(model, [unit])[0]
            for sequence, one, other in zip(unit.sequences, values, alone, strict=True):
                assert one.shape == (len(sequence.target),)
                assert one.dtype == torch.float32
                torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)  # bfloat16 products


def test_values_are_the_responses() -> None:
    model = tiny_model().eval()
    sequence = UNITS[0].sequences[0]
    with torch.inference_mode():
        hidden = model.backbone(input_ids=torch.tensor([sequence.ids])).last_hidden_state
        plain = model.head(hidden)[0, sequence.first :, 0]
        torch.testing.assert_close(values_of(model, UNITS[:1])[0][0], plain, atol=0.05, rtol=0.05)


def test_predictions_come_back_in_order() -> None:
    model = tiny_model()
    progress = Quiet()
    predicted = predict(model, UNITS, 64, progress)
    with torch.inference_mode():
        for unit, values in zip(UNITS, predicted, strict=True):
            for one, other in zip(values, values_of(model, [unit])[0], strict=True):
                np.testing.assert_allclose(one, other, atol=0.05)
    assert progress.updates[-1] == ("measuring", len(UNITS), len(UNITS), sum(u.tokens for u in UNITS))
    assert predict(model, [], 64, progress) == []


# --- training --------------------------------------------------------------------------------------------


def test_the_loss_falls(tmp_path: Path) -> None:
    curve = train(tiny_model(), UNITS, config(max_tokens=6000, checkpoint_steps=10), tmp_path, Quiet())
    for name in ("loss_demo pairs", "loss_spans"):
        assert curve[-1][name] < 0.5 * curve[0][name]
    assert [point["step"] for point in curve[:2]] == [10.0, 20.0]


@pytest.mark.parametrize("killed_at", [1, 4, 5, 7])
def test_a_resumed_run_ends_as_an_undisturbed_one(tmp_path: Path, killed_at: int) -> None:
    undisturbed, resumed = tiny_model(), tiny_model()
    wanted = train(undisturbed, UNITS, config(), tmp_path / "undisturbed", Quiet())
    with pytest.raises(Killed):
        train(resumed, UNITS, config(), tmp_path / "resumed", KilledAt(killed_at))
    resumed, progress = tiny_model(), Quiet()
    curve = train(resumed, UNITS, config(), tmp_path / "resumed", progress)
    torch.testing.assert_close(weights(resumed), weights(undisturbed), rtol=0, atol=0)
    assert progress.updates[0][1] == (killed_at - 1) // 3 * 3 + 1
    for point, other in zip(curve, wanted, strict=True):
        assert {k: v for k, v in point.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert [p["seconds"] for p in curve] == sorted(p["seconds"] for p in curve)


def test_one_step_by_hand() -> None:
    """The gradient of the mean over the step's units, however they are cut into micro-batches."""
    model, plain = tiny_model().eval(), tiny_model().eval()
    for some_model in (model, plain):
        some_model.backbone.requires_grad_(requires_grad=False)
        some_model.backbone.norm.weight.mul_(0.05)  # so small that no gradient is clipped
    before = model.head.weight.detach().clone()
    step = OptimiserStep(((0,), (1, 2), (3,)), units=4, tokens=0)
    head = list(model.head.parameters())
    losses = _optimise(model, UNITS, step, torch.optim.SGD(head, lr=1.0), head, config())
    wanted = []
    for unit in UNITS[:4]:
        chosen, rejected = (
            plain.head(plain.backbone(torch.tensor([s.ids])).last_hidden_state)[0, s.first :].mean()
            for s in unit.sequences
        )
        wanted.append(-torch.log(torch.sigmoid(chosen - rejected)))
    assert losses["demo pairs"] == pytest.approx([loss.item() for loss in wanted], abs=0.02)  # bfloat16 products
    (sum(wanted) / 4).backward()
    gradient = plain.head.weight.grad
    assert 0.01 < float(gradient.norm()) < 0.2
    torch.testing.assert_close(before - model.head.weight, gradient, atol=0.002, rtol=0.05)


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    model = tiny_model()
    curve = train(model, UNITS, config(), tmp_path, Quiet())
    again, progress = tiny_model(), Quiet()
    assert train(again, UNITS, config(), tmp_path, progress) == curve
    assert progress.updates == []
    torch.testing.assert_close(weights(again), weights(model), rtol=0, atol=0)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = tiny_model()
    model.backbone.requires_grad_(requires_grad=False)
    before = weights(model.backbone)
    train(model, UNITS, config(), tmp_path, Quiet())
    torch.testing.assert_close(weights(model.backbone), before, rtol=0, atol=0)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(state["model"]) == {"head.weight", "head.bias"}
    assert not (tmp_path / "checkpoint.partial").exists()


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no training example is left"):
        train(tiny_model(), [], config(), tmp_path, Quiet())
