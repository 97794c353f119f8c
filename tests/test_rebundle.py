"""A finished run is bundled again, into its own bundle's place too, also after a kill in the middle of that."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle, report
from edgekd.compete import Timing
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.prepare import quantize_file
from edgekd.rebundle import rebundle
from edgekd.session import SessionOptions, read_options
from edgekd.targets import dump, load
from edgekd.targets.target import Budgets


@pytest.fixture(scope="module")
def finished(pixel_net: Path, draw: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, drawn = tmp_path_factory.mktemp("finished"), draw(90)
    np.savez(folder / "bars.npz", x=drawn.inputs, y=drawn.labels)
    changed = {"name": "quick", "precisions": ("fp32", "int8-u8s8"), "budgets": Budgets()}
    (folder / "quick.toml").write_text(dump(load("x86-1t").model_copy(update=changed)))
    quantize_file(
        pixel_net,
        source=folder / "bars.npz",
        target=str(folder / "quick.toml"),
        folder=folder / "run",
        limits={},
        timing=Timing(rounds=1, seconds=0.001, min_samples=40),
    )
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize("variant", ["fp32", "int8-u8s8"])
def test_a_run_is_bundled_again_in_its_own_place(run: Path, variant: str) -> None:
    rebundle(run, out=run / "bundle", variant=variant)
    verified = bundle.verify(run / "bundle")
    assert (verified.passed, verified.variant) == (True, variant)
    assert all((run / "bundle" / file).read_bytes() == (run / file).read_bytes() for file in report.FILES)


@pytest.mark.parametrize("place", ["run/bundle", "other"])
def test_a_kill_between_the_two_renames_is_put_right(run: Path, tmp_path: Path, place: str) -> None:
    (run / "bundle").rename(run / ".bundle.edgekd-old")
    rebundle(run, out=tmp_path / place, variant="fp32")
    assert bundle.verify(tmp_path / place).variant == "fp32"
    assert bundle.verify(run / "bundle").passed is True
    assert not (run / ".bundle.edgekd-old").exists()


def test_a_run_without_a_bundle_has_no_samples_to_give(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "bundle")
    with pytest.raises(BadInputError, match=r"samples\.npz"):
        rebundle(run, out=tmp_path / "other", variant=None)
    assert not (tmp_path / "other").exists()


TUNED = SessionOptions(graph_optimization="extended", arena=False)


def tuned_file(path: Path, model: Path, *, options: SessionOptions = TUNED, **said: Any) -> Path:
    """A session.json as `edgekd tune` writes it for a file."""
    note = {"model_sha256": sha256(model), "target": "quick", "ratio": 0.8} | said
    path.write_text(json.dumps({"options": options.as_dict(), "tuned": note}))
    return path


def test_tuned_options_go_into_the_bundle_with_what_was_measured_of_them(run: Path, tmp_path: Path) -> None:
    session = tuned_file(tmp_path / "tuned.json", run / "fp32.onnx")
    rebundle(run, out=tmp_path / "other", variant="fp32", tuned=session)
    assert read_options(tmp_path / "other" / "session.json") == TUNED
    assert json.loads((tmp_path / "other" / "session.json").read_text())["tuned"]["ratio"] == 0.8
    assert "the reports measured the target's own" in (tmp_path / "other" / "README.txt").read_text()
    assert bundle.verify(tmp_path / "other").passed is True


@pytest.mark.parametrize(
    ("said", "fragment"),
    [
        ({"model_sha256": "0" * 64}, "was tuned for another file"),
        ({"model_sha256": None}, "was tuned for another file"),
        ({"target": "x86-2t"}, "was tuned for target 'x86-2t', the run is for 'quick'"),
        ({"options": SessionOptions(provider="CUDAExecutionProvider")}, "was tuned for target"),
    ],
)
def test_options_that_were_tuned_for_something_else_are_refused(
    said: dict[str, Any], fragment: str, run: Path, tmp_path: Path
) -> None:
    session = tuned_file(tmp_path / "tuned.json", run / "fp32.onnx", **said)
    with pytest.raises(BadInputError, match=fragment):
        rebundle(run, out=tmp_path / "other", variant="fp32", tuned=session)
    assert not (tmp_path / "other").exists()


def test_options_of_a_bundle_that_nothing_was_tuned_for_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="says nothing of a tuning"):
        rebundle(run, out=tmp_path / "other", variant="fp32", tuned=run / "bundle" / "session.json")


def test_an_entry_that_the_runs_files_need_is_kept_and_is_not_tuned_away(run: Path, tmp_path: Path) -> None:
    key = {"session.x64quantprecision": "1"}
    path = run / "bundle" / "session.json"
    document = json.loads(path.read_text())
    document["options"]["session_config"] = key
    path.write_text(json.dumps(document))
    rebundle(run, out=tmp_path / "own", variant="fp32")
    assert read_options(tmp_path / "own" / "session.json").session_config == key
    session = tuned_file(tmp_path / "tuned.json", run / "fp32.onnx")
    with pytest.raises(BadInputError, match=r"--session-config session\.x64quantprecision=1"):
        rebundle(run, out=tmp_path / "other", variant="fp32", tuned=session)
