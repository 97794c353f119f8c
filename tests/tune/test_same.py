"""Outputs are the same within float tolerance or it is said how they differ; branches are found where there are any."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.session import SessionOptions
from edgekd.tune.branches import has_branches
from edgekd.tune.same import BATCHES, difference, outputs_of

from .nets import branched, chain, gelu, save

NAN = float("nan")


def apart(found: Any, expected: Any) -> str | None:
    return difference([[found]], [[expected]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_is_no_difference(dtype: Any) -> None:
    numbers = np.linspace(-50, 50, 11, dtype=dtype)
    assert apart(numbers, numbers) is None
    assert apart(numbers.astype(np.float64) + 0.004, numbers.astype(np.float64)) is None


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (np.array([1.0, 2.001]), np.array([1.0, 2.0]), "output 0 differs by up to 0.001, numbers reach 2"),
        (np.array([1.0, NAN]), np.array([1.0, 2.0]), "not finite in other places"),
        (np.array([1.0, 2.0]), np.array([1.0, NAN]), "not finite in other places"),
        (np.array([np.inf]), np.array([-np.inf]), "not finite in other places"),
        (np.zeros((1, 3)), np.zeros((1, 4)), r"shape (1, 3), with the target's own options (1, 4)"),
        (np.array([1, 3]), np.array([1, 2]), "other values"),
        (np.array(["a"]), np.array(["b"]), "other values"),
        ([{1: 0.5}], [{1: 0.25}], "is another"),
    ],
)
def test_a_difference_is_told_in_words(found: Any, expected: Any, words: str) -> None:
    said = apart(found, expected)
    assert said is not None and words in said


@pytest.mark.parametrize(
    "outputs", [np.array([NAN, np.inf, 1.0]), np.zeros(3), np.empty((0, 2)), np.array(["a"]), [np.array([1.0]), "b"]]
)
def test_equal_outputs_of_every_kind_are_equal(outputs: Any) -> None:
    assert apart(outputs, outputs) is None


def test_the_second_output_and_a_later_batch_are_looked_at(tmp_path: Path) -> None:
    one, other = np.zeros(2), np.ones(2)
    assert difference([[one, one], [one, other]], [[one, one], [one, one]]) is not None


def test_real_outputs_do_not_depend_on_options_that_are_offered(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.onnx")
    feeds = {"x": np.random.default_rng(1).normal(size=(20, 1, 16)).astype(np.float32)}
    usual = outputs_of(path, SessionOptions(), feeds)
    assert len(usual) == BATCHES and usual[0][0].shape == (1, 3)
    for options in (SessionOptions(threads=2), SessionOptions(graph_optimization="disable", arena=False)):
        assert difference(outputs_of(path, options, feeds), usual) is None


def test_an_approximation_shows(tmp_path: Path) -> None:
    path = gelu(tmp_path / "net.onnx")
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 1, 16)).astype(np.float32)}
    rough = SessionOptions(session_config={"optimization.enable_gelu_approximation": "1"})
    found, usual = outputs_of(path, rough, feeds), outputs_of(path, SessionOptions(), feeds)
    assert "differs by up to" in (difference(found, usual) or "")


def test_inputs_that_do_not_fit_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot run it"):
        outputs_of(chain(tmp_path / "net.onnx"), SessionOptions(), {"x": np.zeros((1, 1, 5), np.float32)})


def test_branches_are_two_nodes_that_do_not_need_one_another(tmp_path: Path) -> None:
    assert has_branches(branched(tmp_path / "net.onnx"))
    assert not has_branches(chain(tmp_path / "net.onnx"))


def test_a_way_around_one_node_is_no_branch(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    assert not has_branches(save(tmp_path / "net.onnx", nodes, {}))


def test_what_is_computed_of_constants_alone_is_no_branch(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Neg", ["w"], ["minus"]),
        helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.ones(16, np.float32))),
        helper.make_node("Add", ["r", "minus"], ["s"]),
        helper.make_node("Mul", ["s", "c"], ["y"]),
    ]
    assert not has_branches(save(tmp_path / "net.onnx", nodes, {"w": np.ones(16)}))
