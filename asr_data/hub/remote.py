"""The content of a repository at one commit, and how it differs from a directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from asr_data.hub.failures import HubError
from asr_data.hub.local import LocalFile
from asr_data.storage.manifest import MANIFEST_NAME

REPOSITORY_TYPE: Final = "dataset"

_OUR_FOLDERS: Final = ("data", "scores", "logprobs", "rejects")
_NOT_DATA: Final = (".gitattributes", "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt")
"""Files that the Hub or its users create before any data."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the repository.

    Attributes:
        oid: SHA-256 of the content if it is stored outside git (LFS), else git's SHA-1.
        size: of the content, in bytes.
    """

    oid: str
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit.

    Attributes:
        commit: the commit, 40 hexadecimal digits.
        private: whether the repository is private.
        files: path to file.
    """

    commit: str
    private: bool
    files: Mapping[str, RemoteFile]

    def holds(self, file: LocalFile) -> bool:
        """Return whether the repository has this file with this content."""
        return same_content(file, self.files.get(file.name))


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that make a repository equal to a directory.

    Attributes:
        upload: files that are new or differ.
        delete: files of an earlier push that this one does not have.
        unchanged: files that are the same.
    """

    upload: tuple[LocalFile, ...]
    delete: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.upload or self.delete)


def same_content(file: LocalFile, remote: RemoteFile | None) -> bool:
    """Return whether a file and a file of the repository have the same content, by size and hash."""
    if remote is None or remote.size != file.size:
        return False
    if len(remote.oid) == len(file.sha256):
        return remote.oid == file.sha256
    content = file.path.read_bytes()  # small, or the repository would store it outside git
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return remote.oid == blob.hexdigest()


def read_snapshot(api: HfApi, repo_id: str, revision: str | None) -> Snapshot:
    """The repository at the head of ``revision``."""
    info = api.dataset_info(repo_id, revision=revision)
    if info.sha is None:
        raise HubError(f"{repo_id}: the Hub reports no commit for {revision or 'main'}")
    return Snapshot(info.sha, bool(info.private), read_files(api, repo_id, info.sha))


def read_files(api: HfApi, repo_id: str, commit: str) -> dict[str, RemoteFile]:
    """Every file of the repository at one commit."""
    tree = api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type=REPOSITORY_TYPE)
    return {
        entry.path: RemoteFile(entry.blob_id if entry.lfs is None else entry.lfs.sha256, entry.size)
        for entry in tree
        if isinstance(entry, RepoFile)
    }


def find_changes(api: HfApi, repo_id: str, files: Collection[LocalFile], remote: Snapshot) -> Changes:
    """The files to upload and to delete.

    Raises:
        HubError: the repository contains files that ``asr-annotate push`` did not write.
    """
    unchanged = tuple(file.name for file in files if remote.holds(file))
    upload = tuple(file for file in files if file.name not in unchanged)
    names = {file.name for file in files}
    delete = () if MANIFEST_NAME in unchanged else tuple(sorted(_former_files(api, repo_id, remote) - names))
    return Changes(upload, delete, unchanged)


def conflicts(files: Collection[LocalFile], before: Snapshot, now: Snapshot) -> list[str]:
    """Files that others changed between two snapshots and that a push would overwrite or delete.

    A file that now has the content to push is no conflict, nor is a file beside the data, such as a licence.
    """
    ours = {file.name: file for file in files}
    changed = [name for name, file in now.files.items() if before.files.get(name) != file]
    changed += [name for name in before.files if name not in now.files and name in ours]
    return sorted(name for name in changed if (not now.holds(ours[name]) if name in ours else _is_ours(name)))


def _former_files(api: HfApi, repo_id: str, remote: Snapshot) -> set[str]:
    """Data files listed in the repository's manifest; no other file is ever deleted."""
    if MANIFEST_NAME not in remote.files:
        foreign = sorted(remote.files.keys() - set(_NOT_DATA))
        if foreign:
            listed = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
            raise HubError(
                f"{repo_id}: contains {listed} and no {MANIFEST_NAME}, so it was not written by asr-annotate push; "
                "push to another repository"
            )
        return set()
    path = api.hf_hub_download(repo_id, MANIFEST_NAME, revision=remote.commit, repo_type=REPOSITORY_TYPE)
    try:
        # Not load_manifest: an earlier push may have another version of the contract.
        listed_files = {str(record["path"]) for record in json.loads(Path(path).read_bytes())["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(
            f"{repo_id}: its {MANIFEST_NAME} cannot be read, so the files of an earlier push are unknown; delete "
            "it and those files there, and push again"
        ) from error
    return {name for name in listed_files & remote.files.keys() if _is_ours(name)}


def _is_ours(name: str) -> bool:
    return name.partition("/")[0] in _OUR_FOLDERS and name.endswith(".parquet")
