"""The policy's win rate against its reference while it trains (paper, figure 5), as a callback of TRL's trainers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object, is_peft_model
from torch import Tensor
from transformers import Trainer, TrainerCallback
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import use_adapter

from asr_data.errors import ConfigError, InputError, JudgeError
from asr_data.judging import Judge, RequestSettings
from asr_data.scoring import Scorer
from asr_data.statistics.bootstrap import GroupBootstrap, Measure
from asr_data.storage.commit import commit_bytes
from asr_data.trl.comparison import Answers, ByJudges, ByScorer, Comparer, Comparison
from asr_data.trl.helpers import token_ids
from asr_data.types import Text

logger = logging.getLogger(__name__)


class WinRateCallback(TrainerCallback):
    """Samples from policy and reference on fixed prompts every N steps, compares, and logs ``policy/win_ratio``.

    Logged beside it: ``policy/win_ratio_low`` and ``_high``, the 95 % bootstrap interval over prompts, and
    ``policy/win_ratio_unknown``, the number of prompts that could not be compared and do not count. Both models sample
    with the same random numbers, the same at every step: equal models give equal answers, a ratio of exactly 0.5.
    Sampling leaves the random state of training as it was. Answers go to ``step-…/samples.jsonl``.

    The reference is ``reference``, else the trainer's ``ref_model``; with PEFT the policy without its adapter (or with
    TRL's ``ref`` adapter). Every process samples its share of the prompts; the main process compares. Judges that
    cannot be reached cost that step's figure, with a warning, but do not stop the training.

    Args:
        trainer: any of TRL's trainers or of :mod:`asr_data.trl`; ``trainer.add_callback`` takes the callback.
        prompts: strings, or lists of messages; at least one for each process.
        every: steps between measurements; the first is before training, the last at its end.
        scorer: a reward model that compares, or
        judges: models behind endpoints that do.
        requests: how judges are asked.
        reference: a causal language model, where the trainer has none.
        max_new_tokens: longest answer.
        generation: more arguments of ``generate``; default: sampling at temperature 1 from all tokens.
        batch_size: prompts sampled together; default the trainer's evaluation batch.
        seed: of sampling.
        output: directory for the samples; default ``win_rate`` in the trainer's output directory.

    Raises:
        ConfigError: neither or both of scorer and judges, no prompts, or no reference.
    """

    def __init__(
        self,
        trainer: Any,
        prompts: Sequence[Text],
        *,
        every: int,
        scorer: Scorer | None = None,
        judges: Sequence[Judge] = (),
        requests: RequestSettings | None = None,
        reference: Any = None,
        max_new_tokens: int = 256,
        generation: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        output: Path | None = None,
    ) -> None:
        self._comparer = _comparer(scorer, judges, requests)
        self._trainer, self._prompts, self._every = trainer, list(prompts), every
        self._reference = getattr(trainer, "ref_model", None) if reference is None else reference
        if self._reference is None and not is_peft_model(trainer.accelerator.unwrap_model(trainer.model)):
            raise ConfigError("the trainer keeps no reference model, and its model has no adapter: pass reference=")
        if every < 1 or max_new_tokens < 1 or (batch_size is not None and batch_size < 1):
            raise ConfigError(f"every {every}, max_new_tokens {max_new_tokens}, batch_size {batch_size}: at least 1")
        if len(self._prompts) < trainer.accelerator.num_processes:
            raise ConfigError(f"{len(self._prompts)} prompts: at least one for each process")
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        self._tokenizer = tokenizer
        self._ids = [_prompt_ids(tokenizer, prompt) for prompt in self._prompts]
        self._generation = {**_SAMPLING, **(generation or {}), "max_new_tokens": max_new_tokens}
        self._batch_size = batch_size or trainer.args.per_device_eval_batch_size
        self._seed = seed
        self._output = Path(trainer.args.output_dir) / "win_rate" if output is None else output
        self._measured = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - as called
        """Measure before training."""
        self._measure(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - as called
        """Measure every N steps."""
        if state.global_step % self._every == 0:
            due = control.should_log
            self._measure(state.global_step)
            control.should_log = due  # which logging clears: the step's own figures are still to come

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - as called
        """Measure at the end, unless the last step was measured."""
        self._measure(state.global_step)

    def _measure(self, step: int) -> None:
        if step == self._measured:
            return
        self._measured = step
        answers = self._sampled()
        # What the main process found, and what went wrong there: the others wait for it, and must not wait for ever.
        outcome: list[Any] = [{}, None]
        accelerator = self._trainer.accelerator
        if accelerator.is_main_process:
            try:
                outcome = [self._figures(answers, self._output / f"step-{step:06d}"), None]
            except Exception as error:
                if accelerator.num_processes == 1:
                    raise
                logger.exception("the win ratio of step %d", step)
                outcome = [{}, str(error)]
        figures, problem = broadcast_object_list(outcome)
        if problem is not None:
            raise RuntimeError(f"the main process could not compare the answers of step {step}: {problem}")
        if figures:
            # Past TRL's own log, which would write out, and forget, what it has gathered since the last one.
            Trainer.log(self._trainer, dict(figures))

    def _sampled(self) -> list[Answers]:
        """Answers to all prompts, in order; the same in every process."""
        accelerator, trainer = self._trainer.accelerator, self._trainer
        with accelerator.split_between_processes(list(range(len(self._prompts)))) as mine:
            with _sampling(trainer.model_wrapped, accelerator) as model:
                policy = self._answers(model, mine)
                if self._reference is None:
                    name = "ref" if "ref" in model.peft_config else None
                    with use_adapter(model, adapter_name=name):
                        reference = self._answers(model, mine)
            if self._reference is not None:
                with _sampling(self._reference, accelerator) as model:
                    reference = self._answers(model, mine)
            found = gather_object(list(zip(mine, policy, reference, strict=True)))
        return [Answers(self._prompts[i], own, other) for i, own, other in sorted(found)]

    @torch.no_grad()
    def _answers(self, model: Any, which: Sequence[int]) -> list[str]:
        """The model's answers to some prompts; with the same random numbers every time."""
        device = model.device
        devices = [device] if device.type == "cuda" else []
        texts: list[str] = []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self._seed)
            for first in range(0, len(which), self._batch_size):
                prompts = [self._ids[i] for i in which[first : first + self._batch_size]]
                ids, attention = _left_padded(prompts, self._padding)
                made = model.generate(
                    input_ids=ids.to(device),
                    attention_mask=attention.to(device),
                    pad_token_id=self._padding,
                    **self._generation,
                )
                texts += self._tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
        return texts

    @property
    def _padding(self) -> int:
        known = (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id, 0)
        return int(next(token for token in known if token is not None))

    def _figures(self, answers: Sequence[Answers], folder: Path) -> dict[str, float]:
        """Compare, write the samples, and return the figures; none where judges failed. In the main process only."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_samples(folder, answers, [Comparison(one.settled) for one in answers])  # before anybody is asked
        open_ones = [one for one in answers if one.settled is None]
        try:
            asked = iter(self._comparer.compare(open_ones, folder) if open_ones else ())
        except (InputError, JudgeError) as error:
            logger.warning("no win ratio for %s: %s", folder.name, error)
            return {}
        compared = [next(asked) if one.settled is None else Comparison(one.settled) for one in answers]
        _write_samples(folder, answers, compared)
        return _summary(answers, compared)


_SAMPLING: Mapping[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def _comparer(scorer: Scorer | None, judges: Sequence[Judge], requests: RequestSettings | None) -> Comparer:
    if (scorer is None) == (not judges):
        raise ConfigError("a win rate needs either scorer= or judges=")
    return ByScorer(scorer) if scorer is not None else ByJudges(tuple(judges), requests or RequestSettings())


def _prompt_ids(tokenizer: Any, prompt: Text) -> list[int]:
    if isinstance(prompt, str):
        ids = token_ids(tokenizer, prompt)
    else:
        ids = token_ids(tokenizer, [dict(message) for message in prompt], add_generation_prompt=True)
    if not ids:
        raise ConfigError(f"a prompt has no tokens: {prompt!r}")
    return ids


def _left_padded(prompts: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, int64 ``[prompts, longest]``."""
    longest = max(map(len, prompts))
    ids = [[padding] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    attention = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(attention)


@contextmanager
def _sampling(model: Any, accelerator: Any) -> Iterator[Any]:
    """The model as it generates: unwrapped, its weights gathered, without dropout; trained on as before afterwards."""
    with unwrap_model_for_generation(model, accelerator) as unwrapped:
        training = unwrapped.training
        unwrapped.eval()
        try:
            with nullcontext() if unwrapped.device.type == "cpu" else accelerator.autocast():
                yield unwrapped
        finally:
            unwrapped.train(training)


def _write_samples(folder: Path, answers: Sequence[Answers], compared: Sequence[Comparison]) -> None:
    records = ({**asdict(one), **asdict(how)} for one, how in zip(answers, compared, strict=True))
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    commit_bytes(folder / "samples.jsonl", lines.encode())


def _summary(answers: Sequence[Answers], compared: Sequence[Comparison]) -> dict[str, float]:
    points = [float("nan") if how.points is None else how.points for how in compared]
    found = GroupBootstrap([str(one.prompt) for one in answers]).estimate(Measure.mean_of(points))
    figures = {"win_ratio": found.value, "win_ratio_low": found.low, "win_ratio_high": found.high}
    known = {f"policy/{name}": value for name, value in figures.items() if value is not None}
    return {**known, "policy/win_ratio_unknown": float(len(answers) - found.items)}
