"""A Hub that repeats the token, and tokens in its address: shown nowhere."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from asr_data.hub import HubError, push
from tests.hub.server import TOKEN, Fault, HubServer

# huggingface_hub 2.4 hands files to httpx2 in a way that httpx2 wants to give up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "me/masks"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("step", ["info", "create", "tree", "preupload", "lfs-batch", "commit"])
def test_a_token_that_is_repeated_is_masked(
    server: HubServer, api: HfApi, directory: Path, waits: list[float], step: str, status: int
) -> None:
    headers = {"X-Error-Message": f"Authorization: Bearer {TOKEN} is not good enough"}
    server.faults.append(Fault(step, status, times=10_000, headers=headers))
    with pytest.raises(HubError) as caught:
        push(directory, REPO, tries=2, api=api)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert "Signature=" not in shown
    if not (step == "info" and status in (401, 404)):  # then there is no repository, and it is made
        assert "***" in shown


def test_a_token_of_the_environment_is_masked(
    server: HubServer, directory: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.faults.append(Fault("commit", 403, times=9, headers={"X-Error-Message": f"{TOKEN} may not write"}))
    with pytest.raises(HubError, match=r"The Hub's message: \*\*\* may not write"):
        push(directory, REPO, api=HfApi(endpoint=server.url))


def test_a_password_in_the_address_is_neither_printed_nor_in_errors(
    server: HubServer, directory: Path, waits: list[float]
) -> None:
    nobody = HfApi(endpoint="http://user:addresspassword@127.0.0.1:9", token=TOKEN)
    assert push(directory, REPO, dry_run=True, api=nobody).url == f"http://127.0.0.1:9/datasets/{REPO}"
    api = HfApi(endpoint=server.url.replace("http://", "http://user:addresspassword@"), token=TOKEN)
    server.faults.append(Fault("info", 500, times=9, headers={"X-Error-Message": "addresspassword"}))
    with pytest.raises(HubError, match=r"\*\*\*") as caught:
        push(directory, REPO, tries=1, api=api)
    assert "addresspassword" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("token", ["hf_DummyTok\u00e9n", "hf_Dummy\nToken"])
def test_a_token_that_no_header_can_hold(token: str, server: HubServer, directory: Path, waits: list[float]) -> None:
    with pytest.raises(HubError, match="token contains characters that an HTTP header cannot hold") as caught:
        push(directory, REPO, api=HfApi(endpoint=server.url, token=token))
    assert "Dummy" not in "".join(traceback.format_exception(caught.value))
    assert server.steps == []


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:port", "http://[", "ftp://127.0.0.1", "127.0.0.1:9"])
def test_an_address_that_is_none(endpoint: str, directory: Path, waits: list[float]) -> None:
    with pytest.raises(HubError, match="HF_ENDPOINT: not an address such as https://HOST"):
        push(directory, REPO, api=HfApi(endpoint=endpoint, token=TOKEN))
    assert waits == []
