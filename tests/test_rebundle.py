"""A finished run is bundled again, into its own bundle's place too, also after a kill in the middle of that."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle, report
from edgekd.compete import Timing
from edgekd.errors import BadInputError
from edgekd.prepare import quantize_file
from edgekd.rebundle import rebundle
from edgekd.targets import dump, load
from edgekd.targets.target import Budgets


@pytest.fixture(scope="module")
def finished(pixel_net: Path, draw: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, drawn = tmp_path_factory.mktemp("finished"), draw(90)
    np.savez(folder / "bars.npz", x=drawn.images, y=drawn.labels)
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
