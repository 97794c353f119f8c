"""Files that are there already are judged as multi-label where they, `data.task` or the labels' shape say so."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd import compete, prepare
from edgekd.data.class_order import moved
from edgekd.data.parts import ModelSamples
from edgekd.data.reading import Reading
from edgekd.errors import BadInputError
from edgekd.isa.compare import agreement
from edgekd.isa.run import Outputs
from edgekd.label_task import LabelTask, label_task
from edgekd.quantize.probe import Probes
from edgekd.session import METADATA_KEY, options_for
from edgekd.targets import load
from edgekd.versus import judge_accuracy

OPTIONS = options_for(load("x86-1t"), cores=1)
X = np.array([[2, 2, -2], [2, -2, -2], [-2, 2, 1], [-2, -2, 2]], dtype=np.float32)
"""The network's logits, as it is the identity: said are {0, 1}, {0}, {1, 2}, {2}."""
Y = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=np.int8)
"""Against X: 5 right, one of class 1 not named, one of class 2 too many: micro F1 = 10 / 12."""


def network(path: Path, *, last: str = "Identity", metadata: dict[str, object] | None = None) -> Path:
    """Three numbers in, three out: `last` of them."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "m"], ["h"]), helper.make_node(last, ["h"], ["scores"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32), "m")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    onnx.save(model, str(path))
    return path


def samples(labels: np.ndarray | None) -> ModelSamples:
    return ModelSamples(inputs=X, labels=labels, classes=())


OWN = {"preprocessing": {"scale": 1}, "task": "multi-label"}
EXCLUSIVE = {"preprocessing": {"scale": 1}}
ONE_EACH = np.array([0, 1, 2, 0])


def test_labels_of_a_column_a_class_make_a_network_from_elsewhere_multi_label(tmp_path: Path) -> None:
    logits, sigmoid = network(tmp_path / "a.onnx"), network(tmp_path / "b.onnx", last="Sigmoid")
    assert label_task([logits], samples(Y), OPTIONS) == LabelTask(multi_label=True)
    assert label_task([sigmoid], samples(Y), OPTIONS) == LabelTask(multi_label=True, threshold=0.5)
    asked = Reading(task="multi-label")
    assert label_task([sigmoid], samples(None), OPTIONS, reading=asked).threshold == 0.5
    assert (
        label_task([logits], samples(ONE_EACH), OPTIONS) == LabelTask() == label_task([logits], samples(None), OPTIONS)
    )
    with pytest.raises(BadInputError, match=r"decides at 0 and .* decides at 0\.5: one puts out probabilities"):
        label_task([logits, sigmoid], samples(Y), OPTIONS)


def test_what_a_file_says_of_itself_needs_no_labels(tmp_path: Path) -> None:
    own = network(tmp_path / "a.onnx", metadata=OWN)
    told = network(tmp_path / "b.onnx", last="Sigmoid", metadata={"task": "multi-label", "threshold": 0.5})
    for labels in (None, Y):
        assert label_task([own], samples(labels), OPTIONS) == LabelTask(multi_label=True)
        assert label_task([told], samples(labels), OPTIONS) == LabelTask(multi_label=True, threshold=0.5)


@pytest.mark.parametrize(
    ("said", "last", "labels", "task", "message"),
    [
        (OWN, "Identity", ONE_EACH, "auto", "is multi-label, and d.npz says one class a sample"),
        (EXCLUSIVE, "Identity", Y, "auto", "was exported for one class a sample, and d.npz has several"),
        (EXCLUSIVE, "Identity", None, "multi-label", "was exported for one class a sample"),
        (None, "Identity", ONE_EACH, "multi-label", "data.task=multi-label, and d.npz says one class a sample"),
        (None, "Identity", Y, "classes", "data.task=classes, and d.npz has several classes a sample"),
        (OWN, "Identity", None, "classes", "data.task=classes, and model .* is multi-label"),
        (None, "Softmax", Y, "auto", "sum to 1 for every sample, a softmax"),
        (None, "Identity", Y[:, :2], "auto", r"first output has shape \(3,\) a sample; expected \(2,\)"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, said: dict[str, object] | None, last: str, labels: np.ndarray | None, task: str, message: str
) -> None:
    model = network(tmp_path / "a.onnx", last=last, metadata=said)
    with pytest.raises(BadInputError, match=message):
        label_task([model], samples(labels), OPTIONS, reading=Reading(task=task), source=Path("d.npz"))


@pytest.mark.parametrize("last", ["Identity", "Sigmoid"])
def test_logits_and_probabilities_of_one_network_score_alike(tmp_path: Path, last: str) -> None:
    model = network(tmp_path / "a.onnx", last=last)
    task = label_task([model], samples(Y), OPTIONS)
    judged = prepare.judged_on(samples(Y), task)
    found = compete.score({"base": model, "new": model}, X, judged, OPTIONS, isa="avx2")["new"]
    assert not isinstance(found, str)
    assert found.micro_f1 == pytest.approx(10 / 12) and found.micro_f1_drop == 0 and found.top1 is None
    assert found.outputs == {"Identity": "logits", "Sigmoid": "probabilities"}[last]
    assert [score.name for score in found.per_class] == ["0", "1", "2"]
    limits = {"min_micro_f1": 0.9, "max_micro_f1_drop": 0.9}
    measured, checks = judge_accuracy({"accuracy": asdict(found)}, limits=limits, sources=dict.fromkeys(limits, "g"))
    assert measured["micro_f1"] == found.micro_f1 and "top1" not in measured
    assert [check.verdict for check in checks] == ["inconclusive", "pass"]


def test_limits_for_another_task_and_floors_of_unknown_classes_are_refused(tmp_path: Path) -> None:
    several, one = LabelTask(multi_label=True), LabelTask()
    with pytest.raises(BadInputError, match=r"min_top1 \(set by the command line\) .*is multi-label.*min_micro_f1"):
        prepare.check_limits({"min_top1": 0.5}, samples(Y), several)
    with pytest.raises(BadInputError, match=r"min_map .*has one class a sample.*min_top1"):
        prepare.check_limits({"min_map": 0.5}, samples(ONE_EACH), one)
    prepare.check_limits({"min_map": 0.5, "min_sqnr_db": 10}, samples(Y), several)
    prepare.check_limits({"min_map": 0.5}, samples(None), one)
    assert prepare.default_limits(samples(Y), tmp_path, OPTIONS) == {"max_micro_f1_drop": 0.01}


def test_a_probe_counts_label_sets_at_the_threshold_of_the_network(tmp_path: Path) -> None:
    logits, sigmoid = network(tmp_path / "a.onnx"), network(tmp_path / "b.onnx", last="Sigmoid")
    probes = Probes(logits, X, OPTIONS, labels=Y, multi_label=True, threshold=0.5)
    # All probabilities are above 0, and 6 of 12 above 1/2: the same sets, so nothing is lost.
    assert probes.closeness(sigmoid)[1] == 0
    assert Probes(logits, X, OPTIONS, labels=Y, multi_label=True).closeness(sigmoid)[1] > 0


def test_portability_compares_sets_of_labels() -> None:
    one = np.array([[0.6, 0.9], [0.2, 0.1]], dtype=np.float32)
    two = np.array([[0.9, 0.6], [0.1, 0.6]], dtype=np.float32)
    native, other = (Outputs(values=values, isa=isa, seconds=0.0) for values, isa in ((one, "avx512"), (two, "avx2")))
    assert agreement(native, other, output_step=None, seconds=0.0).top1_same == 0
    assert agreement(native, other, output_step=None, seconds=0.0, threshold=0.5).top1_same == 1


def test_names_of_other_number_than_columns_are_refused() -> None:
    with pytest.raises(BadInputError, match="the labels have 3 columns, and 2 classes are named"):
        moved(Y, np.array([0, 1]), 4)
