"""git's plumbing in a child process: no hook of the user's runs, nothing asks a question, no message is translated."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import BadInputError, EnvironmentFault

TIMEOUT_SECONDS = 120.0
"""For one command, a fetch or a push among them."""

SETTINGS = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.splitIndex=false", "gc.auto=0")
"""Hooks and the file-system monitor are programs of the user's; a split index leaves a file in the repository."""

LOCAL_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
)
"""What a hook that started us would have set; the repository is the one that was named (githooks(5))."""


class GitError(Exception):
    """A command of git's failed. message: what it said; output: what it wrote to stdout."""

    def __init__(self, command: str, message: str, output: str) -> None:
        super().__init__(f"git {command}: {message}")
        self.message = message
        self.output = output


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """One repository: a work tree or a folder below it, or a bare one."""

    folder: Path

    def run(self, *arguments: str, content: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        """What git writes to stdout. content: its stdin; more: further variables of its environment.

        Raises:
            GitError: it ended with another code than 0.
            EnvironmentFault: git is not installed, or gives no answer within 120 s.
        """
        kept = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
        quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        settings = [part for setting in SETTINGS for part in ("-c", setting)]
        try:
            done = subprocess.run(
                ["git", *settings, "-C", str(self.folder), *arguments],
                input=content,
                env=kept | quiet | dict(more or {}),
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError as err:
            raise EnvironmentFault(
                "git is not installed or not on the PATH; install it, or keep baselines in a folder with --store"
            ) from err
        except subprocess.TimeoutExpired as err:
            raise EnvironmentFault(
                f"git {arguments[0]} gave no answer within {TIMEOUT_SECONDS:.0f} s; check the remote and its access"
            ) from err
        if done.returncode != 0:
            message = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            raise GitError(arguments[0], message, done.stdout.decode(errors="replace"))
        return done.stdout

    def line(self, *arguments: str, content: bytes = b"", more: Mapping[str, str] | None = None) -> str:
        """The one line that git answers."""
        return self.run(*arguments, content=content, more=more).decode().strip()

    def succeeds(self, *arguments: str) -> bool:
        """Whether git answers with 0."""
        try:
            self.run(*arguments)
        except GitError:
            return False
        return True


def repository(folder: Path) -> Git:
    """The repository at `folder` or above it.

    Raises:
        BadInputError: there is none.
        EnvironmentFault: git is missing or does not trust the repository.
    """
    if not folder.is_dir():
        raise BadInputError(f"--repo {folder}: no such folder; expected a git repository")
    git = Git(folder=folder)
    try:
        git.run("rev-parse", "--git-dir")
    except GitError as err:
        if "not a git repository" in err.message:
            raise BadInputError(
                f"{folder} is not in a git repository; give one with --repo, or keep baselines in a folder with --store"
            ) from err
        raise fault(err) from err
    return git


def fault(err: GitError) -> EnvironmentFault:
    """git's refusal as the machine's fault, in git's words."""
    return EnvironmentFault(f"{err}; expected git to take it: mend that and run again")


def identity(git: Git) -> dict[str, str]:
    """Variables that name author and committer, empty where git knows them itself."""
    variables: dict[str, str] = {}
    for who in ("AUTHOR", "COMMITTER"):
        if not git.succeeds("var", f"GIT_{who}_IDENT"):
            variables |= {f"GIT_{who}_NAME": "edgekd", f"GIT_{who}_EMAIL": "edgekd@localhost"}
    return variables
