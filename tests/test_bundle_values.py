"""A bundle of a network that is no classifier: maps, sequences, embeddings, several outputs, sizes that vary."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd import bundle
from edgekd.bundle.manifest import MANIFEST, read_manifest, seal
from edgekd.bundle.tolerance import difference, tolerance
from edgekd.errors import BadInputError
from edgekd.session import SessionOptions

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def network(path: Path, nodes: list[onnx.NodeProto], outputs: dict[str, int], *, batch: int | str = "batch") -> Path:
    """(batch, 3, height, width) float32 in; outputs: name -> type, of any shape."""
    shape = [batch, 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


SIGMOID = helper.make_node("Sigmoid", ["x"], ["heat"])
ARGMAX = helper.make_node("ArgMax", ["x"], ["place"], axis=1, keepdims=0)
MEAN = helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0)
WORD = helper.make_node("Cast", ["x"], ["word"], to=TensorProto.STRING)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A map, words that no bundle can compare, and whole numbers."""
    outputs = {"heat": FLOAT, "word": TensorProto.STRING, "place": INT64}
    return network(tmp_path / "maps.onnx", [SIGMOID, WORD, ARGMAX], outputs)


def images(count: int = 5, *, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, *size)).astype(np.float32)


def write(model: Path, **more: Any) -> tuple[Path, bundle.Bundled]:
    """The bundle of a model beside it."""
    usual = {"variant": "fp32", "options": SessionOptions(), "classes": (), "target_toml": "", "reports": []}
    folder = model.with_name("bundle")
    return folder, bundle.write(folder, model=model, **{**usual, "inputs": images(), "isa": "avx2", **more})


def verdicts(folder: Path) -> dict[str, bool | None]:
    """Check -> passed, of those that ran the network."""
    return {check.name: check.passed for check in bundle.verify(folder).checks[3:]}


def change(folder: Path, key: str, index: tuple[int, ...], value: float) -> None:
    """Expect something else of one number, with all hashes right."""
    with np.load(folder / "samples.npz") as samples:
        arrays = dict(samples)
    arrays[key][index] = value
    np.savez(folder / "samples.npz", **arrays)
    allowed = read_manifest(folder).tolerance
    (folder / MANIFEST).unlink()  # it is not among the files that it lists
    seal(folder, variant="fp32", samples=5, isa="avx2", tolerance=allowed)


def infer(folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """infer.py's answer and its lines."""
    command = [sys.executable, "-I", str(folder / "infer.py"), *arguments]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_all_outputs_of_numbers_are_kept_and_compared(detector: Path) -> None:
    folder, made = write(detector)
    with np.load(folder / "samples.npz") as samples:
        np.testing.assert_allclose(samples["outputs"], 1 / (1 + np.exp(-images())), atol=1e-6)
        np.testing.assert_array_equal(samples["outputs_1"], images().argmax(axis=1))
        assert samples["outputs_1"].dtype == np.int64
    assert [limit["measure"] for limit in made.tolerance["outputs"]] == ["largest", "unequal"]
    assert verdicts(folder) == {"outputs": True, "outputs 2": True}


def test_a_network_without_classes_has_no_labels_and_its_readme_calls_it_none(detector: Path) -> None:
    folder, _ = write(detector)
    assert not (folder / "labels.json").exists()
    assert "fp32 network, 2 output(s)" in (folder / "README.txt").read_text()
    outputs = json.loads((folder / "session.json").read_text())["outputs"]
    assert outputs == [{"name": "heat", "kind": "values"}, {"name": "place", "kind": "values"}]


@pytest.mark.parametrize(("key", "failing"), [("outputs", "outputs"), ("outputs_1", "outputs 2")])
def test_one_number_of_any_output_that_differs_fails(detector: Path, key: str, failing: str) -> None:
    folder, _ = write(detector)
    change(folder, key, (3, 0, 2) if key == "outputs_1" else (3, 0, 2, 1), 7)
    assert [name for name, passed in verdicts(folder).items() if not passed] == [failing]
    assert infer(folder)[0] == 1


def test_infer_names_how_far_each_output_is_and_shows_and_keeps_those_of_one_sample(
    detector: Path, tmp_path: Path
) -> None:
    folder, _ = write(detector)
    code, lines = infer(folder)
    assert code == 0
    assert lines[4] == {"sample": 4, "difference": {"heat": 0.0, "place": 0.0}}
    np.save(tmp_path / "x.npy", images()[2])
    code, lines = infer(folder, str(tmp_path / "x.npy"), str(tmp_path / "out.npz"))
    heat = 1 / (1 + np.exp(-images()[2]))
    assert (code, lines[0]["shape"], lines[1]["dtype"]) == (0, [3, 4, 6], "int64")
    assert (lines[0]["min"], lines[0]["max"]) == pytest.approx((heat.min(), heat.max()), abs=1e-6)
    with np.load(tmp_path / "out.npz") as kept:
        np.testing.assert_allclose(kept["heat"], heat, atol=1e-6)
        np.testing.assert_array_equal(kept["place"], images()[2].argmax(axis=0))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_map_of_a_fixed_batch_is_bundled_too(batch: int, tmp_path: Path) -> None:
    folder, _ = write(network(tmp_path / "fixed.onnx", [SIGMOID], {"heat": FLOAT}, batch=batch))
    assert verdicts(folder) == {"outputs": True}
    assert infer(folder)[0] == 0


def test_a_sequence_with_time_before_the_batch_is_kept_with_one_row_a_sample(tmp_path: Path) -> None:
    steps = [MEAN, helper.make_node("Transpose", ["mean"], ["turned"], perm=[1, 0])]
    steps.append(helper.make_node("Unsqueeze", ["turned", "two"], ["y"]))  # (3, batch, 1)
    steps.insert(0, helper.make_node("Constant", [], ["two"], value_ints=[2]))
    folder, _ = write(network(tmp_path / "net.onnx", steps, {"y": FLOAT}))
    with np.load(folder / "samples.npz") as samples:
        np.testing.assert_allclose(samples["outputs"], images().mean(axis=(2, 3))[..., None], atol=1e-6)
    assert verdicts(folder) == {"outputs": True}
    assert infer(folder)[0] == 0


def test_an_embedding_is_values_and_becomes_a_classifier_by_the_names_of_its_classes(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx", [MEAN], {"mean": FLOAT})
    folder, made = write(model)
    assert made.tolerance["top1_misses"] == 0  # its greatest number is compared, as accuracy does
    assert not (folder / "labels.json").exists()
    assert set(infer(folder)[1][0]) == {"sample", "difference"}
    folder, _ = write(model, classes=("a", "b", "c"))
    assert json.loads((folder / "labels.json").read_text()) == ["a", "b", "c"]
    assert set(infer(folder)[1][0]) == {"label", "probability", "max_difference"}


def test_the_classes_of_a_segmentation_are_labels_and_other_numbers_of_them_are_refused(detector: Path) -> None:
    folder, _ = write(detector, classes=("road", "sky", "tree"))
    assert json.loads((folder / "labels.json").read_text()) == ["road", "sky", "tree"]
    assert verdicts(folder) == {"outputs": True, "outputs 2": True}
    with pytest.raises(BadInputError, match="3 outputs for 2 classes"):
        write(detector, classes=("road", "sky"))


def test_large_samples_are_fewer_and_spread_over_all(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["edgekd.bundle.write"], "SAMPLES_BYTES", 3 * (72 * 8 + 24 * 8) + 1
    )  # x, heat, place
    folder, made = write(detector)
    assert made.samples == 3
    with np.load(folder / "samples.npz") as samples:
        np.testing.assert_array_equal(samples["inputs"], images()[[0, 2, 4]])
    monkeypatch.setattr(sys.modules["edgekd.bundle.write"], "SAMPLES_BYTES", 1)
    assert write(detector)[1].samples == 1


def test_of_outputs_whose_size_depends_on_what_was_found_those_like_the_first_are_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["up"]), helper.make_node("NonZero", ["up"], ["found"])]
    inputs = np.zeros((4, 3, 2, 2), np.float32)
    inputs[0, 0, 0, 0] = inputs[3, 1, 1, 1] = 1
    folder, made = write(network(tmp_path / "net.onnx", nodes, {"found": INT64}), inputs=inputs)
    assert made.samples == 2
    with np.load(folder / "samples.npz") as samples:
        np.testing.assert_array_equal(samples["inputs"], inputs[[0, 3]])
    assert verdicts(folder) == {"outputs": True}
    change(folder, "inputs", (1, 2, 0, 0), 1.0)
    assert verdicts(folder) == {"outputs": False}


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx", [helper.make_node("Log", ["x"], ["y"])], {"y": FLOAT})
    with pytest.raises(BadInputError, match="not finite"):
        write(model)


def test_the_measures_by_hand() -> None:
    expected = np.zeros((2, 2, 2), np.float32)
    outputs = expected.copy()
    outputs[1, 0] = (3, 4)
    found = {name: difference(name, outputs, expected) for name in ("largest", "rms", "unequal")}
    assert found == {"largest": 4.0, "rms": 2.5, "unequal": 0.5}


@pytest.mark.parametrize(
    ("output", "integer", "expected"),
    [
        (np.array([[-1.0, 3.0]]), False, ("largest", 1e-3 + 4e-3)),
        (np.array([[-1.0, 3.0]]), True, ("largest", 1e-3 + 0.2)),
        (np.array([[0.01, 0.02]]), False, ("largest", 2e-5 + 1e-5)),
        (np.array([[[0.0, 1.0]]]), True, ("rms", 1e-3 + 0.01)),
        (np.array([[[0.0, 1.0]]]), False, ("largest", 1e-3 + 1e-3)),
        (np.array([[5, 7]]), True, ("unequal", 0.05)),
        (np.array([[True, False]]), False, ("unequal", 1e-3)),
    ],
)
def test_what_is_allowed_follows_from_the_file_and_the_range_of_the_output(
    output: np.ndarray, integer: bool, expected: tuple[Any, float]
) -> None:
    (limit,) = tolerance([output], given=None, integer=integer).outputs
    assert (limit.measure, limit.allowed) == (expected[0], pytest.approx(expected[1]))
