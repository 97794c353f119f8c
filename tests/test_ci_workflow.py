"""The GitHub action and the sample workflows: valid by the vendors' schemas, and their steps run here, by bash."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import junitparser
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
ACTION, GITHUB, GITLAB = ROOT / "action.yml", ROOT / "docs/ci/github.yml", ROOT / "docs/ci/gitlab.yml"
PAGE = ROOT / "docs/ci.md"
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # how GitHub runs `shell: bash`
NOT_HERE = {"Set up Python", "Install", "Install valgrind"}
"""Steps that fetch from the network: the environment of the test has what they would bring."""


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def check_schema(name: str, path: Path, *more: str) -> None:
    """By the copy of the vendor's schema that check-jsonschema brings, without a network."""
    line = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", *more, str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_fits_githubs_schema() -> None:
    check_schema("github-actions", ACTION)


def test_the_github_workflow_fits_githubs_schema() -> None:
    check_schema("github-workflows", GITHUB)


def test_the_gitlab_job_fits_gitlabs_schema() -> None:
    check_schema("gitlab-ci", GITLAB, "--data-transform", "gitlab-ci")


def test_the_workflow_on_the_page_fits_the_schema_and_the_action(tmp_path: Path) -> None:
    (text,) = snippets("yaml")
    (tmp_path / "workflow.yml").write_text(text)
    check_schema("github-workflows", tmp_path / "workflow.yml")
    steps = load(tmp_path / "workflow.yml")["jobs"]["latency"]["steps"]
    given = next(step["with"] for step in steps if "edgekd@" in step["uses"])
    inputs = load(ACTION)["inputs"]
    assert set(given) <= set(inputs)
    assert {name for name, known in inputs.items() if known.get("required")} <= set(given)


def scripts(path: Path) -> Iterator[str]:
    """Every `run` of a file's steps."""
    found = load(path)
    jobs = found.get("jobs", {"": found.get("runs")}).values()
    yield from (step["run"] for job in jobs for step in job["steps"] if "run" in step)


@pytest.mark.parametrize("path", [ACTION, GITHUB], ids=lambda path: path.name)
def test_no_script_has_an_expression_in_it(path: Path) -> None:
    """GitHub pastes ${{ … }} into the script before bash reads it: a branch name could bring commands with it."""
    assert [script for script in scripts(path) if "${{" in script] == []


def test_every_input_of_the_action_is_used_and_every_used_one_exists() -> None:
    text = ACTION.read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(load(ACTION)["inputs"])


def test_every_option_in_the_files_and_on_the_page_exists() -> None:
    texts = [*scripts(ACTION), *scripts(GITHUB), *load(GITLAB)["latency gate"]["script"], *snippets("sh")]
    used: dict[str, set[str]] = {}
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            for command, rest in re.findall(r"edgekd ((?:baseline )?\w+) ([^#|]*)", line):
                used.setdefault(command, set()).update(re.findall(r"--[a-z][a-z0-9-]+", rest))
    assert {"compare", "ci", "latency", "baseline save", "baseline compare"} <= set(used)
    for command, options in used.items():
        line = [sys.executable, "-m", "edgekd.cli", *command.split(), "--help"]
        told = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        assert options <= set(re.findall(r"--[a-z][a-z0-9-]+", told)), command


# What follows runs the steps.


def net(path: Path, *, layers: int) -> Path:
    """A stack of matrix products: twice the layers are twice the work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(0).normal(scale=0.05, size=(256, 256)).astype(np.float32)
    names = ["x", *(f"h{k}" for k in range(layers))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)],
        "stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 256])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [1, 256])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A folder with what GitHub gives a step: files for outputs and the summary, and its environment."""

    folder: Path

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            **more,
        }

    def bash(self, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "step.sh").write_text(script)
        line = [*BASH, str(self.folder / "step.sh")]
        return subprocess.run(
            line, cwd=self.folder, env=self.environment(more), capture_output=True, text=True, check=False
        )

    def action(self, **inputs: str) -> subprocess.CompletedProcess[str]:
        """The action's own steps until one fails; the last that ran."""
        action = load(ACTION)
        defaults = {name: known.get("default", "") for name, known in action["inputs"].items()}
        values = {**defaults, **{name.replace("_", "-"): value for name, value in inputs.items()}}
        for step in action["runs"]["steps"]:
            if step["name"] in NOT_HERE:
                continue
            given = {
                key: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: values[found[1]], value)
                for key, value in step["env"].items()
            }
            done = self.bash(step["run"], **given)
            if done.returncode:
                break
        return done

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    net(tmp_path / "head/models/net.onnx", layers=12)
    net(tmp_path / "base/models/net.onnx", layers=2)
    return Job(folder=tmp_path)


HEAD, BASE = "head/models/net.onnx", "base/models/net.onnx"


@pytest.mark.slow
def test_the_action_fails_a_file_that_does_six_times_the_work(job: Job) -> None:
    done = job.action(model=HEAD, base=BASE, max_seconds="20")
    assert done.returncode == 1, done.stdout + done.stderr
    assert job.text("output") == "verdict=fail\n"
    assert done.stdout.startswith("::error title=edgekd fail%3A net on x86-1t")
    assert "FAIL" in job.text("summary") and "FAIL" in job.text("edgekd-ci/comment.md")
    assert junitparser.JUnitXml.fromfile(str(job.folder / "edgekd-ci/junit.xml")).failures == 1
    for name in ("result.json", "benchmark.json", "bencher.json"):
        assert json.loads(job.text(f"edgekd-ci/{name}"))


@pytest.mark.slow
def test_the_action_passes_a_file_that_does_a_sixth_of_the_work(job: Job) -> None:
    done = job.action(model=BASE, base=HEAD, folder="out put", args="--isolate --seed 1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert job.text("output") == "verdict=pass\n"
    assert json.loads(job.text("out put/result.json"))["conditions"]["isolated"] is True


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
@pytest.mark.usefixtures("valgrind")
def test_the_action_counts_instructions(job: Job) -> None:
    done = job.action(model=HEAD, base=BASE, metric="instructions")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "more instructions than" in job.text("summary")


@pytest.mark.slow
def test_text_in_an_input_is_never_run_and_no_verdict_is_no_pass(job: Job) -> None:
    evil = '$(touch pwned) `touch pwned`"; touch pwned; #'
    done = job.action(model=evil, base=BASE, args="$(touch pwned)")
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (job.folder / "pwned").exists()
    assert job.text("output") == "" and job.text("edgekd-ci/result.json") == ""


@pytest.mark.slow
def test_the_github_workflow_runs(job: Job) -> None:
    workflow = load(GITHUB)
    codes = {}
    for step in workflow["jobs"]["latency"]["steps"]:
        if "run" in step and step["name"] not in NOT_HERE:
            done = job.bash(step["run"], **workflow["env"])
            codes[step["name"]] = done.returncode
    assert codes == {"Get both models": 0, "Compare": 0, "Tell": 1}, done.stdout + done.stderr
    assert "head/models/net.onnx is " in job.text("summary").replace("\\_", "_")


@pytest.mark.slow
def test_the_gitlab_job_runs_in_a_clone(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"

    def git(*arguments: str, cwd: Path = origin) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
        return subprocess.run(
            ["git", *who, *arguments], cwd=cwd, capture_output=True, text=True, check=True
        ).stdout.strip()

    origin.mkdir()
    git("init", "--quiet")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    commits = []
    for layers in (12, 2):
        net(origin / "models/net.onnx", layers=layers)
        git("add", ".")
        git("commit", "--quiet", "--message", str(layers))
        commits.append(git("rev-parse", "HEAD"))
    git("clone", "--quiet", "--depth", "1", f"file://{origin}", str(clone), cwd=tmp_path)
    job = load(GITLAB)["latency gate"]
    script = "\n".join(job["script"])
    done = Job(folder=clone).bash(script, **job["variables"], CI_MERGE_REQUEST_DIFF_BASE_SHA=commits[0])
    assert done.returncode == 0, done.stdout + done.stderr
    reported = clone / job["artifacts"]["reports"]["junit"]
    assert junitparser.JUnitXml.fromfile(str(reported)).tests == 1
    assert "PASS" in (clone / "edgekd-ci/summary.md").read_text(encoding="utf-8")


HARNESS = """
const calls = [], existing = JSON.parse(process.argv[2])
const api = (name) => async (what) => { calls.push({ name, ...what }) }
const issues = { listComments: 'list', updateComment: api('update'), createComment: api('create') }
const github = { rest: { issues }, paginate: async () => existing }
const context = { repo: { owner: 'o', repo: 'r' }, issue: { number: 7 } }
const run = new (Object.getPrototypeOf(async function () {}).constructor)('github', 'context', 'require', SCRIPT)
run(github, context, require).then(() => console.log(JSON.stringify(calls)))
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_comment_is_made_once_and_replaced_by_later_runs(tmp_path: Path) -> None:
    script = next(
        step["with"]["script"] for step in load(GITHUB)["jobs"]["latency"]["steps"] if step["name"] == "Comment"
    )
    (tmp_path / "harness.cjs").write_text(HARNESS.replace("SCRIPT", json.dumps(script)))

    def run(existing: list[dict[str, Any]]) -> Any:
        line = ["node", "harness.cjs", json.dumps(existing)]
        return json.loads(subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)

    assert run([]) == []  # no verdict, no comment
    (tmp_path / "edgekd-ci").mkdir()
    (tmp_path / "edgekd-ci/comment.md").write_text("<!-- edgekd ci 1 -->\nnew")
    person = {"id": 1, "user": {"type": "User"}, "body": "<!-- edgekd ci 1 -->\nmine"}
    other = {"id": 2, "user": {"type": "Bot"}, "body": "<!-- edgekd ci 2 -->\nanother job's"}
    earlier = {"id": 3, "user": {"type": "Bot"}, "body": "<!-- edgekd ci 1 -->\nold"}
    assert [(call["name"], call["issue_number"]) for call in run([person, other])] == [("create", 7)]
    assert [(call["name"], call["comment_id"]) for call in run([person, other, earlier])] == [("update", 3)]
