"""Baselines on a branch of real repositories: plain, bare, shallow, detached; races of real processes; pushes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.baseline import BranchStore, Key, open_branch
from edgekd.errors import BadInputError, EnvironmentFault

BRANCH = "edgekd-baselines"
KEY = Key(name="resnet8", target="x86-1t", metric="time")
OTHER = Key(name="cnn", target="x86-1t", metric="time")
SAVE = """
import sys
from pathlib import Path
from edgekd.baseline import Key, open_branch
repo, name, push = sys.argv[1:]
store = open_branch("edgekd-baselines", repo=Path(repo), push=push == "push")
store.write(Key(name=name, target="x86-1t", metric="time"), name.encode())
"""


@pytest.fixture(autouse=True)
def no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests, and so no name and no address."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nuseConfigOnly = true\n[init]\ndefaultBranch = main\n")
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    """A work tree with a commit, a staged, a changed and an untracked file."""
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.org")
    (folder / "code.py").write_text("1\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def dirty(folder: Path) -> Path:
    (folder / "code.py").write_text("2\n")
    (folder / "staged.py").write_text("3\n")
    git(folder, "add", "staged.py")
    (folder / "untracked.py").write_text("4\n")
    return folder


def bare(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet", "--bare")
    return folder


def clone(source: Path, to: Path, *options: str) -> Path:
    git(source.parent, "clone", "--quiet", *options, f"file://{source}", str(to))
    return to


def state(folder: Path) -> tuple[str | bytes, ...]:
    """All that a person sees of the repository, apart from the branch of baselines."""
    refs = [line for line in git(folder, "for-each-ref").splitlines() if BRANCH not in line]
    names = [str(path.relative_to(folder)) for path in sorted(folder.glob("*"))]
    head, index = (folder / ".git" / "HEAD").read_bytes(), (folder / ".git" / "index").read_bytes()
    return git(folder, "status", "--porcelain=v2", "--branch"), str(refs), str(names), head, index


def store(repo: Path, *, remote: str | None = None, push: bool = False) -> BranchStore:
    return open_branch(BRANCH, repo=repo, remote=remote, push=push)


def test_a_saved_document_is_read_back_byte_for_byte_and_the_work_tree_index_and_head_stay(tmp_path: Path) -> None:
    repo = dirty(repository(tmp_path / "repo"))
    before = state(repo)
    content = b'{"a": 1}\r\n\x00\xff'
    written = store(repo).write(KEY, content)
    assert (store(repo).read(KEY), store(repo).read(OTHER), store(repo).listed()) == (content, None, (KEY,))
    assert state(repo) == before and not written.replaced
    assert git(repo, "log", "--format=%an <%ae> %s", BRANCH) == "Ada <ada@example.org> Baseline resnet8 on x86-1t, time"
    assert git(repo, "ls-tree", "-r", "--name-only", BRANCH) == "resnet8/x86-1t/time.json"  # an orphan: no code.py


def test_saving_again_replaces_and_keeps_the_history_and_the_same_again_makes_no_commit(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    store(repo).write(KEY, b"old")
    store(repo).write(OTHER, b"other")
    assert store(repo).write(KEY, b"new").replaced
    assert not store(repo).write(KEY, b"new").replaced
    assert (store(repo).read(KEY), store(repo).read(OTHER)) == (b"new", b"other")
    assert git(repo, "rev-list", "--count", BRANCH) == "3"
    assert git(repo, "show", f"{BRANCH}~2:{KEY.path}") == "old"


def test_a_folder_below_the_root_a_bare_and_an_empty_repository_do(tmp_path: Path) -> None:
    deep = repository(tmp_path / "repo") / "a" / "b"
    deep.mkdir(parents=True)
    for folder in (deep, bare(tmp_path / "bare.git")):
        store(folder).write(KEY, b"1")
        store(folder).write(OTHER, b"2")
        assert (store(folder).read(KEY), store(folder).listed()) == (b"1", (OTHER, KEY))
    assert store(bare(tmp_path / "empty.git")).listed() == ()


def test_a_detached_head_in_a_shallow_clone_does(tmp_path: Path) -> None:
    source = repository(tmp_path / "source")
    git(source, "commit", "--quiet", "--allow-empty", "-m", "second")
    store(source).write(KEY, b"1")
    store(source).write(KEY, b"2")
    shallow = clone(source, tmp_path / "shallow", "--depth=1", "--branch=main")
    git(shallow, "checkout", "--quiet", "--detach")
    before = state(shallow)
    assert store(shallow).read(KEY) is None  # as a runner in CI finds it
    assert store(shallow, remote="origin").read(KEY) == b"2"
    assert store(shallow, push=True).write(OTHER, b"3").pushed
    assert state(shallow) == before
    assert git(shallow, "rev-parse", "--is-shallow-repository") == "true"
    assert (store(source).read(KEY), store(source).read(OTHER)) == (b"2", b"3")
    assert git(source, "rev-list", "--count", BRANCH) == "3"


def test_nobody_s_name_becomes_edgekd_s_and_somebody_s_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = bare(tmp_path / "bare.git")
    store(repo).write(KEY, b"1")
    assert git(repo, "log", "--format=%an <%ae> %cn", BRANCH) == "edgekd <edgekd@localhost> edgekd"
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "grace@example.org")
    store(repo).write(KEY, b"2")
    assert git(repo, "log", "-1", "--format=%an <%ae> %cn", BRANCH) == "Grace <grace@example.org> edgekd"


def test_no_hook_and_no_program_of_the_user_s_runs(tmp_path: Path) -> None:
    remote, repo = bare(tmp_path / "remote.git"), repository(tmp_path / "repo")
    git(repo, "remote", "add", "origin", str(remote))
    trace = tmp_path / "ran"
    for name in ("reference-transaction", "pre-push", "post-index-change", "pre-commit", "post-commit", "monitor"):
        hook = repo / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {name} >> {trace}\n")
        hook.chmod(0o755)
    for setting in (("core.fsmonitor", str(hook)), ("commit.gpgSign", "true"), ("push.gpgSign", "true")):
        git(repo, "config", *setting)
    assert store(repo, push=True).write(KEY, b"1").pushed
    assert store(repo, remote="origin").read(KEY) == b"1"
    assert not trace.exists(), trace.read_text()


def test_a_push_takes_the_one_branch_along_and_nothing_else(tmp_path: Path) -> None:
    remote, repo = bare(tmp_path / "remote.git"), repository(tmp_path / "repo")
    git(repo, "remote", "add", "origin", str(remote))
    git(repo, "tag", "v1")
    git(repo, "config", "push.followTags", "true")
    store(repo, push=True).write(KEY, b"1")
    assert git(remote, "for-each-ref", "--format=%(refname)") == f"refs/heads/{BRANCH}"


def test_who_is_behind_the_remote_writes_on_top_of_it(tmp_path: Path) -> None:
    remote = bare(tmp_path / "remote.git")
    first, second = clone(remote, tmp_path / "first"), clone(remote, tmp_path / "second")
    store(first, push=True).write(KEY, b"1")
    store(second, push=True).write(OTHER, b"2")
    store(first, push=True).write(KEY, b"3")  # its own branch is two behind by now
    assert (store(remote).read(KEY), store(remote).read(OTHER)) == (b"3", b"2")
    assert git(remote, "rev-list", "--count", "--merges", BRANCH) == "0"
    assert git(first, "rev-parse", BRANCH) == git(remote, "rev-parse", BRANCH)


def test_two_branches_that_grew_apart_are_merged_and_nothing_is_lost(tmp_path: Path) -> None:
    remote = bare(tmp_path / "remote.git")
    first, second = clone(remote, tmp_path / "first"), clone(remote, tmp_path / "second")
    store(first, push=True).write(KEY, b"1")
    mine = Key(name="mine", target="x86-1t", metric="time")
    store(second).write(mine, b"local")  # without a look at the remote: no common history
    store(second).write(KEY, b"unpublished")
    store(second, push=True).write(OTHER, b"2")
    found = {key.name: store(remote).read(key) for key in store(remote).listed()}
    assert found == {"resnet8": b"1", "mine": b"local", "cnn": b"2"}  # what is published stays
    assert git(second, "rev-parse", BRANCH) == git(remote, "rev-parse", BRANCH)
    assert git(second, "rev-list", "--count", BRANCH) == "4"


@pytest.mark.parametrize("push", ["keep", "push"])
def test_writers_at_once_all_get_through(tmp_path: Path, push: str) -> None:
    remote = bare(tmp_path / "remote.git")
    repos = [clone(remote, tmp_path / f"clone{k}") for k in range(3)] if push == "push" else [remote] * 4
    writers = [
        subprocess.Popen([sys.executable, "-P", "-c", SAVE, str(repo), f"model{k}", push], stderr=subprocess.PIPE)
        for k, repo in enumerate(repos)
    ]
    for writer in writers:
        _, said = writer.communicate()
        assert writer.returncode == 0, said.decode()
    assert [key.name for key in store(remote).listed()] == [f"model{k}" for k in range(len(repos))]
    assert git(remote, "rev-list", "--count", BRANCH) == str(len(repos))


def test_a_remote_that_takes_nothing_is_the_machine_s_fault_in_its_own_words(tmp_path: Path) -> None:
    remote = bare(tmp_path / "remote.git")
    repo = clone(remote, tmp_path / "repo")
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho the branch is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(EnvironmentFault, match="the branch is protected"):
        store(repo, push=True).write(KEY, b"1")
    assert store(repo).listed() == ()  # nothing here that is not there
    git(repo, "remote", "set-url", "origin", str(tmp_path / "gone.git"))
    with pytest.raises(EnvironmentFault, match=r"git ls-remote: .*gone"):
        store(repo, remote="origin").read(KEY)


def test_what_the_user_named_and_is_not_there_is_refused(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    with pytest.raises(BadInputError, match="not in a git repository"):
        open_branch(BRANCH, repo=tmp_path)
    with pytest.raises(BadInputError, match="no such folder"):
        open_branch(BRANCH, repo=tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="unknown here; known: none"):
        open_branch(BRANCH, repo=repo, push=True)
    with pytest.raises(BadInputError, match=r"main is checked out in .*repo"):
        open_branch("main", repo=repo)
    for name in ("", "-f", "a..b", "a b", "a~1", "@{-1}", "a.lock", "/a", "a\nb"):
        with pytest.raises(BadInputError, match="no name of a branch"):
            open_branch(name, repo=repo)


def test_a_branch_below_the_name_of_another_is_refused_at_once(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    with pytest.raises(EnvironmentFault, match="cannot create"):
        open_branch("main/baselines", repo=repo).write(KEY, b"1")


def test_without_git_the_machine_is_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="git is not installed"):
        open_branch(BRANCH, repo=tmp_path)


def test_a_hook_s_variables_do_not_lead_to_another_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, other = repository(tmp_path / "repo"), repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    store(repo).write(KEY, b"1")
    monkeypatch.delenv("GIT_DIR")
    assert git(repo, "show", f"{BRANCH}:{KEY.path}") == "1"
    assert BRANCH not in git(other, "for-each-ref")
