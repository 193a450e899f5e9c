"""Every step of a push fails in every way, once or for good; others commit meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi

from asr_data.hub import HubError, push
from asr_data.hub.failures import seconds_to_wait
from tests.hub.conftest import MakeOutput, content
from tests.hub.server import DROP, LOSE_ANSWER, TOKEN, Blob, Fault, HubServer

# huggingface_hub 2.4 hands files to httpx2 in a way that httpx2 wants to give up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "me/masks"
MESSAGE = "Annotated with asr-data 0.1.0, run 0123456789abcdef"
STEPS = (
    "info",
    "create",
    "branch",
    "tree",
    "preupload",
    "lfs-batch",
    "lfs-put",
    "lfs-verify",
    "validate-yaml",
    "commit",
)
KINDS = (409, 412, 429, 500, 503, DROP, LOSE_ANSWER)


def holds(server: HubServer, directory: Path, branch: str = "main") -> bool:
    return server.repositories[REPO].tree(branch).items() >= content(directory).items()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_one_failure_is_mended(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], step: str, kind: int | str
) -> None:
    server.faults.append(Fault(step, kind))
    report = push(directory, REPO, revision="v1", api=api)
    assert server.faults[0].times == 0
    assert server.repositories[REPO].history("v1") == [MESSAGE, "initial commit"]
    assert server.repositories[REPO].history("main") == ["initial commit"]
    assert holds(server, directory, "v1")
    assert set(report.uploaded) == content(directory).keys()
    assert report.commit == server.repositories[REPO].branches["v1"]
    assert report.url.endswith(f"/commit/{report.commit}")
    assert len(waits) == 1
    if step == "lfs-put":  # what had arrived is not sent again
        assert server.steps.count("lfs-put") == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_failures_without_end_leave_nothing_visible(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], step: str, kind: int | str
) -> None:
    server.faults.append(Fault(step, kind, times=10_000))
    lost = {("commit", LOSE_ANSWER), ("create", LOSE_ANSWER), ("branch", LOSE_ANSWER), ("lfs-put", LOSE_ANSWER)}
    if (step, kind) in lost or step == "lfs-verify":
        # Done all the same, as the next look shows: what has arrived is not uploaded, and so not verified, again.
        push(directory, REPO, revision="v1", tries=9, api=api)
        assert holds(server, directory, "v1")
        return
    with pytest.raises(HubError, match=r"Gave up after 3 tries. Nothing was committed|Gave up .* not known") as raised:
        push(directory, REPO, revision="v1", tries=3, api=api)
    assert ("not known" in str(raised.value)) == (
        (step == "commit" and kind in (500, 503, DROP))
        # huggingface_hub reads the error page as JSON before it looks at the status, and loses which request it was.
        or (step == "validate-yaml" and isinstance(kind, int))
    )
    assert REPO in str(raised.value)
    assert TOKEN not in str(raised.value)
    assert "Signature" not in str(raised.value)
    for repository in server.repositories.values():
        for branch in repository.branches:
            assert repository.history(branch) == ["initial commit"]
    assert len(server.steps) < 200  # it ends: huggingface_hub tries each PUT six times itself


def test_after_all_tries_failed_the_next_push_goes_on(
    server: HubServer, api: HfApi, directory: Path, waits: list[float]
) -> None:
    server.faults.append(Fault("commit", 503, times=2))
    with pytest.raises(HubError, match=r"commit/main: status 503\.\nGave up after 2 tries"):
        push(directory, REPO, tries=2, api=api)
    puts = server.steps.count("lfs-put")
    push(directory, REPO, api=api)
    assert server.steps.count("lfs-put") == puts == 5
    assert server.repositories[REPO].history() == [MESSAGE, "initial commit"]


def test_waits_double_up_to_half_a_minute(server: HubServer, api: HfApi, directory: Path, waits: list[float]) -> None:
    server.faults.append(Fault("commit", 503, times=7))
    push(directory, REPO, tries=8, api=api)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7', "RateLimit-Policy": '"fixed window";q=9;w=300'}]
)
def test_the_hub_is_given_the_time_it_asks_for(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], headers: dict[str, str]
) -> None:
    server.faults.append(Fault("commit", 429, headers=headers))
    push(directory, REPO, api=api)
    assert waits == [7]


def test_nobody_waits_for_an_hour(server: HubServer, api: HfApi, directory: Path, waits: list[float]) -> None:
    server.faults.append(Fault("commit", 429, headers={"Retry-After": "3600"}))
    with pytest.raises(HubError, match="status 429"):
        push(directory, REPO, api=api)
    assert waits == []


def test_what_is_no_failure_of_the_hub_is_not_tried_again() -> None:
    assert seconds_to_wait(KeyError("oid"), 1) is None
    assert seconds_to_wait(ValueError("no"), 1) is None
    assert seconds_to_wait(httpx2.ConnectError("refused"), 1) == 1


def test_a_hub_that_is_not_there(directory: Path, waits: list[float]) -> None:
    with pytest.raises(HubError, match=r"GET http://127.0.0.1:9/api/datasets/me/masks: .*\nGave up after 6 tries"):
        push(directory, REPO, api=HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
    assert waits == [1, 2, 4, 8, 16]


def test_the_token_is_logged_nowhere(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.faults += [Fault(step, 503, times=2) for step in STEPS]
    push(directory, REPO, tries=20, api=api)
    assert caplog.text
    assert TOKEN not in caplog.text


# --- others commit meanwhile -------------------------------------------------------------------------------------


def once_at(server: HubServer, step: str, action: Callable[[], object]) -> None:
    """Does something the first time that ``step`` is asked for, before it is done."""
    left = [action]

    def before(asked: str) -> None:
        if asked == step and left:
            left.pop()()

    server.before = before


def commit_of_another(server: HubServer, name: str, text: bytes) -> None:
    repository = server.repositories[REPO]
    tree = dict(repository.commits[repository.branches["main"]].tree)
    repository.add("main", tree | {name: Blob(text, lfs=name.endswith(".parquet"))}, "theirs")


def test_a_commit_beside_the_data_is_built_upon(
    server: HubServer, api: HfApi, directory: Path, waits: list[float]
) -> None:
    once_at(server, "commit", lambda: commit_of_another(server, "LICENSE", b"MIT"))
    push(directory, REPO, api=api)
    repository = server.repositories[REPO]
    assert repository.history() == [MESSAGE, "theirs", "initial commit"]
    assert repository.tree()["LICENSE"] == b"MIT"
    assert holds(server, directory)
    assert server.steps.count("lfs-put") == 5  # each file once


@pytest.mark.parametrize("name", ["README.md", "asr.json", "data/train-00000.parquet", "data/train-00009.parquet"])
def test_a_commit_to_the_same_files_is_not_overwritten(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], name: str
) -> None:
    once_at(server, "commit", lambda: commit_of_another(server, name, b"theirs"))
    with pytest.raises(HubError, match=f"someone else changed {name} during this push") as raised:
        push(directory, REPO, api=api)
    repository = server.repositories[REPO]
    assert repository.history() == ["theirs", "initial commit"]
    assert repository.tree()[name] == b"theirs"
    assert repository.branches["main"][:12] in str(raised.value)


def test_a_file_of_ours_that_another_deletes(
    server: HubServer, api: HfApi, make_output: MakeOutput, waits: list[float]
) -> None:
    push(make_output("old", run="old"), REPO, api=api)
    repository = server.repositories[REPO]

    def delete() -> None:
        tree = dict(repository.commits[repository.branches["main"]].tree)
        del tree["scores/train-00001.parquet"]  # which the push found unchanged, and so did not send
        repository.add("main", tree, "theirs")

    once_at(server, "commit", delete)
    with pytest.raises(HubError, match=r"someone else changed scores/train-00001\.parquet"):
        push(make_output("new", run="new"), REPO, api=api)
    assert repository.history()[0] == "theirs"


def test_two_pushes_of_the_same_make_one_commit(
    server: HubServer, api: HfApi, directory: Path, waits: list[float]
) -> None:
    once_at(server, "commit", lambda: push(directory, REPO, api=HfApi(endpoint=server.url, token=TOKEN)))
    report = push(directory, REPO, api=api)
    assert server.repositories[REPO].history() == [MESSAGE, "initial commit"]
    assert report.uploaded == ()
    assert set(report.unchanged) == content(directory).keys()


# --- pull requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [409, 412, 429])
def test_a_pull_request_that_was_refused_is_tried_again(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], kind: int
) -> None:
    server.faults.append(Fault("commit", kind))
    push(directory, REPO, create_pr=True, api=api)
    assert list(server.repositories[REPO].branches) == ["main", "refs/pr/1"]
    assert holds(server, directory, "refs/pr/1")


@pytest.mark.parametrize("kind", [500, DROP, LOSE_ANSWER])
def test_a_pull_request_that_may_be_open_is_not_opened_twice(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], kind: int | str
) -> None:
    server.faults.append(Fault("commit", kind))
    with pytest.raises(HubError, match=r"not known whether the pull request was opened; check .*/discussions"):
        push(directory, REPO, create_pr=True, api=api)
    assert server.steps.count("commit") == 1


def test_a_pull_request_that_cannot_be_read_back(
    server: HubServer, api: HfApi, directory: Path, waits: list[float]
) -> None:
    once_at(server, "commit", lambda: server.faults.append(Fault("tree", 503, times=8)))
    report = push(directory, REPO, create_pr=True, api=api)  # 6 tries of the library, then a second one of ours
    assert report.url.endswith("/discussions/1")
    assert list(server.repositories[REPO].branches) == ["main", "refs/pr/1"]


def test_a_commit_that_cannot_be_read_back(server: HubServer, api: HfApi, directory: Path, waits: list[float]) -> None:
    once_at(server, "commit", lambda: server.faults.append(Fault("tree", 503, times=10_000)))
    with pytest.raises(HubError, match=r"The commit was made \(.*/commit/[0-9a-f]{40}\) but could not be verified"):
        push(directory, REPO, tries=2, api=api)
    assert holds(server, directory)


def test_a_hub_that_commits_something_else(
    server: HubServer, api: HfApi, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Blob, "git_oid", property(lambda blob: "1" * 40))
    with pytest.raises(HubError, match=r"in commit [0-9a-f]{40}, README.md, asr.json differs from what was sent"):
        push(directory, REPO, api=api)
