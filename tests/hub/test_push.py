"""Pushes to a server on loopback: what arrives, what is not sent, and what a person is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from asr_data.errors import ConfigError, CorruptFileError
from asr_data.hub import HubError, push
from tests.hub.conftest import MakeOutput, content
from tests.hub.server import HubServer

# huggingface_hub 2.4 hands files to httpx2 in a way that httpx2 wants to give up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "me/masks"
MESSAGE = "Annotated with asr-data 0.1.0, run 0123456789abcdef"
READING = {"info", "tree", "resolve"}


def pushed(server: HubServer, branch: str = "main") -> dict[str, bytes]:
    """The repository's files, without the one that the Hub puts there."""
    tree = server.repositories[REPO].tree(branch)
    del tree[".gitattributes"]
    return tree


def test_a_new_repository_gets_all_files_in_one_commit(server: HubServer, api: HfApi, directory: Path) -> None:
    report = push(directory, REPO, api=api)
    assert pushed(server) == content(directory)
    assert server.repositories[REPO].history() == [MESSAGE, "initial commit"]
    assert not server.repositories[REPO].private
    assert report.created
    assert set(report.uploaded) == content(directory).keys()
    assert report.uploaded_bytes == sum(map(len, content(directory).values()))
    assert report.commit == server.repositories[REPO].branches["main"]
    assert report.url == f"{server.url}/datasets/{REPO}/commit/{report.commit}"
    assert (report.deleted, report.unchanged) == ((), ())


def test_only_files_of_the_output_are_pushed(server: HubServer, api: HfApi, directory: Path) -> None:
    before = content(directory)
    for name in ("notes.txt", "data/.train-00000.parquet.partial", "data/other.parquet", ".env"):
        (directory / name).write_bytes(b"mine")
    push(directory, REPO, api=api)
    assert pushed(server) == before


def test_pushing_twice_sends_nothing_the_second_time(server: HubServer, api: HfApi, directory: Path) -> None:
    first = push(directory, REPO, api=api)
    server.steps.clear()
    second = push(directory, REPO, api=api)
    assert set(server.steps) == {"info", "tree"}
    assert server.repositories[REPO].history() == [MESSAGE, "initial commit"]
    assert (second.commit, second.uploaded, second.deleted) == (first.commit, (), ())
    assert set(second.unchanged) == content(directory).keys()
    assert not second.created


def test_a_shorter_output_replaces_a_longer_one_in_one_commit(
    server: HubServer, api: HfApi, make_output: MakeOutput
) -> None:
    push(make_output("long", rows=5), REPO, api=api)
    repository = server.repositories[REPO]
    kept = dict(repository.commits[repository.branches["main"]].tree)
    beside = dict.fromkeys(("LICENSE", "data/theirs.parquet", "figure.png"), kept["README.md"])
    repository.add("main", kept | beside, "their files")
    server.steps.clear()
    short = make_output("short", rows=3)
    report = push(short, REPO, api=api)
    assert pushed(server) == content(short) | {name: blob.content for name, blob in beside.items()}
    assert repository.history() == [MESSAGE, "their files", MESSAGE, "initial commit"]
    gone = [f"{config}/train-0000{row}.parquet" for config in ("data", "scores") for row in (2, 3)]
    assert list(report.deleted) == gone
    # The first rows are the same: of the Parquet files only the rejects, whose row is another one, are sent.
    assert report.uploaded == ("rejects/train.parquet", "README.md", "asr.json")
    assert server.steps.count("lfs-put") == 1


def test_unchanged_shards_are_not_sent_again(server: HubServer, api: HfApi, make_output: MakeOutput) -> None:
    push(make_output("a", run="a"), REPO, api=api)
    report = push(make_output("b", run="b"), REPO, api=api)
    shards = {name for name in report.uploaded if name.endswith(".parquet")}
    assert shards == {"data/train-00000.parquet", "data/train-00001.parquet"}
    assert report.deleted == ()


def test_private(server: HubServer, api: HfApi, directory: Path) -> None:
    push(directory, REPO, private=True, api=api)
    assert server.repositories[REPO].private
    assert push(directory, REPO, private=True, api=api).uploaded == ()


def test_private_does_not_go_to_a_public_repository(server: HubServer, api: HfApi, directory: Path) -> None:
    repository = server.create(REPO)
    for dry_run in (True, False):
        with pytest.raises(HubError, match="exists and is public"):
            push(directory, REPO, private=True, dry_run=dry_run, api=api)
    assert repository.history() == ["initial commit"]


def test_a_branch_is_made_and_main_stays(server: HubServer, api: HfApi, directory: Path) -> None:
    preview = push(directory, REPO, revision="v2", dry_run=True, api=api)
    push(directory, REPO, revision="v2", api=api)
    repository = server.repositories[REPO]
    assert pushed(server, "v2") == content(directory)
    assert repository.history("v2") == [MESSAGE, "initial commit"]
    assert repository.history("main") == ["initial commit"]
    again = push(directory, REPO, revision="v2", api=api)
    assert again.uploaded == ()
    assert set(preview.uploaded) == set(again.unchanged)


def test_the_branch_to_come_is_compared_as_main(server: HubServer, api: HfApi, directory: Path) -> None:
    push(directory, REPO, api=api)
    assert push(directory, REPO, revision="v2", dry_run=True, api=api).uploaded == ()
    assert "v2" not in server.repositories[REPO].branches


def test_a_pull_request(server: HubServer, api: HfApi, directory: Path) -> None:
    server.create(REPO)
    report = push(directory, REPO, create_pr=True, api=api)
    repository = server.repositories[REPO]
    assert repository.history("main") == ["initial commit"]
    assert pushed(server, "refs/pr/1") == content(directory)
    assert report.url == f"{server.url}/datasets/{REPO}/discussions/1"
    assert report.commit == repository.branches["refs/pr/1"]


def test_a_pull_request_without_changes_is_not_opened(server: HubServer, api: HfApi, directory: Path) -> None:
    push(directory, REPO, api=api)
    push(directory, REPO, create_pr=True, api=api)
    assert list(server.repositories[REPO].branches) == ["main"]


def test_the_repositorys_gitignore_leaves_nothing_out(server: HubServer, api: HfApi, directory: Path) -> None:
    push(directory, REPO, api=api)
    old = server.repositories[REPO]
    server.create(REPO, files={".gitignore": b"*.parquet\n", "asr.json": old.tree()["asr.json"]})
    push(directory, REPO, api=api)
    assert pushed(server).items() >= content(directory).items()


# --- dry runs ----------------------------------------------------------------------------------------------------


def test_a_dry_run_only_reads(server: HubServer, api: HfApi, make_output: MakeOutput) -> None:
    missing = push(make_output("one", rows=4), REPO, dry_run=True, api=api)
    assert server.repositories == {}
    assert (missing.created, missing.dry_run, missing.compared, missing.commit) == (True, True, True, None)
    assert len(missing.uploaded) == 9
    push(make_output("two", rows=4), REPO, api=api)
    history = server.repositories[REPO].history()
    server.steps.clear()
    report = push(make_output("three", rows=3), REPO, dry_run=True, api=api)
    assert set(server.steps) == READING
    assert server.repositories[REPO].history() == history
    assert report.uploaded == ("rejects/train.parquet", "README.md", "asr.json")
    assert report.deleted == ("data/train-00002.parquet", "scores/train-00002.parquet")
    assert report.commit is None


def test_a_dry_run_without_a_hub_takes_every_file_for_new(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = HfApi(endpoint="http://127.0.0.1:9", token=False)
    report = push(directory, REPO, dry_run=True, api=nobody)
    assert not report.compared
    assert set(report.uploaded) == content(directory).keys()
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    assert not push(directory, REPO, dry_run=True, api=nobody).compared


def test_a_dry_run_says_what_the_hub_refuses(server: HubServer, directory: Path) -> None:
    with pytest.raises(HubError, match="hf auth login"):
        push(directory, REPO, dry_run=True, api=HfApi(endpoint=server.url, token="hf_unknown"))  # noqa: S106


# --- refusals ----------------------------------------------------------------------------------------------------


def test_nothing_is_sent_of_a_damaged_directory(server: HubServer, api: HfApi, directory: Path) -> None:
    shard = directory / "data" / "train-00001.parquet"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CorruptFileError, match=r"train-00001.parquet: the file changed"):
        push(directory, REPO, api=api)
    shard.write_bytes(good)
    (directory / "README.md").unlink()
    with pytest.raises(CorruptFileError, match=r"README.md: missing"):
        push(directory, REPO, api=api)
    (directory / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(CorruptFileError, match="leads out of the directory"):
        push(directory, REPO, api=api)
    (directory / "asr.json").unlink()
    with pytest.raises(CorruptFileError, match="not a finished output"):
        push(directory, REPO, api=api)
    assert server.steps == []


@pytest.mark.parametrize("name", ["masks", "me/masks/more", "me /masks", "../masks", "me/", "datasets/me/masks", ""])
def test_names_that_are_no_repository(directory: Path, api: HfApi, server: HubServer, name: str) -> None:
    with pytest.raises(ConfigError, match="USER/NAME"):
        push(directory, name, api=api)
    assert server.steps == []


def test_arguments_that_do_not_fit(directory: Path, api: HfApi) -> None:
    with pytest.raises(ConfigError, match="always to main"):
        push(directory, REPO, revision="v2", create_pr=True, api=api)
    with pytest.raises(ConfigError, match="at least 1"):
        push(directory, REPO, tries=0, api=api)


def test_a_data_set_of_another_origin_is_not_overwritten(server: HubServer, api: HfApi, directory: Path) -> None:
    server.create(REPO, files={"README.md": b"# mine", "train.csv": b"a,b\n"})
    for dry_run in (True, False):
        with pytest.raises(HubError, match=r"contains train.csv and no asr.json"):
            push(directory, REPO, dry_run=dry_run, api=api)
    assert server.repositories[REPO].tree()["README.md"] == b"# mine"


def test_a_repository_as_the_website_makes_it_is_taken(server: HubServer, api: HfApi, directory: Path) -> None:
    server.create(REPO, files={"README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"MIT"})
    push(directory, REPO, api=api)
    assert pushed(server) == content(directory) | {"LICENSE": b"MIT"}


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"files": [{}]}', b'{"files": 3}'])
def test_a_former_manifest_that_cannot_be_read(server: HubServer, api: HfApi, directory: Path, manifest: bytes) -> None:
    server.create(REPO, files={"asr.json": manifest})
    with pytest.raises(HubError, match=r"asr\.json cannot be read"):
        push(directory, REPO, api=api)
    assert server.repositories[REPO].history() == ["before", "initial commit"]


def test_a_former_manifest_deletes_nothing_but_data(server: HubServer, api: HfApi, directory: Path) -> None:
    listed = b'{"files": [{"path": "LICENSE"}, {"path": "notes.parquet"}, {"path": "data/old.parquet"}]}'
    files = {"asr.json": listed, "LICENSE": b"MIT", "notes.parquet": b"theirs", "data/old.parquet": b"old"}
    server.create(REPO, files=files)
    assert push(directory, REPO, api=api).deleted == ("data/old.parquet",)
    assert pushed(server).keys() == content(directory).keys() | {"LICENSE", "notes.parquet"}


def test_who_is_not_logged_in_is_told_how(server: HubServer, directory: Path, waits: list[float]) -> None:
    for token in (False, "hf_unknown"):
        with pytest.raises(HubError, match=r"hf auth login.*HF_TOKEN") as raised:
            push(directory, REPO, api=HfApi(endpoint=server.url, token=token))
        assert "hf_unknown" not in str(raised.value)
    server.create(REPO)
    with pytest.raises(HubError, match="hf auth login"):
        push(directory, REPO, api=HfApi(endpoint=server.url, token=False))
    assert waits == []


def test_someone_elses_name(server: HubServer, api: HfApi, directory: Path, waits: list[float]) -> None:
    with pytest.raises(HubError, match=r"write to them.*under the namespace 'them'"):
        push(directory, "them/masks", api=api)
    server.create("them/masks")
    with pytest.raises(HubError, match=r"write to them.*don't have write access"):
        push(directory, "them/masks", api=api)
    assert server.repositories["them/masks"].history() == ["initial commit"]
    assert waits == []


def test_a_card_that_the_hub_refuses(server: HubServer, api: HfApi, make_output: MakeOutput) -> None:
    with pytest.raises(HubError, match=r'(?s)README.md.*"license" must be one of') as raised:
        push(make_output(license_id="my own"), REPO, api=api)
    assert "Gave up" not in str(raised.value)
    assert server.repositories[REPO].history() == ["initial commit"]


def test_offline_mode(directory: Path, api: HfApi, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        push(directory, REPO, api=api)
    assert waits == []
