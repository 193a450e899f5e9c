from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from asr_data.config import Part
from asr_data.errors import ConfigError, CorruptFileError, OutputExistsError, StorageError
from asr_data.storage import load_manifest, validate
from asr_data.storage.commit import COMMIT_POINTS, observe
from asr_data.storage.output import OutputDirectory
from asr_data.storage.plan import plan_differences

from .conftest import plan_for

SCHEMA = pa.schema([("asr_row", pa.int64())])
SCORER = {"name": "a", "kind": "rule", "form": "value", "fingerprint": "beef"}
PLAN = plan_for(scorer={**SCORER, "settings": {"layers": [1, 2], "seed": 1}})
OTHER = plan_for(scorer={**SCORER, "settings": {"seed": 2}})
WRITTEN = plan_for()


def commit(output: OutputDirectory, index: int) -> Any:
    rows = pa.table({"asr_row": pa.array([index], pa.int64())})
    return output.commit_shard("score", index, {f"data/train-{index:05d}.parquet": (SCHEMA, [rows])}, {"tokens": 7})


def files_in(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_new_an_empty_and_a_barely_begun_directory_are_taken(tmp_path: Path) -> None:
    OutputDirectory.create(tmp_path / "deep" / "new", PLAN)
    (tmp_path / "empty").mkdir()
    OutputDirectory.create(tmp_path / "empty", PLAN)
    (tmp_path / "begun" / ".asr-work").mkdir(parents=True)
    assert not OutputDirectory.create(tmp_path / "begun", PLAN).is_finished


def test_a_file_and_a_foreign_directory_are_refused_under_every_flag(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputExistsError, match=r"holds mine\.txt, and no asr"):
            OutputDirectory.create(tmp_path, PLAN, **flags)
        with pytest.raises(OutputExistsError, match="is a file"):
            OutputDirectory.create(tmp_path / "mine.txt", PLAN, **flags)
    (tmp_path / "asr.json").write_text("{}")
    with pytest.raises(OutputExistsError, match="contract_version is None"):
        OutputDirectory.create(tmp_path, PLAN, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asr.json", "mine.txt"]


def test_without_flags_the_same_plan_goes_on_and_another_is_refused(tmp_path: Path, write: Any) -> None:
    first = OutputDirectory.create(tmp_path / "half", PLAN)
    shard = commit(first, 0)
    again = OutputDirectory.create(tmp_path / "half", PLAN)
    assert (first.is_continued, again.is_continued, again.committed("score", 0)) == (False, True, shard)
    assert OutputDirectory.create(write(), WRITTEN).is_finished
    for path in (tmp_path / "half", write()):
        before = files_in(path)
        with pytest.raises(OutputExistsError, match=r"(?s)other settings.*--overwrite.*seed: was .*, now 2"):
            OutputDirectory.create(path, OTHER)
        after = files_in(path)
        after.pop(".asr-work/lock", before.pop(".asr-work/lock", None))  # names who looked last
        assert after == before
    with pytest.raises(ConfigError, match="exclude each other"):
        OutputDirectory.create(tmp_path / "half", PLAN, resume=True, overwrite=True)


def test_resume_finds_what_was_committed_and_redoes_what_changed(tmp_path: Path) -> None:
    first = OutputDirectory.create(tmp_path / "out", PLAN)
    shards = [commit(first, index) for index in range(3)]
    (tmp_path / "out" / "data" / "train-00001.parquet").write_bytes(b"PAR1")
    (tmp_path / "out" / "data" / "train-00002.parquet").unlink()
    second = OutputDirectory.create(tmp_path / "out", PLAN, resume=True)
    assert second.committed("score", 0) == shards[0]
    assert shards[0].extra == {"tokens": 7}
    assert [second.committed("score", index) for index in (1, 2, 3)] == [None, None, None]
    assert second.committed("mask", 0) is None
    assert commit(second, 1) == shards[1]


def test_a_torn_shard_record_is_as_good_as_none(tmp_path: Path) -> None:
    commit(OutputDirectory.create(tmp_path / "out", PLAN), 0)
    record = tmp_path / "out" / ".asr-work" / "shards" / "score-00000.json"
    record.write_bytes(record.read_bytes()[:20])
    assert OutputDirectory.create(tmp_path / "out", PLAN, resume=True).committed("score", 0) is None


def test_resume_with_another_plan_says_what_differs(tmp_path: Path) -> None:
    commit(OutputDirectory.create(tmp_path / "out", PLAN), 0)
    other = plan_for(
        scorer={**SCORER, "name": "b", "settings": {"layers": [1, 2]}}, versions={"asr-data": "0.1.0", "torch": "2"}
    )
    with pytest.raises(OutputExistsError) as caught:
        OutputDirectory.create(tmp_path / "out", other, resume=True)
    assert str(caught.value).splitlines()[1:] == [
        '  scorer.name: was "a", now "b"',
        "  scorer.settings.seed: was 1, now nothing",
        '  versions.torch: was nothing, now "2"',
    ]
    assert plan_differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []


def test_plans_without_a_json_form_are_refused(tmp_path: Path) -> None:
    nowhere = plan_for(scorer={**SCORER, "settings": {"threshold": float("nan")}})
    with pytest.raises(ConfigError, match="no JSON form"):
        OutputDirectory.create(tmp_path / "out", nowhere)


def test_overwrite_removes_ours_and_nothing_else(tmp_path: Path, write: Any) -> None:
    path = write()
    (path / "notes.txt").write_text("mine")
    (path / "data" / "extra.parquet").write_text("mine")
    OutputDirectory.create(path, PLAN, overwrite=True)
    left = {name for name in files_in(path) if not name.startswith(".asr-work/")}
    assert left == {"notes.txt", "data/extra.parquet"}


def test_overwrite_of_an_unfinished_run_removes_what_it_never_recorded(tmp_path: Path) -> None:
    def kill(point: str, path: Path) -> None:
        if point == "renamed" and path.suffix == ".parquet":
            raise Kill

    output = OutputDirectory.create(tmp_path / "out", PLAN)
    output.work_path("rewards/0.npy").write_bytes(b"0")
    with observe(kill), pytest.raises(Kill):
        commit(output, 0)
    assert (tmp_path / "out" / "data" / "train-00000.parquet").exists()
    OutputDirectory.create(tmp_path / "out", OTHER, overwrite=True)
    assert set(files_in(tmp_path / "out")) == {".asr-work/plan.json", ".asr-work/lock"}


def test_a_manifest_cannot_make_overwrite_delete_elsewhere(tmp_path: Path, write: Any) -> None:
    path = write()
    victim = tmp_path / "victim"
    victim.mkdir()
    (path / "data").rename(tmp_path / "moved")
    (path / "data").symlink_to(victim)
    (victim / "train-00000.parquet").write_text("mine")
    with pytest.raises(OutputExistsError, match="data: is a symbolic link"):
        OutputDirectory.create(path, PLAN, overwrite=True)
    assert (victim / "train-00000.parquet").read_text() == "mine"


@pytest.mark.parametrize("name", ["data/train-00000.parquet", "rejects/train.parquet", "README.md"])
def test_a_finished_output_that_changed_is_noticed(write: Any, name: str) -> None:
    path = write()
    content = (path / name).read_bytes()
    (path / name).unlink()
    with pytest.raises(CorruptFileError, match=rf"(?s)--overwrite.*{name}: missing"):
        OutputDirectory.create(path, WRITTEN)
    if name.endswith(".parquet"):
        (path / name).write_bytes(content[:-1] + b"2")
        with pytest.raises(CorruptFileError, match=rf"(?s)--overwrite.*{name}.*SHA-256"):
            OutputDirectory.create(path, WRITTEN, resume=True)


def test_a_part_is_resumed_as_that_part_alone(tmp_path: Path) -> None:
    def record(index: int) -> Part:
        return Part(num_shards=3, shard_index=index)

    OutputDirectory.create(tmp_path / "part", PLAN, part=record(1))
    assert OutputDirectory.create(tmp_path / "part", PLAN, part=record(1)).is_continued
    with pytest.raises(OutputExistsError, match="shard_index: was 1, now 2"):
        OutputDirectory.create(tmp_path / "part", PLAN, part=record(2))
    with pytest.raises(OutputExistsError, match=r"num_shards: was 3, now nothing"):
        OutputDirectory.create(tmp_path / "part", PLAN)
    assert OutputDirectory.create(tmp_path / "part", PLAN, overwrite=True).is_continued is False
    assert not (tmp_path / "part" / ".asr-work" / "part.json").exists()


def test_finish_writes_the_manifest_last_and_cleans_up(write: Any) -> None:
    seen: list[str] = []
    with observe(lambda point, path: seen.append(f"{point} {path.name}")):
        path = write()
    assert seen.index("committed README.md") < seen.index("created asr.json")
    assert seen[-1] == "cleaned out"
    assert {entry.name for entry in path.iterdir()} == {"README.md", "asr.json", "data", "scores", "rejects"}
    assert load_manifest(path).plan == WRITTEN


def test_resuming_a_finished_output_is_nothing_to_do(tmp_path: Path, write: Any) -> None:
    path = write()
    before = files_in(path)
    output = OutputDirectory.create(path, WRITTEN, resume=True)
    assert output.is_finished
    assert files_in(path) == before
    with pytest.raises(StorageError, match="is finished"):
        commit(output, 0)
    with pytest.raises(OutputExistsError, match="seed: was nothing, now 2"):
        OutputDirectory.create(path, OTHER, resume=True)


class Kill(BaseException):
    """Ends a run as a signal would: nothing of ours catches it."""


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_a_run_killed_anywhere_and_resumed_gives_the_same_bytes(write: Any, point: str) -> None:
    """Kills at the first, second, … time a point is reached, until a run gets through."""
    whole = files_in(write("whole"))
    for times in range(100):
        left = times

        def kill(reached: str, _: Path) -> None:
            nonlocal left
            left -= reached == point
            if left < 0:
                raise Kill

        try:
            with observe(kill):
                write(f"{point}-{times}")
        except Kill:
            path = write(f"{point}-{times}", resume=True)
            assert files_in(path) == whole, f"killed at {point}, time {times}"
            assert validate(path) == []
        else:
            assert times > 0
            return
    pytest.fail("no run got through")


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from asr_data.storage.output import OutputDirectory\n"
        "from asr_data.storage.plan import Plan\n"
        "from asr_data.errors import OutputExistsError\n"
        "try:\n"
        "    OutputDirectory.create(pathlib.Path(sys.argv[1]), Plan.model_validate_json(sys.argv[2]), overwrite=True)\n"
        "except OutputExistsError as error:\n"
        "    sys.exit(str(error))\n"
    )
    keep = OutputDirectory.create(tmp_path / "out", PLAN)
    arguments = [str(tmp_path / "out"), PLAN.model_dump_json()]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert f"another run is writing to it now (process {os.getpid()} on host {socket.gethostname()})" in done.stderr
    assert json.loads((keep.path / ".asr-work" / "plan.json").read_text())["scorer"]["settings"]["seed"] == 1


@pytest.mark.parametrize("flags", [{"resume": True}, {"overwrite": True}])
def test_an_overwrite_that_was_killed_is_completed(write: Any, flags: dict[str, bool]) -> None:
    path = write()

    def kill(point: str, file: Path) -> None:
        if point == "committed" and file.name == "discard.json":
            raise Kill

    with observe(kill), pytest.raises(Kill):
        OutputDirectory.create(path, PLAN, overwrite=True)
    OutputDirectory.create(path, PLAN, **flags)
    assert set(files_in(path)) == {".asr-work/plan.json", ".asr-work/lock"}


def test_many_shards_are_listed_in_order(tmp_path: Path) -> None:
    output = OutputDirectory.create(tmp_path / "out", PLAN)
    for index in (2, 0, 1):
        commit(output, index)
    files = [file.path for index in range(3) for file in shard_files(output, index)]
    assert files == ["data/train-00000.parquet", "data/train-00001.parquet", "data/train-00002.parquet"]


def shard_files(output: OutputDirectory, index: int) -> Any:
    shard = output.committed("score", index)
    assert shard is not None
    return shard.files


def test_storage_imports_nothing_heavy() -> None:
    program = (
        "import sys, asr_data.storage;print(sorted({'torch', 'transformers', 'datasets', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", ["data", ".asr-work", ".asr-work/shards", ".asr-work/plan.json"])
def test_a_link_that_leads_out_is_not_written_through(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).symlink_to(tmp_path / "elsewhere")
    if not name.startswith(".asr-work"):
        (tmp_path / "out" / ".asr-work").mkdir()
        (tmp_path / "out" / ".asr-work" / "plan.json").write_text("{}")
    with pytest.raises(OutputExistsError, match=f"{name}: is a symbolic link"):
        OutputDirectory.create(tmp_path / "out", OTHER, resume=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["README.md", "data/train-00000.parquet", "rejects/train.parquet"])
def test_resuming_a_finished_output_names_what_is_damaged(write: Any, name: str) -> None:
    path = write()
    (path / name).write_bytes(b"")
    with pytest.raises(CorruptFileError, match=rf"is finished, but.*--overwrite.*\n.*{name}"):
        write(resume=True)
    (path / name).unlink()
    with pytest.raises(CorruptFileError, match=rf"is finished, but.*--overwrite.*\n.*{name}.*missing"):
        write(resume=True)


def test_a_damaged_shard_is_named_and_done_again(write: Any, tmp_path: Path, caplog: Any) -> None:
    def stop(point: str, path: Path) -> None:
        if point == "described":
            raise KeyboardInterrupt

    with observe(stop), pytest.raises(KeyboardInterrupt):
        write()
    record = tmp_path / "out" / ".asr-work" / "shards" / "mask-00000.json"
    record.write_bytes(record.read_bytes().replace(b'"rows": 2', b'"rows": 3', 1))
    write(resume=True)
    assert "mask-00000.json: the file changed" in caplog.text
    assert "shard 0 of stage mask is computed again" in caplog.text
    assert validate(tmp_path / "out") == []
