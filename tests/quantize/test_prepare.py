"""A network is made ready for quantization without a change of what it computes, or is refused by its name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.quantize import prepare as module
from edgekd.quantize.prepare import prepare, quiet

from .small_nets import answers, decibels, mixed, normal, samples, save, stored

X = samples(6)


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


def norm_net(path: Path, *, opset: int = 17) -> Path:
    """A convolution and its batch norm."""
    weights = {
        **{"w": normal(8, 4, 3, 3), "scale": np.abs(normal(8, seed=1)), "shift": normal(8, seed=2)},
        **{"mean": normal(8, seed=3), "variance": 1 + np.abs(normal(8, seed=4))},
    }
    nodes = [
        ("Conv", ["x", "w"], "conv"),
        ("BatchNormalization", ["conv", "scale", "shift", "mean", "variance"], "norm"),
        ("Relu", ["norm"], "y"),
    ]
    return save(path, nodes, weights, ["batch", 4, 10, 10], opset=opset)


def test_a_network_of_a_new_opset_is_left_as_it_is(tmp_path: Path) -> None:
    model = mixed(tmp_path / "net.onnx", metadata={"author": "me"})
    found = prepare(model, tmp_path)
    assert found.notes == ()
    assert found.input_name == "x"
    np.testing.assert_array_equal(answers(found.path, X), answers(model, X))
    assert {entry.key: entry.value for entry in onnx.load(str(found.path)).metadata_props}["author"] == "me"


def test_opset_11_is_converted_and_said(tmp_path: Path) -> None:
    model = mixed(tmp_path / "net.onnx", opset=11)
    found = prepare(model, tmp_path)
    assert found.notes == ("converted from opset 11 to 13, the oldest with one scale a channel",)
    assert [entry.version for entry in onnx.load(str(found.path)).opset_import if entry.domain == ""] == [13]
    np.testing.assert_allclose(answers(found.path, X), answers(model, X), rtol=1e-6, atol=1e-6)


def test_a_batch_norm_is_folded_into_its_convolution(tmp_path: Path) -> None:
    model = norm_net(tmp_path / "net.onnx")
    found = prepare(model, tmp_path)
    assert kinds(found.path) == ["Conv", "Relu"]
    assert decibels(answers(model, X), answers(found.path, X)) > 110


def test_every_node_gets_a_name_and_keeps_the_one_it_has(tmp_path: Path) -> None:
    model = mixed(tmp_path / "net.onnx", named=False)
    proto = onnx.load(str(model))
    proto.graph.node[2].name = "Conv_0"  # what the first node would be called
    onnx.save(proto, str(model))
    names = [node.name for node in onnx.load(str(prepare(model, tmp_path).path)).graph.node]
    assert all(names) and len(names) == len(set(names))
    assert "Conv_0" in names


def test_every_tensor_has_a_shape(tmp_path: Path) -> None:
    graph = onnx.load(str(prepare(mixed(tmp_path / "net.onnx"), tmp_path).path)).graph
    known = {value.name for value in graph.value_info} | {value.name for value in graph.output}
    assert {output for node in graph.node for output in node.output} <= known


@pytest.mark.parametrize("opset", [17, 18])
def test_a_mean_over_all_positions_becomes_a_pooling_and_one_over_channels_does_not(opset: int, tmp_path: Path) -> None:
    def net(path: Path, axes: list[int]) -> Path:
        constants = {"w": normal(8, 4, 3, 3)} | ({"axes": np.array(axes)} if opset >= 18 else {})
        mean = (["conv", "axes"], {}) if opset >= 18 else (["conv"], {"axes": axes})
        nodes = [("Conv", ["x", "w"], "conv"), ("ReduceMean", mean[0], "mean", mean[1]), ("Relu", ["mean"], "y")]
        return save(path, nodes, constants, ["batch", 4, 10, 10], opset=opset)

    for axes, expected in (([2, 3], "GlobalAveragePool"), ([-1, -2], "GlobalAveragePool"), ([1], "ReduceMean")):
        model = net(tmp_path / "net.onnx", axes)
        found = prepare(model, tmp_path)
        assert kinds(found.path) == ["Conv", expected, "Relu"]
        np.testing.assert_allclose(answers(found.path, X), answers(model, X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "domain", "message"),
    [
        ("DequantizeLinear", "", r"net\.onnx is already quantized \(DequantizeLinear\); bring its fp32 original"),
        ("MatMulInteger", "", r"is already quantized \(MatMulInteger\)"),
        ("MatMulNBits", "com.microsoft", r"is already quantized \(MatMulNBits\)"),
        ("Loop", "", r"net\.onnx has control flow \(Loop\).*; expected a plain graph"),
        ("If", "", r"has control flow \(If\)"),
        ("Attention", "my.company", r"does not ship: my\.company\.Attention; expected standard ones"),
    ],
)
def test_what_cannot_be_quantized_is_named(op_type: str, domain: str, message: str, tmp_path: Path) -> None:
    model = onnx.load(str(mixed(tmp_path / "net.onnx")))
    model.graph.node.append(helper.make_node(op_type, ["last"], ["more"], domain=domain))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(BadInputError, match=message):
        prepare(tmp_path / "net.onnx", tmp_path)


def test_an_opset_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    """An operator that the standard does not know has no later version either."""
    model = save(tmp_path / "net.onnx", [("Upwards", ["x"], "y")], {}, ["batch", 4, 10, 10], opset=9)
    with pytest.raises(BadInputError, match=r"net\.onnx has opset 9, .* cannot be converted: .*; export it again"):
        prepare(model, tmp_path)


def test_more_weights_than_a_protobuf_file_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(str(mixed(tmp_path / "net.onnx")))
    onnx.save(model, str(tmp_path / "big.onnx"), save_as_external_data=True, location="big.bin", size_threshold=0)
    assert prepare(tmp_path / "big.onnx", tmp_path).path.is_file()
    monkeypatch.setattr(module, "PROTOBUF_LIMIT", 2_000)
    with pytest.raises(BadInputError, match=r"big\.onnx has 0\.0 GB of weights; expected less than 2 GB"):
        prepare(tmp_path / "big.onnx", tmp_path)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    model = mixed(tmp_path / "net.onnx")
    onnx.save(onnx.load(str(model)), str(tmp_path / "out.onnx"), save_as_external_data=True, size_threshold=0)
    found = prepare(tmp_path / "out.onnx", tmp_path)
    np.testing.assert_array_equal(stored(found.path)["w1"], stored(model)["w1"])


def test_the_quantizers_are_kept_quiet_and_logging_is_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    before = logging.root.manager.disable
    with pytest.raises(RuntimeError), quiet():
        print("advice")
        raise RuntimeError
    assert logging.root.manager.disable == before
    assert capsys.readouterr().out == ""
