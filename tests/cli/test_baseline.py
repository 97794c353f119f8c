"""`baseline save`, `compare` and `list`: exit codes, texts and files, with a folder and with a branch as the store."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekd import result

from ..baseline.documents import MACHINE, counted, report, timed, written  # noqa: TID252  one set of documents for both
from .conftest import Edgekd, Finished, command, without_torch


@pytest.fixture
def saved(tmp_path: Path, edgekd: Edgekd) -> Path:
    """A folder that holds resnet8 at 2 ms."""
    answer = edgekd("baseline", "save", written(tmp_path / "base.json", timed(2.0)), "--store", tmp_path / "store")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("saved  resnet8 on x86-1t, time, in ")
    return tmp_path / "store"


@pytest.mark.parametrize(("ms", "code", "word"), [(2.0, 0, "PASS"), (2.4, 1, "FAIL"), (2.1, 3, "INCONCLUSIVE")])
def test_the_exit_code_is_the_verdict_and_the_table_says_why(
    ms: float, code: int, word: str, saved: Path, tmp_path: Path, edgekd: Edgekd
) -> None:
    new, out = written(tmp_path / "new.json", timed(ms, seed=1)), tmp_path / "verdict.json"
    answer = edgekd("baseline", "compare", new, "--store", saved, "--out", out)
    assert answer.code == code, answer.err
    assert f"{word} resnet8 on x86-1t" in answer.out
    assert "max_regression" in answer.out and "2.00" in answer.out and "+5 %" in answer.out
    assert result.read(out)["kind"] == "baseline"


def test_json_is_the_whole_document_and_a_wider_limit_passes(saved: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    new = written(tmp_path / "new.json", timed(2.4))
    answer = edgekd("baseline", "compare", new, "--store", saved, "--max-regression", "30%", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert (found["limits"], found["conditions"]["baseline"]) == ({"max_regression": 0.3}, str(saved))
    assert result.checked(found, Path("stdout"))["gate"]["checks"][0]["limit"] == 1.3


def test_save_replaces_and_says_so_and_keeps_the_document_byte_for_byte(
    saved: Path, tmp_path: Path, edgekd: Edgekd
) -> None:
    path = written(tmp_path / "newer.json", timed(1.9))
    assert edgekd("baseline", "save", path, "--store", saved).out.startswith("replaced  resnet8")
    assert (saved / "resnet8" / "x86-1t" / "time.json").read_bytes() == path.read_bytes()
    said = json.loads(edgekd("baseline", "save", path, "--store", saved, "--name", "v1.0", "--json").out)
    assert (said["name"], said["target"], said["metric"], said["replaced"]) == ("v1.0", "x86-1t", "time", False)


def test_list_shows_each_with_its_machine_and_what_is_damaged(saved: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    edgekd("baseline", "save", written(tmp_path / "counted.json", counted()), "--store", saved)
    (saved / "resnet8" / "x86-1t" / "time.json").write_text("{")
    answer = edgekd("baseline", "list", "--store", saved)
    assert answer.code == 0
    assert "instructions" in answer.out and "Quiet CPU" in answer.out and "damaged: " in answer.out
    entries = json.loads(edgekd("baseline", "list", "--store", saved, "--json").out)["entries"]
    assert [(found["metric"], found["state"][:2]) for found in entries] == [("instructions", "ok"), ("time", "da")]
    assert "holds no baselines" in edgekd("baseline", "list", "--store", tmp_path / "empty").out


def test_a_branch_of_a_bare_remote_serves_two_clones(
    tmp_path: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet", "--bare", "remote.git"], check=True)
    for name in ("one", "two"):
        subprocess.run([*git, "clone", "--quiet", "remote.git", name], check=True, capture_output=True)
    base, new = written(tmp_path / "base.json", timed(2.0)), written(tmp_path / "new.json", timed(2.4))
    branch = ("--branch", "edgekd-baselines", "--repo")
    answer = edgekd("baseline", "save", base, *branch, tmp_path / "one", "--remote", "origin", "--push")
    assert answer.code == 0 and ", pushed)" in answer.out, answer.err
    unseen = edgekd("baseline", "compare", new, *branch, tmp_path / "two")
    assert unseen.code == 2 and "no baseline resnet8 on x86-1t, time in branch" in unseen.err
    answer = edgekd("baseline", "compare", new, *branch, tmp_path / "two", "--remote", "origin")
    assert answer.code == 1 and "branch edgekd-baselines of origin" in answer.out, answer.err
    assert "resnet8" in edgekd("baseline", "list", *branch, tmp_path / "remote.git").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("save", "new.json"), "neither --store nor --branch was given"),
        (("save", "new.json", "--store", "s", "--branch", "b"), "both --store and --branch were given"),
        (("save", "new.json", "--store", "s", "--push"), "--remote and --push are for --branch"),
        (("save", "new.json", "--store", ""), "is empty; expected a path"),
        (("save", "new.json", "--store", "s", "--name", "../../etc"), "name '../../etc' cannot be that of a baseline"),
        (("save", "nowhere.json", "--store", "s"), "nowhere.json cannot be read: No such file"),
        (("save", "s", "--store", "s"), "s cannot be read"),
        (("save", "new.json", "--branch", "b", "--repo", "nowhere"), "no such folder"),
        (("save", "new.json", "--branch", "b"), "not in a git repository"),
        (("compare", "new.json", "--store", "s"), "no baseline resnet8 on x86-1t, time in s; stored: nothing"),
        (("compare", "new.json", "--store", "s", "--max-regression", "5"), "expected a percentage below 100%"),
        (("compare", "new.json", "--store", "s", "--max-top1-drop", "1%"), "is for a report.json"),
        (("list", "--store", "new.json"), "is a file; expected a folder"),
    ],
)
def test_what_the_user_named_wrongly_ends_with_2_and_says_what_to_do(
    arguments: tuple[str, ...], said: str, tmp_path: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "new.json", timed())
    monkeypatch.chdir(tmp_path)
    answer = edgekd("baseline", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err and "Traceback" not in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]


def test_another_machine_ends_with_2_unless_normalised(saved: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    other = replace(MACHINE, cpu_model="[bold]Other[/bold] CPU")
    new = written(tmp_path / "new.json", timed(4.0, reference=2.0, machine=other))
    answer = edgekd("baseline", "compare", new, "--store", saved)
    assert answer.code == 2
    assert "CPU model ([bold]Other[/bold] CPU, stored Quiet CPU)" in answer.err and "--normalise" in answer.err
    answer = edgekd("baseline", "compare", new, "--store", saved, "--normalise")
    assert answer.code == 3 and "[bold]Other[/bold] CPU" in answer.err  # half as fast; the floor is 10 %


def test_a_store_or_a_verdict_that_cannot_be_written_ends_with_4(saved: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    new = written(tmp_path / "new.json", timed())
    answer = edgekd("baseline", "save", new, "--store", "/proc/edgekd")
    assert (answer.code, answer.out) == (4, "") and "cannot write the baseline to /proc/edgekd" in answer.err
    answer = edgekd("baseline", "compare", new, "--store", saved, "--out", "/proc/edgekd/verdict.json")
    assert answer.code == 4 and "cannot write" in answer.err and "PASS" in answer.out


def test_a_report_with_another_accuracy_fails(tmp_path: Path, edgekd: Edgekd) -> None:
    base, new = report(), report(hits=(380, 400), sha256="ef" * 32)
    store = ("--store", tmp_path / "store")
    assert edgekd("baseline", "save", written(tmp_path / "a" / "report.json", base), *store).code == 0
    path = written(tmp_path / "b" / "report.json", new)
    answer = edgekd("baseline", "compare", path, *store)
    assert answer.code == 1 and "max_top1_drop" in answer.out
    assert edgekd("baseline", "compare", path, *store, "--max-top1-drop", "20%").code == 0


def test_it_works_without_torch_in_a_process_of_its_own(saved: Path, tmp_path: Path) -> None:
    new = written(tmp_path / "new.json", timed(2.0, seed=3))
    answer = without_torch("baseline", "compare", new, "--store", saved)
    assert (answer.code, answer.err) == (0, ""), answer.err


@pytest.mark.slow
def test_the_report_of_a_real_run_is_saved_and_compared_with_itself(finished: Finished, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store")
    answer = command("baseline", "save", finished.folder / "report.json", *store)
    assert answer.code == 0, answer.err
    answer = command("baseline", "compare", finished.folder / "report.json", *store, "--json")
    assert answer.code in (0, 3), answer.err
    found: dict[str, Any] = json.loads(answer.out)
    assert found["measured"]["ratio_p50"] == found["measured"]["ratio_size"] == 1


@pytest.mark.slow
def test_a_measured_file_is_saved_and_compared_with_itself_measured_again(float_net: Path, tmp_path: Path) -> None:
    results = [tmp_path / f"{name}.json" for name in ("base", "new")]
    for path in results:
        answer = command(
            "latency", float_net, "--max-p50-ms", "1000", "--max-seconds", "2", "--min-seconds", "1", "--out", path
        )
        assert answer.code in (0, 3), answer.err
    assert command("baseline", "save", results[0], "--store", tmp_path / "store").code == 0
    answer = command("baseline", "compare", results[1], "--store", tmp_path / "store", "--json")
    found = json.loads(answer.out)
    assert answer.code == {"pass": 0, "fail": 1, "inconclusive": 3}[found["gate"]["verdict"]], answer.err
    assert found["model"]["sha256"] == found["base"]["sha256"]
    assert found["measured"]["reference_drift"] is not None
