"""`targets`, `models`, `doctor`, help and version."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgekd as package
from edgekd import targets

from .conftest import ENVIRONMENT, Edgekd, without_torch

COMMANDS = [
    "run",
    "distill",
    "export",
    "quantize",
    "validate",
    "gate",
    "bundle",
    "verify",
    "targets",
    "models",
    "doctor",
    "init",
]


def test_the_targets_are_listed_as_a_table_and_as_json(edgekd: Edgekd) -> None:
    assert [line.split()[0] for line in edgekd("targets").out.splitlines()[1:]] == targets.names()
    assert [target["name"] for target in json.loads(edgekd("targets", "--json").out)] == targets.names()


def test_the_target_that_is_shown_is_a_file_that_loads_back(edgekd: Edgekd, tmp_path: Path) -> None:
    for name in targets.names():
        (tmp_path / "own.toml").write_text(edgekd("targets", "show", name).out, encoding="utf-8")
        assert targets.load(str(tmp_path / "own.toml")) == targets.load(name)
    shown = json.loads(edgekd("targets", "show", "x86-1t", "--json").out)
    assert shown == targets.load("x86-1t").model_dump(mode="json")


def test_the_models_are_listed_with_their_cost(edgekd: Edgekd) -> None:
    listed = {row["name"]: row for row in json.loads(edgekd("models", "--size", "32x32x3", "--json").out)}
    assert listed["resnet20"]["parameters"] == 272_474  # He et al. 2016: 0.27 M


@pytest.mark.parametrize("size", ["32", "32x32", "axbxc"])
def test_a_size_that_cannot_be_read_is_refused(size: str, edgekd: Edgekd) -> None:
    answer = edgekd("models", "--size", size)
    assert answer.code == 2
    assert f"--size {size}: expected HEIGHTxWIDTHxCHANNELS" in answer.err


def test_the_doctor_describes_this_machine(edgekd: Edgekd) -> None:
    found = json.loads(edgekd("doctor", "--json").out)
    assert found["cores_granted"] >= 1 and found["packages"]["numpy"]
    assert "cores granted" in edgekd("doctor").out


def test_help_and_version_import_nothing_heavy() -> None:
    calls = [["--help"], ["--version"], ["targets", "show", "--help"], *([name, "--help"] for name in COMMANDS)]
    script = (
        "import sys\n"
        "from edgekd.cli.app import main\n"
        f"for arguments in {calls}:\n"
        "    sys.argv = ['edgekd', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert stop.code == 0, arguments\n"
        "print({'torch', 'onnxruntime', 'onnx', 'scipy', 'numpy'} & set(sys.modules))\n"
    )
    line = [sys.executable, "-P", "-c", script]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: edgekd") == len(calls) - 1
    assert done.stdout.endswith("\nset()\n")


def test_the_version_is_the_package_s(edgekd: Edgekd) -> None:
    assert edgekd("--version").out == f"edgekd {package.__version__}\n"


def test_no_command_at_all_shows_the_help_as_wrong_usage(edgekd: Edgekd) -> None:
    answer = edgekd()
    assert (answer.code, answer.err) == (2, "")
    assert "Usage: " in answer.out and "verify" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'; see"),
        (["run"], "Missing argument 'recipe'"),
        (["targets", "--bogus"], "No such option: --bogus"),
        (["models", "--classes", "1"], "'--classes'"),
    ],
)
def test_wrong_usage_is_bad_input(arguments: list[str], message: str, edgekd: Edgekd) -> None:
    answer = edgekd(*arguments)
    assert answer.code == 2 and not answer.out
    assert answer.err.startswith("error: ") and message in answer.err


def test_training_without_torch_names_the_extra_to_install(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "a"\ndata.source = "fashion-mnist"\nstudent.model = "resnet8"\ndistill.method = "ce"\n')
    answer = without_torch("run", recipe, "--out", tmp_path / "run")
    assert answer.code == 4
    assert answer.err.endswith('error: torch is not installed; pip install "edgekd[train]"\n')


def test_a_terminal_that_knows_ascii_only_gets_escapes_instead_of_a_crash() -> None:
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}
    calls = (["doctor"], ["models"], ["targets", "--json"])
    script = (
        "import sys\n"
        "from edgekd.cli.app import main\n"
        f"for arguments in {calls}:\n"
        "    sys.argv = ['edgekd', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert stop.code == 0, arguments\n"
    )
    line = [sys.executable, "-P", "-c", script]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, encoding="ascii", check=False)
    assert done.returncode == 0, done.stderr
    assert "cores granted" in done.stdout and "272,474" in done.stdout and '"x86-1t"' in done.stdout


def test_a_reader_who_leaves_and_a_full_disk_are_no_verdict() -> None:
    line = f"{sys.executable} -P -m edgekd.cli targets --json"
    for tail, code in ((" | true; exit ${PIPESTATUS[0]}", 4), (" > /dev/full", 4)):
        done = subprocess.run(["bash", "-c", line + tail], env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr and done.stderr.startswith("error: ")
