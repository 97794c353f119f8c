"""The sections of a report, and the samples of a bundle."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from edgekd import assemble, bundle, environment, gate, report, targets
from edgekd.data import Dataset
from edgekd.session import SessionOptions
from edgekd.store import Stage

PASSED = gate.judge(
    accuracy={}, latency={}, size_bytes=1, limits={"max_size_bytes": 2}, sources={"max_size_bytes": "recipe"}
)
VARIANT = {"name": "fp32", "path": "fp32.onnx", "selected": True}


def test_a_header_holds_every_section_that_a_report_must_have(dataset: Dataset) -> None:
    header = assemble.header(
        "small", machine=environment.describe(), target=targets.load("x86-1t"), data=assemble.data_facts(dataset)
    )
    full = header | assemble.judged([VARIANT], PASSED, target=targets.load("x86-1t"))
    assert report.REQUIRED.keys() <= full.keys()
    assert full["data"]["counts"] == dataset.counts()
    assert full["gate"] == asdict(PASSED) | {"variant": "fp32", "exit_code": 0}


def test_stages_that_did_not_run_have_no_section() -> None:
    stages = {name: Stage(key="k", result={"of": name}, outputs={}, seconds=1.5) for name in ("distill", "quantize")}
    assert assemble.made(stages) == {
        "student": {"of": "distill"},
        "search": {"of": "quantize", "warnings": []},
        "timings": {"distill": 1.5, "quantize": 1.5},
    }


@pytest.mark.parametrize(("count", "bundled"), [(3, [0, 1, 2]), (31, list(range(0, 31, 2)))])
def test_the_bundled_samples_are_spread_over_the_data(
    count: int, bundled: list[int], pixel_net: Path, tmp_path: Path
) -> None:
    (tmp_path / "fp32.onnx").write_bytes(pixel_net.read_bytes())
    for name in report.FILES:
        (tmp_path / name).write_text("{}")
    inputs = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 1))
    full = {"variants": [VARIANT], "data": {"classes": ["top", "middle", "bottom"]}}
    target = targets.load("x86-1t")
    assemble.write_bundle(
        full, tmp_path, inputs, target=target, options=SessionOptions(threads_requested=4), isa="avx2"
    )
    # The device gets the threads its profile asks for, however few this machine granted.
    assert json.loads((tmp_path / "bundle" / "session.json").read_text())["options"]["threads"] == 4
    with np.load(tmp_path / "bundle" / "samples.npz") as kept:
        assert kept["inputs"][:, 0, 0, 0].tolist() == bundled
    assert bundle.verify(tmp_path / "bundle").variant == "fp32"
