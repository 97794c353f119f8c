"""A file that lost too much is brought back within what may be lost, one that did not only gets closer to fp32."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.kernels import profile
from edgekd.quantize import repair as module
from edgekd.quantize.bench import Bench, Candidate
from edgekd.quantize.prepare import prepare
from edgekd.quantize.probe import Probes
from edgekd.quantize.repair import closer, repair
from edgekd.quantize.scheme import Scheme
from edgekd.quantize.wanted import Wanted

from .recover.networks import run
from .recover.trained import depthwise_net, pixels, uneven
from .small_nets import CPU, answers

TENSOR = Scheme(per_channel=False, weights="safe")
MakeBench = Callable[..., Bench]


@dataclass(frozen=True)
class Trained:
    """A depthwise network, trained in a second, and pictures with their labels."""

    model: onnx.ModelProto
    x: np.ndarray
    y: np.ndarray


@pytest.fixture(scope="module")
def trained(draw: Callable[..., Any]) -> Trained:
    train, test = draw(600, classes=4, size=12), draw(400, classes=4, size=12, seed=1)
    return Trained(depthwise_net(train.inputs, train.labels, epochs=4), pixels(test.inputs), test.labels)


def clipped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Limits so wide that they change nothing, instead of Relu: they forbid equalisation."""
    limits = {"zero": np.array(0, np.float32), "high": np.array(1e6, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in limits.items())
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(limits)
    return model


@pytest.fixture
def make(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBench:
    """A bench with the file of a scheme on it, as fast as fp32 by the clock of the tests; int8 saves 1 ms a layer."""
    layers = [*(f"conv{index}" for index in range(5)), "dense"]
    monkeypatch.setattr(module, "gains_ms", lambda *files: dict.fromkeys(layers, 1.0))

    def make(model: onnx.ModelProto, scheme: Scheme, *, budget: float = 600) -> Bench:
        (tmp_path / "bench").mkdir()
        onnx.save(model, str(tmp_path / "fp32.onnx"))
        prepared = prepare(tmp_path / "fp32.onnx", tmp_path)
        probes = Probes(prepared.path, trained.x, CPU, labels=trained.y)
        bench = Bench(
            prepared.path,
            trained.x,
            probes,
            CPU,
            input_name=prepared.input_name,
            metadata={},
            folder=tmp_path / "bench",
            budget_seconds=budget,
            max_memory_bytes=None,
            listener=lambda progress: None,
        )
        bench.seconds_a_probe = 0.0
        first = bench.build("int8-u8s8", scheme, ratio=1.0)
        assert isinstance(first, Candidate), first
        bench.keep(first)
        bench.note("variants", "int8-u8s8", first.sentence(), kept=True, reason="its first file")
        return bench

    return make


def wanted(tolerable_drop: float, **limits: float) -> Wanted:
    return Wanted(variants=("int8-u8s8",), tolerable_drop=tolerable_drop, **limits)  # type: ignore[arg-type]


def lost(bench: Bench, trained: Trained) -> float:
    """The accuracy that the kept file really gives away."""
    mine, fp32 = (
        float((answers(path, trained.x).argmax(axis=1) == trained.y).mean())
        for path in (bench.best["int8-u8s8"].path, bench.prepared)
    )
    return fp32 - mine


def test_uneven_channels_and_wide_limits_change_nothing(trained: Trained) -> None:
    hard = clipped(uneven(trained.model))
    np.testing.assert_allclose(run(hard, trained.x)[0], run(trained.model, trained.x)[0], atol=1e-3)


def test_a_file_that_collapsed_is_brought_back_by_equalisation_with_every_layer_in_int8(
    make: MakeBench, trained: Trained
) -> None:
    bench = make(uneven(trained.model), TENSOR)
    before = lost(bench, trained)
    assert before > 0.2
    repair(bench, "int8-u8s8", wanted(0.01))
    found = bench.best["int8-u8s8"]
    assert lost(bench, trained) == found.probe.drop <= 0.01
    assert found.scheme is not None and found.scheme.equalised and found.scheme.exclude == ()
    assert {node.op_type for node in profile(found.path, trained.x, CPU, runs=1).nodes} & {"QLinearConv"}
    (last,) = [decision for decision in bench.decisions if decision.reason == "within what may be lost"]
    assert (last.stage, last.kept) == ("repair", True)
    assert "cross-layer equalisation" in last.tried
    assert f"of what may be lost, {before / 0.008:.2f} before" in bench.decisions[1].reason


def test_where_nothing_else_helps_few_layers_go_back_to_fp32_and_run_there(make: MakeBench, trained: Trained) -> None:
    bench = make(clipped(uneven(trained.model)), TENSOR)
    assert lost(bench, trained) > 0.1
    repair(bench, "int8-u8s8", wanted(0.01))
    found = bench.best["int8-u8s8"]
    assert lost(bench, trained) == found.probe.drop <= 0.01
    assert found.scheme is not None and not found.scheme.equalised
    assert 0 < len(found.scheme.exclude) < 6
    ran = {node.name: node.kind for node in profile(found.path, trained.x, CPU, runs=1).nodes}
    assert {ran[name] for name in found.scheme.exclude} == {"float"}
    assert f"fp32: {', '.join(found.scheme.exclude)}" in found.sentence()
    assert "within what may be lost" in [decision.reason for decision in bench.decisions]


def test_what_is_good_enough_is_only_made_closer(make: MakeBench, trained: Trained) -> None:
    bench = make(trained.model, TENSOR)
    before = bench.best["int8-u8s8"].probe.sqnr_db
    repair(bench, "int8-u8s8", wanted(0.5))
    assert bench.decisions[1].tried == "cross-layer equalisation"
    assert len(bench.decisions) == 3
    found = bench.best["int8-u8s8"]
    assert found.scheme is not None and found.scheme.exclude == ()
    assert found.probe.sqnr_db >= before
    for decision in bench.decisions[1:]:
        assert "dB" in decision.reason
        assert decision.kept == (float(decision.reason.split()[0]) >= 0.5)
    assert found.probe.ratio == 1.0  # the same kernels


def test_a_network_without_pairs_of_layers_says_so(make: MakeBench, trained: Trained) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(trained.model)
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Sigmoid"
    bench = make(model, TENSOR)
    repair(bench, "int8-u8s8", wanted(0.9))
    first = bench.decisions[1]
    assert not first.kept and first.reason.startswith("no two layers whose channels could be matched"), first


def test_a_file_that_is_too_far_from_fp32_for_the_gate_is_repaired_too(make: MakeBench, trained: Trained) -> None:
    bench = make(clipped(uneven(trained.model)), TENSOR)
    before = bench.best["int8-u8s8"].probe.sqnr_db
    repair(bench, "int8-u8s8", wanted(1.0, smallest_sqnr_db=before + 6))
    found = bench.best["int8-u8s8"]
    assert found.probe.sqnr_db >= before + 6
    assert found.scheme is not None and found.scheme.exclude


def test_fp32_layers_may_cost_no_more_than_int8_saves(
    make: MakeBench, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(clipped(uneven(trained.model)), TENSOR)
    monkeypatch.setattr(module, "gains_ms", lambda *files: {"conv1": -1.0, "dense": 0.5})
    repair(bench, "int8-u8s8", wanted(0.01))
    scheme = bench.best["int8-u8s8"].scheme
    assert scheme is not None and scheme.exclude == ()
    assert any(decision.tried == "fp32 layers" and not decision.kept for decision in bench.decisions)
    assert "closer, though more is lost than may be" in [decision.reason for decision in bench.decisions]


def test_without_time_nothing_is_tried(make: MakeBench, trained: Trained) -> None:
    bench = make(trained.model, TENSOR, budget=1e-9)
    repair(bench, "int8-u8s8", wanted(0.9))
    assert len(bench.decisions) == 1 and bench.out_of_time


def test_only_half_a_decibel_more_is_closer(make: MakeBench, trained: Trained) -> None:
    bench = make(trained.model, TENSOR)
    current = bench.best["int8-u8s8"]
    for gain, kept in ((0.4, False), (0.6, True)):
        found = bench.build("int8-u8s8", TENSOR, ratio=1.0)
        assert isinstance(found, Candidate)
        better = replace(found, probe=replace(found.probe, sqnr_db=current.probe.sqnr_db + gain))
        closer(bench, "ranges", better, current, "mse")
        assert bench.decisions[-1].kept is kept
        assert (bench.best["int8-u8s8"] is better) is kept
        assert better.path.exists() is kept
    closer(bench, "ranges", "could not be built: no", current, "mse")
    assert (bench.decisions[-1].kept, bench.decisions[-1].reason) == (False, "could not be built: no")
