"""The twelve benchmarks of the paper's table 1: its numbers, its shots, and their tasks in lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

COLUMNS = {"base": "base", "dpo": "+DPO", "adpo": "+ADPO", "grpo": "+PPO", "appo": "+APPO", "rs": "+RS", "ars": "+ARS"}
"""Our name of each kind of training, and the paper's. PPO is GRPO here: eq. 9 without masks, and no value model."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One row of the table.

    Attributes:
        name: as the paper has it.
        task: of lm-evaluation-harness 0.4.13; None where it has none.
        metric: the key of its result: metric and filter.
        shots: examples in the prompt.
        shots_known: whether the paper's text says so.
        paper: its numbers, in the order of :data:`COLUMNS`; empty for a benchmark that is not the paper's.
        runs_code: the task executes what the model writes.
    """

    name: str
    task: str | None
    metric: str = "acc,none"
    shots: int = 0
    shots_known: bool = True
    paper: tuple[float, ...] = ()
    runs_code: bool = False


# The list of shots in appendix D lacks its beginning in the text at hand: C-Eval and C3 are taken to be 0-shot, too.
PAPER: tuple[Benchmark, ...] = (
    Benchmark(
        "C-Eval", "ceval-valid", shots_known=False, paper=(0.7562, 0.7639, 0.7606, 0.7609, 0.7763, 0.7636, 0.7907)
    ),
    Benchmark("C3", None, shots_known=False, paper=(0.9170, 0.9157, 0.9189, 0.9176, 0.9193, 0.9238, 0.9394)),
    Benchmark("MMLU", "mmlu", paper=(0.6627, 0.6617, 0.6636, 0.6647, 0.6886, 0.6686, 0.7010)),
    Benchmark("CommonsenseQA", "commonsense_qa", paper=(0.8034, 0.8026, 0.8059, 0.8051, 0.8083, 0.7970, 0.8051)),
    Benchmark("RACE", "race", paper=(0.8695, 0.8738, 0.8675, 0.8603, 0.8678, 0.8755, 0.8752)),
    Benchmark("ARC-C", "arc_challenge", paper=(0.8491, 0.8526, 0.8439, 0.8565, 0.8474, 0.8549, 0.8544)),
    Benchmark("ARC-E", "arc_easy", paper=(0.939, 0.9354, 0.9381, 0.9405, 0.9376, 0.9261, 0.9372)),
    Benchmark(
        "BBH",
        "bbh_zeroshot",
        "exact_match,flexible-extract",
        paper=(0.8456, 0.7907, 0.8533, 0.8369, 0.8566, 0.7229, 0.7747),
    ),
    Benchmark(
        "HellaSwag", "hellaswag", "acc_norm,none", paper=(0.8172, 0.8149, 0.8171, 0.8064, 0.8172, 0.8029, 0.8161)
    ),
    Benchmark("WinoGrande", "winogrande", paper=(0.6283, 0.6322, 0.6275, 0.6283, 0.6267, 0.6096, 0.6330)),
    Benchmark(
        "GSM8K",
        "gsm8k",
        "exact_match,flexible-extract",
        paper=(0.8840, 0.8757, 0.8923, 0.8681, 0.8825, 0.8454, 0.8802),
    ),
    Benchmark(
        "HumanEval",
        "humaneval",
        "pass@1,create_test",
        shots=3,
        paper=(0.5625, 0.7125, 0.7438, 0.5625, 0.6250, 0.6438, 0.6563),
        runs_code=True,
    ),
)


def chosen_benchmarks(names: str | None, given: Sequence[str]) -> list[Benchmark]:
    """The benchmarks that were asked for.

    Args:
        names: with commas; None for the paper's twelve and those of ``given``.
        given: ``NAME=TASK`` or ``NAME=TASK:SHOTS`` or ``NAME=TASK:SHOTS:METRIC``: a task in place of the paper's one of
            that name, or a benchmark more.

    Raises:
        SystemExit: an unknown name, or a task that cannot be read.
    """
    found = {one.name: one for one in PAPER}
    for text in given:
        one = _given(text, found)
        found[one.name] = one
    if names is None:
        return list(found.values())
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise SystemExit(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(found)}; --task adds others")
    return [found[name] for name in wanted]


def _given(text: str, known: Mapping[str, Benchmark]) -> Benchmark:
    name, equals, rest = text.partition("=")
    task, *more = rest.split(":", 2)
    if not (name and equals and task) or not all(part.isdecimal() for part in more[:1]):
        raise SystemExit(f"--task {text}: give NAME=TASK, NAME=TASK:SHOTS or NAME=TASK:SHOTS:METRIC")
    one = replace(known.get(name, Benchmark(name, task)), task=task, metric="acc,none", runs_code=False)
    one = replace(one, shots=int(more[0])) if more else one
    return replace(one, metric=more[1]) if len(more) == 2 else one
