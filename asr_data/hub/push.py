"""A finished output directory becomes a dataset repository on the Hub, in one commit.

The whole of a push is repeated when a step of it fails: look at the repository, compare, upload, commit. Every step
finds what the step before left, so nothing is sent twice: files that the Hub has are not uploaded again, and a commit
names the head it was made for as its parent, so that the Hub refuses it (412) if that is no longer the head, be it
through someone else's commit or through our own, whose answer was lost.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from asr_data.errors import ConfigError
from asr_data.hub.failures import HubError, explained, is_transient, is_unreachable, may_have_landed, seconds_to_wait
from asr_data.hub.local import LocalFile, local_files
from asr_data.hub.remote import (
    REPOSITORY_TYPE,
    Plan,
    Snapshot,
    conflicts,
    make_plan,
    read_files,
    read_snapshot,
    same_content,
)

TRIES: Final = 6
"""The waits between six tries add up to 31 s, unless the Hub asks for other ones."""


_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did, or with ``dry_run`` would do.

    Attributes:
        repo_id: the repository.
        url: of the commit, of the pull request, or of the repository where nothing was committed.
        commit: the commit that holds the directory; None for a dry run that would make one.
        uploaded: paths written by the commit.
        uploaded_bytes: their sizes added up.
        deleted: paths of a former push that the commit removed.
        unchanged: paths that were there already.
        created: whether the repository did not exist before.
        compared: False for a dry run that could not reach the Hub, and so takes every file for new.
        dry_run: whether nothing was sent.
    """

    repo_id: str
    url: str
    commit: str | None
    uploaded: tuple[str, ...]
    uploaded_bytes: int
    deleted: tuple[str, ...]
    unchanged: tuple[str, ...]
    created: bool
    compared: bool = True
    dry_run: bool = False


def push(
    directory: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    tries: int = TRIES,
    api: HfApi | None = None,
) -> PushReport:
    """Makes a dataset repository hold exactly this output directory, in one commit.

    Files are compared by hash with the repository's; equal ones are not sent, and if all are equal there is no commit.
    Data files that a former push wrote and that this directory does not have are deleted by the same commit.

    Args:
        directory: a finished output of ``asr-annotate``; checked against its manifest first.
        repo_id: ``USER/NAME``; created if it is not there.
        private: create it for its owners only; refused where a public one is there.
        revision: branch to commit to, default ``main``; created from ``main`` if it is not there.
        create_pr: open a pull request instead of committing to ``main``.
        dry_run: only read, and report what would be done.
        tries: how often to try, at most, while the Hub is busy or the connection fails.
        api: the client to use; default one with the endpoint of ``HF_ENDPOINT`` and the token logged in with.

    Raises:
        ConfigError: the arguments do not fit together, or ``repo_id`` is not ``USER/NAME``.
        CorruptFileError: the directory is not finished, or a file is not what was written.
        HubError: the Hub could not be reached or refused; the repository was changed by someone else meanwhile, or
            holds what was not pushed by this package. Nothing of the directory is visible then.
    """
    _check_arguments(repo_id, revision, create_pr, tries)
    manifest, files = local_files(Path(directory))
    message = f"Annotated with asr-data {manifest.asr_data_version}, run {manifest.run_id}"
    task = _Push(api or HfApi(), repo_id, files, message, revision, private=private, create_pr=create_pr)
    tried = 0
    while True:
        tried += 1
        try:
            return task.preview() if dry_run else task.attempt()
        except HubError:
            raise
        except Exception as error:
            wait = seconds_to_wait(error, tried)
            if dry_run or tried == tries or wait is None:
                raise task.failure(error, tried) from error
            time.sleep(wait)


def _check_arguments(repo_id: str, revision: str | None, create_pr: bool, tries: int) -> None:
    if _REPOSITORY.fullmatch(repo_id) is None:
        raise ConfigError(f"{repo_id!r} is not a repository name USER/NAME of letters, digits and . _ -")
    if create_pr and revision not in (None, "main"):
        raise ConfigError(f"a pull request is always to main; leave out the revision {revision!r}")
    if tries < 1:
        raise ConfigError(f"tries is {tries}; at least 1 is needed")


class _Push:
    """One push, over all its tries."""

    def __init__(
        self,
        api: HfApi,
        repo_id: str,
        files: tuple[LocalFile, ...],
        message: str,
        revision: str | None,
        *,
        private: bool,
        create_pr: bool,
    ) -> None:
        self._api = api
        self._url = f"{api.endpoint}/datasets/{repo_id}"
        self._repo_id = repo_id
        self._files = files
        self._message = message
        self._revision = revision
        self._private = private
        self._create_pr = create_pr
        self._additions: dict[str, CommitOperationAdd] = {}
        self._first: Snapshot | None = None
        self._unsure: Plan | None = None
        self._done: tuple[Plan, CommitInfo] | None = None
        self._created = False

    def attempt(self) -> PushReport:
        """Does what is left to do."""
        if self._done is None:
            remote = self._open()
            self._first = self._first or remote
            self._refuse_public(remote)
            self._refuse_changed(self._first, remote)
            plan = make_plan(self._api, self._repo_id, self._files, remote)
            if not plan:
                # Either all was there from the start, or a commit whose answer was lost has arrived.
                url = self._url if self._unsure is None else f"{self._url}/commit/{remote.commit}"
                return self._report(self._unsure or plan, remote.commit, url)
            self._done = plan, self._commit(plan, remote)
        plan, commit = self._done
        self._check(commit, plan)
        return self._report(plan, commit.oid, commit.pr_url or commit.commit_url)

    def preview(self) -> PushReport:
        """What :meth:`attempt` would do; only reads."""
        try:
            remote = read_snapshot(self._api, self._repo_id, self._revision)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            self._created = True
            return replace(self._report(Plan(self._files), None, self._url), dry_run=True)
        except RevisionNotFoundError:  # the branch would be made from main
            remote = read_snapshot(self._api, self._repo_id, None)
        except Exception as error:
            if not is_unreachable(error):
                raise
            return replace(self._report(Plan(self._files), None, self._url), dry_run=True, compared=False)
        self._refuse_public(remote)
        plan = make_plan(self._api, self._repo_id, self._files, remote)
        return replace(self._report(plan, None if plan else remote.commit, self._url), dry_run=True)

    def failure(self, error: Exception, tried: int) -> Exception:
        """What to raise after the last try."""
        known = explained(error, self._repo_id)
        if known is None or not is_transient(error):
            return known or error
        if self._done is not None:
            so_far = f"The commit was made ({self._done[1].commit_url}), but could not be read back."
        elif self._unsure is not None:
            so_far = "It is not known whether the commit arrived: push again, which sends only what is missing."
        else:
            so_far = "Nothing was committed: push again, and what is uploaded already is not sent twice."
        return HubError(f"{known}\nGave up after {tried} {'try' if tried == 1 else 'tries'}. {so_far}")

    def _open(self) -> Snapshot:
        """The repository as it is now; it and the branch are made where they are not there."""
        try:
            return read_snapshot(self._api, self._repo_id, self._revision)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            # Not exist_ok: where it exists all the same, 409 means to look again.
            self._api.create_repo(self._repo_id, repo_type=REPOSITORY_TYPE, private=self._private or None)
            self._created = True
        except RevisionNotFoundError:
            self._api.create_branch(self._repo_id, branch=str(self._revision), repo_type=REPOSITORY_TYPE)
        return self._open()

    def _refuse_public(self, remote: Snapshot) -> None:
        if self._private and not remote.private:
            raise HubError(
                f"{self._repo_id}: exists already and is public; make it private in its settings, or push elsewhere"
            )

    def _refuse_changed(self, before: Snapshot, now: Snapshot) -> None:
        """A retry goes on over commits of others, but not where they touched what this push writes or deletes."""
        touched = conflicts(self._files, before, now)
        if touched:
            raise HubError(
                f"{self._repo_id}: someone else changed {', '.join(touched[:3])} while this push was under way (commit "
                f"{now.commit[:12]}). Nothing of theirs was overwritten: look at it, and push again to replace it."
            )

    def _commit(self, plan: Plan, remote: Snapshot) -> CommitInfo:
        additions = [self._addition(file) for file in plan.upload]
        self._api.preupload_lfs_files(
            self._repo_id,
            additions,
            repo_type=REPOSITORY_TYPE,
            revision=self._revision,
            create_pr=self._create_pr,
            free_memory=False,
            gitignore_content="",  # the repository's own could leave files out without a word
        )
        try:
            return self._api.create_commit(
                self._repo_id,
                [*additions, *(CommitOperationDelete(name, is_folder=False) for name in plan.delete)],
                commit_message=self._message,
                repo_type=REPOSITORY_TYPE,
                revision=self._revision,
                create_pr=self._create_pr,
                parent_commit=remote.commit,
            )
        except Exception as error:
            if not may_have_landed(error):
                raise
            self._unsure = plan
            if self._create_pr:  # a retry could open a second one
                raise HubError(
                    f"{explained(error, self._repo_id) or error}\nIt is not known whether the pull request was opened: "
                    f"look at {self._url}/discussions before pushing again."
                ) from error
            raise

    def _addition(self, file: LocalFile) -> CommitOperationAdd:
        """Kept between tries: it knows whether it has been uploaded."""
        if file.name not in self._additions:
            addition = CommitOperationAdd(file.name, file.path)
            addition.upload_info.sha256 = bytes.fromhex(file.sha256)  # spares a second reading
            self._additions[file.name] = addition
        return self._additions[file.name]

    def _check(self, done: CommitInfo, plan: Plan) -> None:
        """The commit holds what it should, whatever the Hub made of the request."""
        found = read_files(self._api, self._repo_id, done.oid)
        wrong = [file.name for file in self._files if not same_content(file, found.get(file.name))]
        wrong += [name for name in plan.delete if name in found]
        if wrong:
            raise HubError(f"{self._repo_id}: commit {done.oid} has another {', '.join(wrong[:3])} than was sent")

    def _report(self, plan: Plan, commit: str | None, url: str) -> PushReport:
        return PushReport(
            repo_id=self._repo_id,
            url=url,
            commit=commit,
            uploaded=tuple(file.name for file in plan.upload),
            uploaded_bytes=sum(file.size for file in plan.upload),
            deleted=plan.delete,
            unchanged=plan.unchanged,
            created=self._created,
        )
