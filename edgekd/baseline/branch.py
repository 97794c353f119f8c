"""Baselines on a git branch, by plumbing alone: the work tree, the index and HEAD stay as they are."""

import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekd.baseline.git import Git, GitError, fault, identity, repository
from edgekd.baseline.key import Key, key_of
from edgekd.baseline.store import Written
from edgekd.errors import BadInputError, EnvironmentFault

ATTEMPTS = 12
"""Every lost race means that another writer won one, so as many writers at once all get through."""

PAUSE_SECONDS = 0.1
RACES = ("but expected", "file exists", "reference already exists", "failed to update ref", "incorrect old value",
         "fetch first", "non-fast-forward")  # fmt: skip
"""What git says where another process was faster, locally and, in `push --porcelain`, at the remote."""

Tree = Mapping[str, str]
"""Path -> "mode hash" of every file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchStore:
    """A branch of the repository `git`. remote: where the newest state is fetched first; push: and where it goes to."""

    git: Git
    branch: str
    remote: str | None
    push: bool

    @property
    def place(self) -> str:
        return f"branch {self.branch}" + (f" of {self.remote}" if self.remote else "")

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def read(self, key: Key) -> bytes | None:
        """The document under `key`, None when there is none.

        Raises:
            EnvironmentFault: git or the remote does not answer.
        """
        try:
            entry = self._tree(self._newest()).get(key.path)
            return None if entry is None else self.git.run("cat-file", "blob", entry.split()[1])
        except GitError as err:
            raise fault(err) from err

    def listed(self) -> tuple[Key, ...]:
        """Every key on the branch; none when the branch is not there."""
        try:
            found = map(key_of, sorted(self._tree(self._newest())))
            return tuple(key for key in found if key is not None)
        except GitError as err:
            raise fault(err) from err

    def write(self, key: Key, content: bytes) -> Written:
        """Commit the document under `key` on top of the newest state, again where another process was faster.

        Raises:
            EnvironmentFault: the repository cannot be written, the remote does not take it, or others were faster
                every time.
        """
        try:
            blob = self.git.line("hash-object", "-w", "--no-filters", "--stdin", content=content)
            for attempt in range(ATTEMPTS):
                time.sleep(attempt * PAUSE_SECONDS * random.random())  # writers that collided shall not collide again
                try:
                    return self._commit(key, blob)
                except GitError as err:
                    if not any(sign in f"{err.message}\n{err.output}".lower() for sign in RACES):
                        raise
                    last = err
        except GitError as err:
            raise fault(err) from err
        raise EnvironmentFault(
            f"{self.place} was changed by others {ATTEMPTS} times while the baseline was being saved; run again "
            f"({last.message.splitlines()[-1]})"
        )

    def _commit(self, key: Key, blob: str) -> Written:
        """One try. The remote first: what others see is what counts, and a lost race leaves nothing behind here."""
        local = self._local()
        published = self._fetched() if self.remote else None
        parents = self._parents(local, published)
        before = self._merged(parents)
        entry = f"100644 {blob}"
        replaced = before.get(key.path) not in (None, entry)
        if before.get(key.path) == entry and len(parents) == 1:
            commit = parents[0]  # saved before
        else:
            commit = self._commit_tree({**before, key.path: entry}, parents, message=f"Baseline {key}")
        if self.push and commit != published:
            self.git.run("push", "--porcelain", "--quiet", "--no-verify", "--no-follow-tags", "--recurse-submodules=no",
                         "--no-signed", str(self.remote), f"{commit}:{self.ref}")  # fmt: skip
        if commit != local:
            self.git.run("update-ref", "-m", f"edgekd: baseline {key}", self.ref, commit, local or "")
        return Written(place=self.place, replaced=replaced, commit=commit, pushed=self.push)

    def _parents(self, local: str | None, published: str | None) -> list[str]:
        """The one tip that holds the other, or both, the published one first."""
        tips = [tip for tip in (published, local) if tip is not None]
        if len(tips) < 2 or local == published:
            return tips[:1]
        if self.git.succeeds("merge-base", "--is-ancestor", tips[0], tips[1]):
            return [tips[1]]
        return tips[:1] if self.git.succeeds("merge-base", "--is-ancestor", tips[1], tips[0]) else tips

    def _merged(self, parents: list[str]) -> Tree:
        """The files of the parents: of two, those of the first, and what only the second has changed."""
        if not parents:
            return {}
        first = dict(self._tree(parents[0]))
        if len(parents) == 1:
            return first
        second = self._tree(parents[1])
        try:
            base = self._tree(self.git.line("merge-base", *parents))
        except GitError:  # no common history: two who began the branch each on their own
            base = {}
        for path in base.keys() | second.keys():
            if first.get(path) == base.get(path) and path in second:
                first[path] = second[path]
        return first

    def _commit_tree(self, tree: Tree, parents: list[str], *, message: str) -> str:
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            lines = "".join(f"{entry}\t{path}\0" for path, entry in tree.items())
            self.git.run("read-tree", "--empty", more=index)
            self.git.run(
                "update-index", "-z", "--index-info", content=lines.encode("utf-8", "surrogateescape"), more=index
            )
            written = self.git.line("write-tree", "--missing-ok", more=index)  # a partial clone lacks blobs
        on = [part for parent in parents for part in ("-p", parent)]
        return self.git.line("commit-tree", "--no-gpg-sign", written, *on, "-m", message, more=identity(self.git))

    def _newest(self) -> str | None:
        """The tip to read: the remote's where one is named, else the local branch's."""
        return self._fetched() if self.remote else self._local()

    def _local(self) -> str | None:
        try:
            return self.git.line("rev-parse", "--verify", "--quiet", f"{self.ref}^{{commit}}")
        except GitError:
            return None

    def _fetched(self) -> str | None:
        """The tip of the remote's branch, its objects fetched; no reference of the user's is moved."""
        rows = map(str.split, self.git.line("ls-remote", str(self.remote), self.ref).splitlines())
        tip = next((commit for commit, ref in rows if ref == self.ref), None)  # its pattern matches ends of names
        if tip is None or self.git.succeeds("cat-file", "-e", f"{tip}^{{commit}}"):
            return tip
        self.git.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-prune",
                     "--recurse-submodules=no", "--refmap=", str(self.remote), self.ref)  # fmt: skip
        return tip

    def _tree(self, commit: str | None) -> Tree:
        if commit is None:
            return {}
        listed = self.git.run("ls-tree", "-r", "-z", "--full-tree", commit).decode("utf-8", "surrogateescape")
        rows = (row.split("\t", 1) for row in listed.split("\0") if row)
        return {path: f"{facts.split()[0]} {facts.split()[2]}" for facts, path in rows}


def open_branch(branch: str, *, repo: Path, remote: str | None = None, push: bool = False) -> BranchStore:
    """The store on a branch that need not be there yet.

    remote: a configured remote whose state counts; push: send the branch there, to "origin" if none is named.

    Raises:
        BadInputError: no repository, no possible name of a branch, an unknown remote, or a branch that is checked out.
        EnvironmentFault: git is missing or does not trust the repository.
    """
    git = repository(repo)
    remote = remote or ("origin" if push else None)
    if branch.startswith("-") or not git.succeeds("check-ref-format", f"refs/heads/{branch}"):
        raise BadInputError(f"--branch {branch!r} is no name of a branch; expected for example edgekd-baselines")
    if remote is not None and remote not in (known := git.line("remote").split()):
        raise BadInputError(f"--remote {remote!r} is unknown here; known: {', '.join(known) or 'none'}")
    _check_not_checked_out(git, branch)
    return BranchStore(git=git, branch=branch, remote=remote, push=push)


def _check_not_checked_out(git: Git, branch: str) -> None:
    """A commit under somebody's feet would make every file of it look changed."""
    place = ""
    for line in git.run("worktree", "list", "--porcelain").decode(errors="replace").splitlines():
        if line.startswith("worktree "):
            place = line.removeprefix("worktree ")
        if line == f"branch refs/heads/{branch}":
            raise BadInputError(
                f"branch {branch} is checked out in {place}; baselines need a branch of their own, for example "
                "--branch edgekd-baselines"
            )
