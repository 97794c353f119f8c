"""`edgekd quantize` on data and networks that it should not trust: refused by name, or stamped in the report."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.cli import console
from edgekd.progress import Listener, Progress
from edgekd.targets import dump, load
from edgekd.targets.target import Budgets

from .conftest import Answer, Edgekd

QUICK = ("--rounds", "1", "--seconds", "0.001", "--min-samples", "10", "--time-budget", "0.1")
MakeNet = Callable[..., Path]
Quantize = Callable[..., Answer]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x86-1t with two variants, to be quick, and without budgets: a busy machine must not decide on these tests."""
    changed = {"name": "quick", "precisions": ("fp32", "int8-u8s8", "fp16"), "budgets": Budgets()}
    path = tmp_path_factory.mktemp("targets") / "quick.toml"
    path.write_text(dump(load("x86-1t").model_copy(update=changed)))
    return path


@pytest.fixture
def quantize(edgekd: Edgekd, target: Path, tmp_path: Path) -> Quantize:
    """A function that quantizes a network into `tmp_path/out`."""

    def run(model: Path, *options: str | Path) -> Answer:
        return edgekd("quantize", model, "--out", tmp_path / "out", "--target", target, *QUICK, *options)

    return run


@pytest.fixture
def bars(draw: Callable[..., Any], tmp_path: Path) -> Path:
    drawn = draw(90)
    np.savez(tmp_path / "bars.npz", x=drawn.inputs, y=drawn.labels)
    return tmp_path / "bars.npz"


def reports(folder: Path) -> tuple[dict[str, Any], str]:
    return json.loads((folder / "report.json").read_text()), (folder / "report.md").read_text()


def refused(answer: Answer, *fragments: str, code: int = 2) -> None:
    assert answer.code == code, answer.out + answer.err
    assert answer.out == "" and "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith("error: "), answer.err
    for fragment in fragments:
        assert fragment in last, last


def whole(folder: Path) -> set[str]:
    """The files there but the lock's."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".lock"}


def test_without_data_there_is_no_calibration_and_the_way_out_is_named(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    refused(quantize(pixel_net), "--data is missing; expected real samples", "--allow-random-calibration")
    both = quantize(pixel_net, "--data", bars, "--allow-random-calibration")
    refused(both, "--data and --allow-random-calibration contradict each other; remove one")
    assert not (tmp_path / "out").exists()


def test_random_calibration_is_stamped_in_every_report(quantize: Quantize, pixel_net: Path, tmp_path: Path) -> None:
    answer = quantize(pixel_net, "--allow-random-calibration")
    assert answer.code in (0, 1, 3), answer.err
    full, markdown = reports(tmp_path / "out")
    assert full["search"]["warnings"][0].startswith("calibrated on random numbers, not on data")
    assert full["data"]["source"] == "random numbers"
    assert full["variants"][0]["accuracy"]["top1"] is None
    assert "calibrated on random numbers, not on data" in markdown
    assert "calibrated on random numbers, not on data" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(("count", "warned"), [(62, True), (64, False)])
def test_fewer_than_32_calibration_samples_are_warned_of(
    count: int, warned: bool, quantize: Quantize, draw: Callable[..., Any], pixel_net: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "few.npz", x=draw(count).inputs, y=draw(count).labels)
    answer = quantize(pixel_net, "--data", tmp_path / "few.npz")
    assert answer.code in (0, 1, 3), answer.err
    full, markdown = reports(tmp_path / "out")
    assert full["data"]["counts"]["calibration"] == count // 2
    warning = "calibrated on 31 samples; expected at least 32"
    assert any(text.startswith(warning) for text in full["search"]["warnings"]) is warned
    assert (warning in markdown) is warned


def test_the_report_tells_how_each_variant_was_made_and_what_was_tried(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    answer = quantize(pixel_net, "--data", bars)
    assert answer.code in (0, 1, 3), answer.err
    full, markdown = reports(tmp_path / "out")
    assert {"variants"} <= {decision["stage"] for decision in full["search"]["decisions"]}
    by_name = {variant["name"]: variant for variant in full["variants"]}
    assert "uint8 activations x int8 weights" in by_name["int8-u8s8"]["description"]
    assert by_name["int8-u8s8"]["saturates"] == []
    assert by_name["int8-u8s8"]["kernels"]["int8_node_share"] > by_name["fp32"]["kernels"]["int8_node_share"] == 0
    assert "of the time in int8 kernels" in by_name["int8-u8s8"]["kernels"]["sentence"]
    assert "Search: " in markdown
    assert "int8-u8s8" in answer.out


def test_images_that_are_all_the_same_are_refused(
    quantize: Quantize, draw: Callable[..., Any], pixel_net: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "same.npz", x=np.repeat(draw(1).inputs, 40, axis=0))
    refused(quantize(pixel_net, "--data", tmp_path / "same.npz"), "all equal; expected real, different ones")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_no_numbers_are_refused(
    value: float, quantize: Quantize, draw: Callable[..., Any], float_net: Path, tmp_path: Path
) -> None:
    images = draw(40).inputs.transpose(0, 3, 1, 2).astype(np.float32) / 255
    images[7, 0, 3, 3] = value
    np.savez(tmp_path / "nan.npz", x=images)
    refused(quantize(float_net, "--data", tmp_path / "nan.npz"), "data holds NaN or infinity", "in sample 7")
    assert not (tmp_path / "out").exists()


def test_a_network_that_is_quantized_already_is_refused(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    assert quantize(pixel_net, "--data", bars).code in (0, 1, 3)
    made = (tmp_path / "out" / "int8-u8s8.onnx").rename(tmp_path / "made.onnx")
    shutil.rmtree(tmp_path / "out")
    refused(
        quantize(made, "--data", bars), "already quantized (DequantizeLinear, QuantizeLinear); bring its fp32 original"
    )
    assert not (tmp_path / "out").exists()


def last_node(net: Path, target: Path, node: onnx.NodeProto, *, domain: str = "") -> Path:
    """The network with one more node, from `scores` to `logits`."""
    model = onnx.load(str(net))
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(node)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    target.write_bytes(model.SerializeToString())
    return target


def test_an_operator_of_a_private_domain_is_named(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    node = helper.make_node("Soften", ["scores"], ["logits"], domain="my.company")
    model = last_node(pixel_net, tmp_path / "own.onnx", node, domain="my.company")
    refused(quantize(model, "--data", bars), f"model {tmp_path / 'own.onnx'}", "my.company", "Soften")
    assert not (tmp_path / "out").exists()


def test_control_flow_is_named(quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op_type, ["scores"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["batch", 3])],
        )
        for name, op_type in (("then", "Identity"), ("else", "Neg"))
    }
    node = helper.make_node("If", ["always"], ["logits"], **branches)
    model = onnx.load(str(last_node(pixel_net, tmp_path / "if.onnx", node)))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "always"))
    model.graph.input.append(helper.make_tensor_value_info("always", TensorProto.BOOL, []))  # so that it is not folded
    onnx.save(model, str(tmp_path / "if.onnx"))
    refused(quantize(tmp_path / "if.onnx", "--data", bars), "has control flow (If)", "expected a plain graph")
    assert not (tmp_path / "out").exists()


def test_opset_11_is_converted_and_said_in_the_report(
    quantize: Quantize, make_net: MakeNet, bars: Path, tmp_path: Path
) -> None:
    answer = quantize(make_net(tmp_path / "old.onnx", opset=11), "--data", bars)
    assert answer.code in (0, 1, 3), answer.err
    full, markdown = reports(tmp_path / "out")
    note = "converted from opset 11 to 13"
    assert full["search"]["notes"][0].startswith(note) and note in markdown
    assert next(variant for variant in full["variants"] if variant["name"] == "int8-u8s8")["path"]


def test_too_little_memory_is_the_machine_s_fault_and_says_how_much_it_takes(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    answer = quantize(pixel_net, "--data", bars, "--max-memory", "1KB")
    refused(answer, "calibration may use", "raise the limit, or bring smaller samples", code=4)
    assert not whole(tmp_path / "out") - {"fp32.onnx"}


@pytest.mark.parametrize("text", ["lots", "-1GB", "0", "5 XB", ""])
def test_an_amount_of_memory_that_is_none_is_refused(
    text: str, quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    answer = quantize(pixel_net, "--data", bars, "--max-memory", text)
    refused(answer, f"'{text}' is no amount of memory; expected for example 500MB or 2GB")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_in_the_search_ends_with_130_and_names_the_best_so_far(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(progress: Progress) -> None:
        if progress.note == "fp16":
            raise KeyboardInterrupt

    @contextmanager
    def progress() -> Iterator[Listener]:
        yield ctrl_c

    monkeypatch.setattr(console, "progress", progress)
    answer = quantize(pixel_net, "--data", bars, "--time-budget", "9")
    assert answer.code == 130 and answer.out == ""
    assert "the best so far is" in answer.err and "not validated" in answer.err
    assert str(tmp_path / "out" / "int8-u8s8.onnx") in answer.err and "goes on" not in answer.err
    assert whole(tmp_path / "out") == {"fp32.onnx", "int8-u8s8.onnx"}


def test_an_unknown_way_to_treat_saturation_is_refused(
    quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path
) -> None:
    answer = quantize(pixel_net, "--data", bars, "--saturation", "never")
    assert answer.code == 2 and "session-key" in answer.err
    assert not (tmp_path / "out").exists()


def test_the_session_key_travels_in_the_bundle(quantize: Quantize, pixel_net: Path, bars: Path, tmp_path: Path) -> None:
    answer = quantize(pixel_net, "--data", bars, "--saturation", "session-key", "--limit", "max_top1_drop=1")
    assert answer.code in (0, 3), answer.err
    session = json.loads((tmp_path / "out" / "bundle" / "session.json").read_text())
    assert session["options"]["session_config"]["session.x64quantprecision"] == "1"


def test_a_session_entry_without_a_value_is_refused(edgekd: Edgekd, pixel_net: Path, bars: Path) -> None:
    answer = edgekd("validate", pixel_net, "--data", bars, "--session-config", "session.x64quantprecision")
    assert answer.code == 2 and "expected name=value" in answer.err
