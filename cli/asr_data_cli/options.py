"""The options that several commands share, declared once: names, help and panels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from asr_data.pairs import PairConfig, PairRule

INPUT = "Input"
MODEL = "Model"
SERVED = "Served models"
SEGMENTS = "Segments"
MASKS = "Masks"
OUTPUT = "Output"
MACHINES = "Several machines"

# --- input -----------------------------------------------------------------------------------------------

InputArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="A .parquet, .arrow, .jsonl, .json, .csv or .tsv file, the last four also compressed (.gz, .zst, .xz, "
        ".bz2); a directory (saved dataset or Parquet); a Hub dataset id; the URL of a file (hf://, s3://, https://, "
        "…); or - for standard input.",
        show_default=False,
    ),
]
Split: TypeAlias = Annotated[
    str | None,
    typer.Option("--split", help="Split to read.", rich_help_panel=INPUT, show_default="the only one"),
]
Name: TypeAlias = Annotated[
    str | None,
    typer.Option("--name", help="Configuration of a Hub dataset.", rich_help_panel=INPUT),
]
Revision: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of a Hub dataset.",
        rich_help_panel=INPUT,
        show_default="main",
    ),
]
Format: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="What a file, a URL or standard input holds: parquet, arrow, jsonl, json, csv or tsv, and how it is "
        "compressed, as in jsonl.gz.",
        rich_help_panel=INPUT,
        show_default="as its name says",
    ),
]
Columns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="ROLE=COLUMN,…",
        help="Which column plays which role, where detection needs help: "
        "prompt=q,chosen=good,rejected=bad. A column inside another: chosen=input.messages. A format "
        "with labels: format=prm800k.",
        rich_help_panel=INPUT,
        show_default="detected",
    ),
]

Pairs: TypeAlias = Annotated[
    PairRule,
    typer.Option("--pairs", help=PairConfig.model_fields["rule"].description, rich_help_panel=INPUT),
]
MinGap: TypeAlias = Annotated[
    float, typer.Option("--min-gap", min=0, help=PairConfig.model_fields["min_gap"].description, rich_help_panel=INPUT)
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Number of rows to annotate, from the start.",
        rich_help_panel=INPUT,
        show_default="all",
    ),
]

# --- model -----------------------------------------------------------------------------------------------

Model: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model",
        help="Reward model: builtin, a directory or a Hub id; for --kind rule, a function package.module:name.",
        rich_help_panel=MODEL,
    ),
]
KindName: TypeAlias = Literal[
    "auto",
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
Kind: TypeAlias = Annotated[
    KindName,
    typer.Option(
        "--kind",
        help="Kind of reward model; auto recognises it. contrast, logp, answer_value: any causal language model. "
        "Without a model: labels uses the data set's own labels, diff the words that the other answer also has.",
        rich_help_panel=MODEL,
    ),
]
Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Read the model as this known family; asr-annotate scorers lists them.",
        rich_help_panel=MODEL,
        show_default="recognised",
    ),
]
ScorerSettings: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--scorer-config",
        metavar="FILE",
        help="Settings in place of the model's asr_scorer.json.",
        rich_help_panel=MODEL,
    ),
]
Reference: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="MODEL",
        help="Reference model of kind implicit, second model of kind contrast: a directory or a Hub id.",
        rich_help_panel=MODEL,
    ),
]
Context: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME",
        help="What the model reads before a response: prompt, better-answer, other-row (another row's answer, a "
        "control), good-instruction, bad-instruction, or column:COLUMN, where {side} stands for chosen or rejected.",
        rich_help_panel=MODEL,
        show_default="the prompt, or as the preset says",
    ),
]
Against: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="NAME",
        help="Kind contrast: the other context.",
        rich_help_panel=MODEL,
        show_default="the prompt, or as the preset says",
    ),
]
Sides: TypeAlias = Annotated[
    Literal["both", "chosen", "rejected"] | None,
    typer.Option(
        "--sides",
        help="Which responses the model scores; --unknown decides how the others train.",
        rich_help_panel=MODEL,
        show_default="both, or as the preset says",
    ),
]
Answer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--answer",
        metavar="NAME",
        help="Kind answer_value: the answer whose probability is read: better-answer, other-row or column:COLUMN.",
        rich_help_panel=MODEL,
        show_default="better-answer",
    ),
]
AllowPickle: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Read weights from pickle files too; they are unpickled in torch's mode for weights, which runs no code.",
        rich_help_panel=MODEL,
    ),
]
AllowHub: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-hub",
        help="Also fetch from the Hub what a local model's files name, such as an adapter's base or a known family's "
        "reference; without it, only what you name yourself is fetched.",
        rich_help_panel=MODEL,
    ),
]
NoCache: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Neither read nor write the user's cache, which keeps the built-in model ready to run (270 MB) and the "
        "hashes of large model files.",
        rich_help_panel=MODEL,
    ),
]
Verify: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Hash every model file, also those whose hash is remembered or that the Hub names by it.",
        rich_help_panel=MODEL,
    ),
]
Logprobs: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--logprobs",
        metavar="MODEL",
        help="Also write this model's log-probabilities of the policy tokens: a directory, a Hub id or builtin.",
        rich_help_panel=MODEL,
    ),
]
Engine: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="[ROLE=]URL",
        help="Ask this server for the model instead of loading it: vLLM, SGLang or llama.cpp's, by token ids. Several "
        "URLs share the work. reference=URL and logprobs=URL: that of --reference, of --logprobs. The key is read from "
        "ASR_ENGINE_KEY.",
        rich_help_panel=SERVED,
        show_default="the models are run here",
    ),
]
EngineModel: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-model",
        metavar="[ROLE=]NAME",
        help="The model's name at the server.",
        rich_help_panel=SERVED,
        show_default="that of --model",
    ),
]
Tokenizer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Tokenizer of the policy to be trained: a directory, a Hub id, or builtin. Masks are over its tokens.",
        rich_help_panel=MODEL,
        show_default="the reward model's",
    ),
]
MaskTokenizer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Tokenizer of the policy to be trained: a directory, a Hub id, or builtin.",
        rich_help_panel=INPUT,
        show_default="the one used before, or the reward model's",
    ),
]
Dtype: TypeAlias = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option("--dtype", help="Number format; auto chooses by hardware.", rich_help_panel=MODEL),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option("--device", help="cpu, cuda, cuda:1, mps; auto takes a GPU if any.", rich_help_panel=MODEL),
]
DeviceMap: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device-map",
        metavar="auto|FILE",
        help="Spread the model over the GPUs of this machine, then the CPU, then the disk (auto), or as a JSON file of "
        'parts and devices says: {"layers.0": 0, "": "cpu"}. In place of --device.',
        rich_help_panel=MODEL,
        show_default="one device",
    ),
]
OffloadDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--offload-dir",
        metavar="DIR",
        help="Where weights go that --device-map puts on disk; they are removed at the end.",
        rich_help_panel=MODEL,
        show_default="the place for temporary files",
    ),
]
BatchTokens: TypeAlias = Annotated[
    str,
    typer.Option(
        "--batch-tokens",
        metavar="N|auto",
        help="Tokens per batch, padding included.",
        rich_help_panel=MODEL,
    ),
]
MaxLength: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=1,
        help="Longest prompt plus response, in the reward model's tokens; longer rows are rejected.",
        rich_help_panel=MODEL,
        show_default="the model's context",
    ),
]

# --- output ----------------------------------------------------------------------------------------------

Output: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Directory to write.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
ShardRows: TypeAlias = Annotated[
    int, typer.Option("--shard-rows", min=1, help="Rows per file.", rich_help_panel=OUTPUT)
]
Prefix: TypeAlias = Annotated[
    str,
    typer.Option(
        "--prefix",
        metavar="TEXT",
        help="Prefix of every added column, where the input has a column of the same name.",
        rich_help_panel=OUTPUT,
        show_default="none",
    ),
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue a stopped run; the same command does so without this option, too. Refused where model, "
        "tokenizer, settings or input differ.",
        rich_help_panel=OUTPUT,
    ),
]
Where: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Score only rows that meet it, in SQL over the input's columns; the others are listed in the rejects.",
        rich_help_panel=INPUT,
        show_default="all rows",
    ),
]
Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option("--overwrite", help="Delete an earlier output of this tool and start over.", rich_help_panel=OUTPUT),
]
Strict: TypeAlias = Annotated[
    bool,
    typer.Option("--strict", help="Exit with code 3 when rows were rejected.", rich_help_panel=OUTPUT),
]

# --- several machines ------------------------------------------------------------------------------------

NumShards: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--num-shards",
        min=1,
        help="Split the data set among this many jobs, each with its own --shard-index and DIR; merge joins them.",
        rich_help_panel=MACHINES,
        show_default="one job",
    ),
]
ShardIndex: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--shard-index",
        min=0,
        help="Index of this job, from 0.",
        rich_help_panel=MACHINES,
    ),
]
TemplateDate: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--template-date",
        metavar="YYYY-MM-DD",
        help="The date for chat templates that print today's: the same for all parts of a run. A resumed run "
        "keeps its own.",
        rich_help_panel=INPUT,
        show_default="today",
    ),
]
Ray: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS|local",
        help="Score on the workers of this Ray cluster, auto finds a running one; local starts one on this machine. "
        "Input, models and DIR must be on a file system that all nodes share.",
        rich_help_panel=MACHINES,
        show_default="in this process",
    ),
]
RayWorkers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--ray-workers",
        min=1,
        help="Processes that load the model.",
        rich_help_panel=MACHINES,
        show_default="one per GPU, or per CPU where there is none",
    ),
]
GpusPerWorker: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        metavar="X",
        min=0,
        help="GPUs of each of Ray's workers: several for a model that --device-map spreads, or a share of one.",
        rich_help_panel=MACHINES,
        show_default="one, where the cluster has any",
    ),
]
