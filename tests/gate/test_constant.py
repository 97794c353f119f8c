"""A network that answers everything alike never passes, also where only its speed and size are asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.compete import Timing
from edgekd.errors import ExitCode
from edgekd.gate.check import CONSTANT
from edgekd.prepare import validate_file
from edgekd.targets import dump, load
from edgekd.targets.target import Budgets

QUICK = Timing(rounds=1, seconds=0.001, min_samples=40)
GENEROUS = {"max_p50_ms": 1e6, "max_size_bytes": 10**9}


@pytest.fixture
def target(tmp_path: Path) -> str:
    path = tmp_path / "quick.toml"
    path.write_text(dump(load("x86-1t").model_copy(update={"name": "quick", "budgets": Budgets()})))
    return str(path)


def regressor(path: Path, *, weight: float) -> Path:
    """One value from four numbers, and 1 where the weight is 0."""
    weights = numpy_helper.from_array(np.full((4, 1), weight, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["sum"]), helper.make_node("Add", ["sum", "one"], ["y"])],
        "regressor",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [weights, numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("weight", "code"), [(0.0, ExitCode.GATE_FAILED), (0.5, ExitCode.PASS)])
def test_a_regressor_of_one_value_passes_its_latency_only_if_the_value_depends_on_the_input(
    weight: float, code: ExitCode, target: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    model = regressor(tmp_path / "model.onnx", weight=weight)
    full, found = validate_file(model, source=tmp_path / "data.npz", target=target, limits=GENEROUS, timing=QUICK)
    assert found == code
    assert {check["note"] for check in full["gate"]["checks"]} == {"" if code == ExitCode.PASS else CONSTANT}
    assert full["variants"][0]["accuracy"]["constant"] is (code != ExitCode.PASS)


def test_a_classifier_without_labels_and_without_a_baseline_is_seen_through_too(
    make_net: Callable[..., Path], draw: Callable[..., object], target: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=draw(20).inputs)  # type: ignore[attr-defined]
    model = make_net(tmp_path / "zeros.onnx", gain=0.0)
    full, code = validate_file(model, source=tmp_path / "data.npz", target=target, limits=GENEROUS, timing=QUICK)
    assert code == ExitCode.GATE_FAILED
    assert {check["note"] for check in full["gate"]["checks"]} == {CONSTANT}
