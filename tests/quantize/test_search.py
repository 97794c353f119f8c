"""The search leaves the best file of each variant and the story of it, whatever the time, the network or Ctrl-C."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError, Interrupted
from edgekd.progress import Progress
from edgekd.quantize import Built, Searched, Wanted, search
from edgekd.quantize.portable import layers
from edgekd.quantize.probe import Probe, Probes
from edgekd.quantize.scheme import Saturation
from edgekd.recipe import ALL_PRECISIONS
from edgekd.session import facts, open_session

from .small_nets import CPU, Node, answers, decibels, mixed, normal, samples, save

VARIANTS = tuple(name for name in ALL_PRECISIONS if name != "fp32")
X = samples(64)
SECONDS = 6.0
"""Of budget for everything: four times what it takes on an idle machine; a busy one may run out of it."""
QUICK = 0.05
"""Seconds of budget that make a probe take a millisecond."""


class Steady(Probes):
    """All files are twice as fast as fp32, so what is kept does not depend on the machine."""

    def probe(self, candidate: Path, *, seconds: float, ratio: float | None = None) -> Probe:
        return super().probe(candidate, seconds=0, ratio=0.5)


class Counted(Probes):
    """A file takes as long as it has nodes."""

    def probe(self, candidate: Path, *, seconds: float, ratio: float | None = None) -> Probe:
        return super().probe(candidate, seconds=0, ratio=len(onnx.load(str(candidate)).graph.node) / 100)


def module() -> Any:
    import sys

    return sys.modules["edgekd.quantize.search"]  # the package has the function under that name


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module(), "Probes", Steady)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module(), "Probes", Counted)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed(tmp_path_factory.mktemp("net") / "fp32.onnx", metadata={"author": "me"})


@pytest.fixture(scope="module")
def found(net: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Searched, Path]:
    """Everything, as it really goes."""
    folder = tmp_path_factory.mktemp("out") / "new"
    return search(net, X, CPU, wanted=Wanted(variants=VARIANTS, budget_seconds=SECONDS), folder=folder), folder


def look(net: Path, folder: Path, *variants: str, x: np.ndarray = X, **more: Any) -> Searched:
    """A search of one variant for the seconds that it takes."""
    listener = more.pop("listener", lambda progress: None)
    wanted = Wanted(variants=variants or ("int8-u8s8",), **{"budget_seconds": 30.0, **more})
    return search(net, x, CPU, wanted=wanted, folder=folder, listener=listener)


def only(searched: Searched) -> Built:
    (built,) = searched.built
    return built


def tries(searched: Searched, stage: str) -> list[bool]:
    return [decision.kept for decision in searched.decisions if decision.stage == stage]


def test_every_variant_has_its_file_or_its_reason_and_nothing_else_stays(found: tuple[Searched, Path]) -> None:
    searched, folder = found
    assert tuple(built.name for built in searched.built) == VARIANTS
    there = [built for built in searched.built if built.path]
    assert {path.name for path in folder.iterdir()} == {f"{built.name}.onnx" for built in there}
    for built in there:
        raw = (folder / f"{built.name}.onnx").read_bytes()
        assert (built.size_bytes, built.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
        assert built.description and not built.reason
    lost = {built.name: built for built in searched.built if not built.path}
    assert lost.keys() == {"int8-weight-only", "int4-weight-only"}
    assert all("no MatMul or Gemm" in built.reason and built.sha256 is None for built in lost.values())
    assert (searched.complete or searched.seconds > SECONDS) and searched.notes == ()


def test_every_file_runs_near_fp32_and_keeps_what_the_network_says_of_itself(
    found: tuple[Searched, Path], net: Path
) -> None:
    searched, folder = found
    for built in searched.built:
        if built.path is not None:
            path = folder / built.path
            assert facts(open_session(path, CPU), path).input_name == "x"
            assert [(entry.key, entry.value) for entry in onnx.load(str(path)).metadata_props] == [("author", "me")]
            assert decibels(answers(net, X[:1]), answers(path, X[:1])) > 20


def test_all_that_was_tried_is_told(found: tuple[Searched, Path]) -> None:
    searched, _ = found
    first = [decision for decision in searched.decisions if decision.stage == "variants" and decision.tried != "tune"]
    assert [decision.variant for decision in first] == list(VARIANTS)
    for decision in searched.decisions:
        assert decision.tried and decision.reason and decision.seconds >= 0
        assert decision.ratio is None or (decision.ratio > 0 and decision.sqnr_db is not None)
    assert sum(decision.seconds for decision in searched.decisions) <= searched.seconds + 1e-6


@pytest.mark.usefixtures("steady")
def test_the_fastest_variant_is_tried_in_every_way_and_the_closest_file_of_equals_is_kept(
    net: Path, tmp_path: Path
) -> None:
    searched = look(net, tmp_path)
    stages = dict.fromkeys(decision.stage for decision in searched.decisions)
    assert list(stages) == ["variants", "nodes", "granularity", "ranges", "repair"]
    assert len(tries(searched, "ranges")) == 3
    assert tries(searched, "granularity") == [False]  # no faster
    assert not any(tries(searched, "nodes"))
    closest = max(d.sqnr_db for d in searched.decisions if d.kept and d.sqnr_db is not None)
    mine = decibels(answers(net, X), answers(tmp_path / "int8-u8s8.onnx", X))
    assert mine == pytest.approx(closest, abs=1e-6)


def test_what_stays_slower_than_fp32_is_not_made_closer_to_it(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Probes):
        def probe(self, candidate: Path, *, seconds: float, ratio: float | None = None) -> Probe:
            return super().probe(candidate, seconds=0, ratio=1.2)

    monkeypatch.setattr(module(), "Probes", Slow)
    searched = look(net, tmp_path)
    assert not tries(searched, "ranges") and not tries(searched, "repair")
    assert only(searched).path == "int8-u8s8.onnx"


@pytest.mark.usefixtures("steady")
def test_what_the_recipe_decided_is_not_tried(net: Path, tmp_path: Path) -> None:
    searched = look(net, tmp_path, method="entropy", per_channel=False)
    assert not tries(searched, "ranges") and not tries(searched, "granularity")
    assert "a scale a tensor" in only(searched).description and "entropy ranges" in only(searched).description


@pytest.mark.usefixtures("counted")
def test_a_faster_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("Transpose", ["x"], "turned", {"perm": [0, 3, 1, 2]}),
        ("Cast", ["turned"], "floats", {"to": onnx.TensorProto.FLOAT}),
        ("Div", ["floats", "scale"], "scaled"),
        ("Conv", ["scaled", "w"], "conv", {"pads": [1] * 4}),
        ("GlobalAveragePool", ["conv"], "mean"),
        ("Flatten", ["mean"], "y"),
    ]
    weights = {"scale": np.float32(255), "w": normal(6, 3, 3, 3)}
    pixels = save(tmp_path / "pixels.onnx", nodes, weights, ["batch", 8, 8, 3], kind=onnx.TensorProto.UINT8)
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    searched = look(pixels, tmp_path / "out", x=images)
    assert tries(searched, "preprocessing") == [True]
    path = tmp_path / "out" / "int8-u8s8.onnx"
    assert not {"Cast", "Div"} & {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "preprocessing folded into the first layer" in only(searched).description
    assert decibels(answers(pixels, images), answers(path, images)) > 20


@pytest.mark.usefixtures("steady")
def test_one_variant_for_each_pair_of_types_is_tuned_and_the_others_say_why_not(net: Path, tmp_path: Path) -> None:
    searched = look(net, tmp_path, "int8-u8s8", "int8-u8s8-7bit", "int8-u8u8")
    closeness = {d.variant: d.sqnr_db or 0.0 for d in searched.decisions if d.reason == "its first file"}
    near, far = sorted(("int8-u8s8", "int8-u8s8-7bit"), key=lambda name: -closeness[name])
    assert {decision.variant for decision in searched.decisions if decision.stage == "ranges"} == {near, "int8-u8u8"}
    (refused,) = [decision for decision in searched.decisions if decision.tried == "tune"]
    assert refused.variant == far
    assert refused.reason == f"not tuned: {near} runs the same kernels, as close to fp32"


@pytest.mark.parametrize(
    ("saturation", "words"),
    [
        ("safe", "headroom a channel"),
        ("7bit", "7-bit weights where a layer could saturate"),
        ("u8u8", "uint8 weights where a layer could saturate"),
    ],
)
def test_a_portable_file_has_no_layer_that_saturates(
    saturation: Saturation, words: str, net: Path, tmp_path: Path
) -> None:
    built = only(look(net, tmp_path, saturation=saturation, budget_seconds=QUICK))
    assert words in built.description
    assert built.saturates == ()
    assert not [layer for layer in layers(tmp_path / "int8-u8s8.onnx", pairing="kernel") if layer.can_saturate]


@pytest.mark.parametrize("more", [{"portable": False}, {"saturation": "session-key"}])
def test_a_plain_file_names_the_layers_that_can_saturate(more: dict[str, Any], net: Path, tmp_path: Path) -> None:
    built = only(look(net, tmp_path, budget_seconds=QUICK, **more))
    assert "saturat" not in built.description and "7-bit" not in built.description
    assert set(built.saturates) <= {"first", "hidden", "last"} and "first" in built.saturates


def test_a_file_that_can_saturate_is_not_built_where_the_recipe_refuses_it(net: Path, tmp_path: Path) -> None:
    searched = look(net, tmp_path, "int8-u8s8", "int8-u8u8", saturation="refuse", budget_seconds=30)
    plain, unsigned = searched.built
    assert plain.path is None and unsigned.path == "int8-u8u8.onnx"
    assert plain.reason.startswith("not portable: ") and "can saturate on AVX2, such as first" in plain.reason
    assert [d.kept for d in searched.decisions if d.variant == "int8-u8s8"] == [False]
    assert [path.name for path in tmp_path.iterdir()] == ["int8-u8u8.onnx"]


def test_without_time_the_first_variant_is_built_and_the_others_say_so(net: Path, tmp_path: Path) -> None:
    searched = look(net, tmp_path, "int8-u8s8", "int8-u8u8", "fp16", budget_seconds=0.0)
    assert [built.path for built in searched.built] == ["int8-u8s8.onnx", None, None]
    assert searched.built[1].reason == "not built: the time was up"
    assert not searched.complete


def stop_at(note: str) -> Callable[[Progress], None]:
    """Presses Ctrl-C when the search says that."""

    def listener(progress: Progress) -> None:
        if progress.note.startswith(note):
            raise KeyboardInterrupt

    return listener


def test_ctrl_c_keeps_the_best_so_far_and_names_it(net: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stop:
        look(net, tmp_path, "int8-u8s8", "fp16", listener=stop_at("fp16"))
    message = str(stop.value)
    assert message.startswith("interrupted; the best so far is ")
    assert f"{tmp_path / 'int8-u8s8.onnx'} (uint8 activations" in message
    assert message.endswith("times fp32's latency, not validated")
    assert [path.name for path in tmp_path.iterdir()] == ["int8-u8s8.onnx"]
    assert decibels(answers(net, X), answers(tmp_path / "int8-u8s8.onnx", X)) > 20


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    "note", ["int8-u8s8: mse", "int8-u8s8: granularity", "int8-u8s8: cross-layer", "int8-u8s8: bias"]
)
def test_ctrl_c_at_any_later_point_keeps_a_whole_file_too(note: str, net: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=r"int8-u8s8\.onnx"):
        look(net, tmp_path, listener=stop_at(note))
    assert [path.name for path in tmp_path.iterdir()] == ["int8-u8s8.onnx"]
    assert decibels(answers(net, X), answers(tmp_path / "int8-u8s8.onnx", X)) > 20


def test_ctrl_c_before_the_first_variant_says_that_fp32_is_what_there_is(net: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="before the first variant was built; fp32 is what there is"):
        look(net, tmp_path, listener=stop_at("int8-u8s8"))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed(net: Path, tmp_path: Path) -> None:
    (tmp_path / ".building-abc").mkdir()
    (tmp_path / ".building-abc" / "half.onnx").write_bytes(b"half")
    (tmp_path / "mine.txt").write_text("mine")
    look(net, tmp_path, budget_seconds=QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"int8-u8s8.onnx", "mine.txt"}


def test_constant_data_is_refused_before_anything_is_written(net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"20 sample\(s\), all equal"):
        look(net, tmp_path / "out", x=np.repeat(X[:1], 20, axis=0))
    assert not (tmp_path / "out").exists()


def test_a_quantized_network_is_refused(found: tuple[Searched, Path], tmp_path: Path) -> None:
    for name in ("int8-u8s8", "int8-dynamic"):
        with pytest.raises(BadInputError, match=r"already quantized .*; bring its fp32 original"):
            look(found[1] / f"{name}.onnx", tmp_path)


def test_what_was_done_before_is_noted(tmp_path: Path) -> None:
    searched = look(mixed(tmp_path / "old.onnx", opset=11), tmp_path / "out", budget_seconds=QUICK)
    assert searched.notes == ("converted from opset 11 to 13, the oldest with one scale a channel",)


def test_a_network_of_a_fixed_batch_is_searched_in_pieces_of_it(
    make_net: Callable[..., Path], draw: Callable[..., Any], tmp_path: Path
) -> None:
    images = draw(60).inputs  # the last piece is filled up
    fixed = make_net(tmp_path / "fixed.onnx", batch=8)
    built = only(look(fixed, tmp_path / "out", x=images, budget_seconds=QUICK))
    assert built.path is not None, built.reason
    same = answers(tmp_path / "out" / built.path, images).argmax(axis=1) == answers(fixed, images).argmax(axis=1)
    assert same.mean() > 0.9


def test_labels_say_what_is_lost(net: Path, tmp_path: Path) -> None:
    wanted, labels = Wanted(variants=("int8-u8s8",), budget_seconds=QUICK), answers(net, X).argmax(axis=1)
    searched = search(net, X, CPU, wanted=wanted, folder=tmp_path, labels=labels)
    mine = answers(tmp_path / "int8-u8s8.onnx", X).argmax(axis=1)
    assert searched.decisions[0].drop == pytest.approx(1 - (mine == labels).mean())


def test_a_product_that_no_weights_keep_from_saturating_stays_in_fp32(tmp_path: Path) -> None:
    """Batched weights have no channels for ONNX Runtime's quantizer, so no headroom can be given to them."""
    generator = np.random.default_rng(0)
    weight = generator.choice([-1.0, 1.0], (4, 64, 64)).astype(np.float32)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 8, 64]) for name in ("x", "y"))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="heavy"), helper.make_node("Relu", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "batched", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(tmp_path / "fp32.onnx"))
    samples = generator.normal(size=(40, 4, 8, 64)).astype(np.float32)
    for portable, exclude in ((True, "fp32: heavy"), (False, "")):
        folder = tmp_path / str(portable)
        wanted = Wanted(variants=("int8-u8s8",), portable=portable, budget_seconds=QUICK)
        (built,) = search(tmp_path / "fp32.onnx", samples, CPU, wanted=wanted, folder=folder).built
        assert built.path is not None and exclude in built.description
        assert (built.saturates == ()) is portable
