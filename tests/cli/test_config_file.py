"""``--config FILE``: a file of options, through the real program."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from click.testing import Result
from typer.testing import CliRunner

from asr_data.storage import open_output
from asr_data_cli.app import build_app

LINE = '{"prompt": "q", "chosen": "good words here", "rejected": "bad words there"}\n'


@pytest.fixture
def call(tmp_path: Path, make_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The program in a folder with three pairs and a tokenizer."""
    monkeypatch.chdir(tmp_path)
    make_tokenizer().hf.save_pretrained("policy")
    Path("pairs.jsonl").write_text(LINE * 3)
    return lambda *words: CliRunner().invoke(build_app(), list(words), env={"COLUMNS": "200"})


BASE = ("--kind", "diff", "--tokenizer", "policy", "--device", "cpu")


def test_options_come_from_the_file_and_what_is_typed_wins(call: Callable[..., Result]) -> None:
    text = "input: pairs.jsonl\noutput: out\nkind: diff\ntokenizer: policy\nlimit: 1\nbaseline: 0.25\nend-token: mask\n"
    Path("run.yaml").write_text(text)
    assert call("run", "--config", "run.yaml", "--limit", "2").exit_code == 0
    manifest = open_output(Path("out")).manifest
    assert manifest.input.rows == 2
    assert manifest.input.description == "pairs.jsonl (first 2 of 3 rows)"
    assert manifest.mask is not None
    assert manifest.mask.baseline.model_dump() == {"kind": "fixed", "value": 0.25}
    assert manifest.mask.end_token == "mask"
    assert manifest.plan.config_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_run_with_another_file_of_the_same_options_is_the_same_run(call: Callable[..., Result]) -> None:
    assert call("run", "pairs.jsonl", "-o", "plain", *BASE).exit_code == 0
    Path("run.yaml").write_text("kind: diff\ntokenizer: policy\ndevice: cpu\n")
    assert call("run", "pairs.jsonl", "-o", "out", "--config", "run.yaml").exit_code == 0
    plain, out = (open_output(Path(name)).manifest for name in ("plain", "out"))
    assert plain.run_id == out.run_id
    assert "config_sha256" not in plain.plan.to_json()
    Path("run.yaml").write_text("# a remark\nkind: diff\ntokenizer: policy\ndevice: cpu\n")
    again = call("run", "pairs.jsonl", "-o", "out", "--config", "run.yaml")
    assert (again.exit_code, "already complete" in again.output) == (0, True)


@pytest.mark.parametrize("command", ["score", "mask"])
def test_other_commands_take_one_too(call: Callable[..., Result], command: str) -> None:
    assert call("run", "pairs.jsonl", "-o", "first", *BASE).exit_code == 0
    Path("some.yaml").write_text("strict: true\n")
    words = ["pairs.jsonl", "--kind", "diff"] if command == "score" else ["first", "--segmenter", "step"]
    assert call(command, *words, "-o", "second", "--config", "some.yaml").exit_code == 0
    assert open_output(Path("second")).manifest.plan.config_sha256 is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segmentr: step\n", "there is no option 'segmentr'; did you mean segmenter?"),
        ("7: step\n", "there is no option 7; allowed are input, "),
        ("config: other.yaml\n", "there is no option 'config'"),
        ("save: other.yaml\n", "there is no option 'save'"),
        ("limit: 1\nlimit: 2\n", "the key 'limit' is there twice"),
        ("- limit\n", "expected lines of the form OPTION: VALUE"),
        ("", "expected lines of the form OPTION: VALUE"),
        ("limit: [1", "cannot be read: "),
        ("limit: many\n", "limit is 'many': "),
        ("limit: 0\n", "limit is 0: "),
        ("limit: [1]\n", "limit is [1]: expected text or a number"),
        ("segmenter: nothing\n", "segmenter is 'nothing': 'nothing' is not one of "),
        ("strict: 3\n", "strict is 3: expected true or false"),
        ("end-token: no\n", "end-token is False: expected text or a number (words such as no in quotes)"),
        ("columns: {prompt: q}\n", "columns is {'prompt': 'q'}: expected text or a list of texts"),
        (
            "input: !!python/object/apply:os.getcwd []\n",
            "cannot be read: line 1, column 8: could not determine a constructor",
        ),
    ],
)
def test_what_cannot_be_right_is_one_line(call: Callable[..., Result], text: str, message: str) -> None:
    Path("run.yaml").write_text(text)
    found = call("run", "pairs.jsonl", "-o", "out", "--config", "run.yaml")
    assert (found.exit_code, found.output.strip().count("\n")) == (2, 0), found.output
    assert found.output.startswith("error: --config run.yaml: ")
    assert message in found.output


def test_a_file_that_is_not_there(call: Callable[..., Result]) -> None:
    found = call("run", "pairs.jsonl", "-o", "out", "--config", "absent.yaml")
    assert (found.exit_code, found.output.strip().count("\n")) == (2, 0)
    assert "absent.yaml: cannot be read" in found.output


def test_plan_saves_what_run_reads(call: Callable[..., Result]) -> None:
    """Every option of run is in the file, but those that say what to do with a file of options."""
    columns = ("--columns", "prompt=prompt", "--columns", "chosen=chosen,rejected=rejected")
    asked = ("pairs.jsonl", "-o", "out", *BASE, "--segmenter", "schmitt", "--delta", "auto:2", "--strict", *columns)
    assert call("plan", *asked, "--save", "run.yaml").exit_code == 0
    program: Any = typer.main.get_command(build_app())
    names = {max(one.opts, key=len).removeprefix("--") for one in program.commands["run"].params}
    saved = yaml.safe_load(Path("run.yaml").read_text())
    assert set(saved) == {"input" if name == "location" else name for name in names} - {"config", "dry-run", "help"}
    assert (saved["delta"], saved["strict"], saved["columns"]) == ("auto:2", True, list(columns[1::2]))
    assert call("run", "--config", "run.yaml").exit_code == 0
    assert call("run", *asked, "--overwrite").exit_code == 0
    assert not Path("out/.asr-work").exists()
    again = call("plan", *asked, "--save", "run.yaml")
    assert (again.exit_code, "there is a file of this name already" in again.output) == (2, True)


URL = "memory://me:pass-word@bucket/pairs.jsonl?signature=abcdef1234"
SECRETS = ("pass-word", "abcdef1234")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs at ``URL``."""
    fetch: Any = lambda _url, path: path.write_text(LINE * 3)  # noqa: E731
    monkeypatch.setattr("asr_data.rows.fetched._fetch", fetch)


def test_secrets_of_a_url_are_not_saved(call: Callable[..., Result], stored: None) -> None:
    planned = call("plan", URL, *BASE, "--save", "run.yaml")
    assert planned.exit_code == 0, planned.output
    assert "type it again" in planned.stderr
    assert "asr-annotate run INPUT --config run.yaml" in planned.stdout
    assert not any(one in planned.output + Path("run.yaml").read_text() for one in SECRETS)
    assert yaml.safe_load(Path("run.yaml").read_text())["input"] is None
    assert "Missing argument 'INPUT'" in call("run", "--config", "run.yaml").stderr
    assert call("run", URL, "--config", "run.yaml").exit_code == 0
    for path in Path("annotated").rglob("*"):
        assert path.is_dir() or not any(one.encode() in path.read_bytes() for one in SECRETS)


def test_an_option_with_a_secret_is_not_saved_and_nothing_is_scored(call: Callable[..., Result], stored: None) -> None:
    where = f"prompt <> '{URL}'"
    refused = call("plan", "pairs.jsonl", *BASE, "--where", where, "--save", "run.yaml")
    assert (refused.exit_code, "--where holds a URL with a user" in refused.stderr) == (2, True)
    assert not any(one in refused.output for one in SECRETS)
    assert not Path("run.yaml").exists()
    Path("run.yaml").write_text("")
    there = call("plan", "nowhere.jsonl", *BASE, "--save", "run.yaml")
    assert "there is a file of this name already" in there.stderr  # before INPUT is opened


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'input: "{URL}\n', "line 2, column 1: found unexpected end of stream"),
        (f"input: [{URL}\n", "expected ',' or ']'"),
        (f"dtype: {URL}\n", "dtype is 'memory://bucket/pairs.jsonl': "),
        (f"overwrite: {URL}\n", "expected true or false"),
        (f"{URL}: 1\n", "there is no option 'memory://bucket/pairs.jsonl'"),
    ],
)
def test_errors_of_a_file_show_no_secrets(call: Callable[..., Result], text: str, message: str) -> None:
    Path("run.yaml").write_text(text)
    refused = call("run", "pairs.jsonl", "-o", "out", "--config", "run.yaml")
    assert (refused.exit_code, message in refused.stderr) == (2, True)
    assert not any(one in refused.output for one in SECRETS)


def test_no_secret_can_be_guessed_from_the_files_hash(call: Callable[..., Result], stored: None) -> None:
    hashes = set()
    for password in ("pass-word", "another"):
        Path("run.yaml").write_text(f"input: {URL.replace('pass-word', password)}\nkind: diff\ntokenizer: policy\n")
        assert call("run", "-o", password, "--config", "run.yaml").exit_code == 0
        hashes.add(open_output(Path(password)).manifest.plan.config_sha256)
    public = "input: memory://bucket/pairs.jsonl\nkind: diff\ntokenizer: policy\n"
    assert hashes == {hashlib.sha256(public.encode()).hexdigest()}


def test_plan_says_what_run_would_do_and_does_nothing(call: Callable[..., Result]) -> None:
    empty = '{"prompt": "q", "chosen": " ", "rejected": "b"}\n'
    Path("pairs.jsonl").write_text(LINE * 3 + empty * 2)
    planned = call("plan", "pairs.jsonl", "-o", "out", *BASE)
    assert planned.exit_code == 0, planned.output
    dry = call("run", "pairs.jsonl", "-o", "out", *BASE, "--dry-run")
    timing = re.compile(r"(measured|time|memory) .*\n")
    assert timing.sub("", planned.stdout) == timing.sub("", dry.stdout)
    words = re.sub(r"\s+", " ", planned.stdout)
    assert "layout preference pairs with a prompt column" in words
    assert "first rows 5 read, 3 can be annotated" in words
    assert "empty_response 2 rejected" in words
    assert "files in out: data/train-00000.parquet scores/train-00000.parquet rejects/train.parquet" in words
    assert not Path("out").exists()


def test_plan_of_a_part_names_its_files(call: Callable[..., Result]) -> None:
    part = ("--shard-rows", "1", "--num-shards", "2", "--shard-index", "1", "-o", "out")
    words = re.sub(r"\s+", " ", call("plan", "pairs.jsonl", *BASE, *part).stdout)
    # Of three files the first job makes one and the second two.
    assert "in out: data/train-00001.parquet … train-00002.parquet scores/train-00001.parquet" in words
    assert "for 2 rows" in words
