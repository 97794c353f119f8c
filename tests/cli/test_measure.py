"""`compare` and `latency` as commands: real sessions, real verdicts, exit codes, and what cannot be timed."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ..conftest import MakeNet  # noqa: TID252  tests are no package
from ..timing import odd_nets  # noqa: TID252  tests are no package
from .conftest import COMMAND, ENVIRONMENT, Edgekd


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Matrix products, one at a time and twelve: a difference that no noise hides."""
    folder = tmp_path_factory.mktemp("nets")
    return {
        "fast": odd_nets.dense(folder / "fast.onnx", width=192, layers=1),
        "slow": odd_nets.dense(folder / "slow.onnx", width=192, layers=12),
        "constant": odd_nets.constant(folder / "constant.onnx"),
        "small": odd_nets.dense(folder / "small.onnx"),
        "two": odd_nets.two_inputs(folder / "two.onnx"),
    }


def test_a_faster_file_passes_and_a_slower_one_fails(edgekd: Edgekd, nets: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    passed = edgekd("compare", nets["fast"], nets["slow"], "--out", out)
    assert passed.code == 0, passed.err
    assert "PASS fast on x86-1t (proxy: measured on this machine)" in passed.out
    found = json.loads(out.read_text())
    assert (found["edgekd_result"], found["kind"], found["gate"]["verdict"]) == (1, "compare", "pass")
    assert found["measured"]["ratio_p50_high"] < 1.05
    assert found["conditions"]["inputs"] == "random numbers"
    assert len(found["raw"]["cycles"]) >= 8
    failed = edgekd("compare", nets["slow"], nets["fast"], "--isolate", "--json")
    assert failed.code == 1, failed.err
    assert json.loads(failed.out)["conditions"]["isolated"] is True


def test_a_stored_result_is_judged_again_by_its_own_limits_or_others(
    edgekd: Edgekd, nets: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "result.json"
    assert edgekd("compare", nets["fast"], nets["slow"], "--out", out, "--json").code == 0
    assert edgekd("gate", out, "--model", nets["fast"], "--target", "x86-1t").code == 0
    assert edgekd("gate", out, "--limit", "max_regression=-0.99").code == 1
    assert "not of" in edgekd("gate", out, "--model", nets["slow"]).err
    nowhere = edgekd("gate", out, "--model", tmp_path / "nowhere.onnx")
    assert nowhere.code == 2 and "no such file" in nowhere.err
    unknown = edgekd("gate", out, "--limit", "max_regresion=0.1")
    assert unknown.code == 2 and "did you mean 'max_regression'?" in unknown.err
    found = json.loads(out.read_text())
    found["gate"]["verdict"] = "fail"
    out.write_text(json.dumps(found))
    edited = edgekd("gate", out)
    assert edited.code == 2 and "was it edited?" in edited.err


def test_a_budget_is_met_or_not_and_p99_is_not_told_from_few_samples(edgekd: Edgekd, nets: dict[str, Path]) -> None:
    met = edgekd("latency", nets["small"], "--max-p90-ms", "500", "--min-seconds", "0")
    assert met.code == 0, met.err
    assert "max_p50_ms" in met.out and "target" in met.out  # the target's own limit holds, too
    missed = edgekd("latency", nets["small"], "--max-p50-ms", "0.000001", "--json", "--min-seconds", "0")
    assert missed.code == 1
    found = json.loads(missed.out)
    assert found["base"]["path"].endswith("reference.onnx")
    assert found["measured"]["reference_p50_ms"] > 0
    if found["measured"]["n"] < 1000:
        assert found["measured"]["p99_ms"] is None


@pytest.mark.slow
def test_times_are_normalised_to_a_result_of_another_machine_that_was_not_edited(
    edgekd: Edgekd, nets: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "there.json"
    assert edgekd("latency", nets["small"], "--out", out, "--max-p50-ms", "500", "--min-seconds", "0").code == 0
    answer = edgekd("latency", nets["small"], "--normalise", out, "--max-p50-ms", "500", "--json", "--min-seconds", "0")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["conditions"]["normalised_to"]["cpu"] == found["environment"]["cpu_model"]
    assert (found["raw"]["floor"], 0.1 < found["raw"]["factor"] < 10) == (0.017, True)
    two = edgekd("latency", nets["small"], "--normalise", out, "--target", "x86-2t")
    assert two.code == 2 and "is of target x86-1t" in two.err
    edited = json.loads(out.read_text())
    edited["measured"]["reference_p50_ms"] /= 100
    out.write_text(json.dumps(edited))
    refused = edgekd("latency", nets["small"], "--normalise", out, "--max-p50-ms", "500")
    assert refused.code == 2 and "was it edited?" in refused.err


@pytest.mark.slow
def test_a_constant_output_never_passes(edgekd: Edgekd, nets: dict[str, Path]) -> None:
    for arguments in (("compare", nets["constant"], nets["slow"]), ("latency", nets["constant"], "--min-seconds", "0")):
        answer = edgekd(*arguments)
        assert answer.code == 1, answer.out
        assert "different inputs all get the very same output" in answer.out


@pytest.mark.slow
def test_one_sample_is_enough_to_notice_a_constant_output(
    edgekd: Edgekd, nets: dict[str, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "one.npz", x=np.ones((1, 4), np.float32))
    answer = edgekd("latency", nets["constant"], "--data", tmp_path / "one.npz", "--min-seconds", "0")
    assert answer.code == 1, answer.err


@pytest.mark.slow
def test_real_data_and_a_batch_are_used_as_they_are(edgekd: Edgekd, pixel_net: Path, npz_file: Path) -> None:
    answer = edgekd("compare", pixel_net, pixel_net, "--data", npz_file, "--batch-size", "8", "--max-regression=90%",
                    "--json")  # fmt: skip
    assert answer.code == 0, answer.err
    conditions = json.loads(answer.out)["conditions"]
    assert (conditions["inputs"], conditions["batch_size"]) == (str(npz_file), 8)
    large = edgekd("latency", pixel_net, "--data", npz_file, "--batch-size", "91")
    assert large.code == 2 and "larger than the data (90 samples" in large.err


@pytest.mark.slow
def test_open_sizes_are_asked_for_and_taken(edgekd: Edgekd, nets: dict[str, Path]) -> None:
    asked = edgekd("latency", nets["two"])
    assert asked.code == 2 and "say --shape tokens=1,?" in asked.err
    given = edgekd("latency", nets["two"], "--shape", "tokens=1,7", "--shape", "mask=1,7", "--min-seconds", "0")
    assert given.code == 0, given.err


@pytest.mark.slow
def test_accuracy_against_the_base_is_judged_on_the_same_samples_in_the_same_table(
    edgekd: Edgekd, make_net: MakeNet, npz_file: Path, tmp_path: Path
) -> None:
    good, bad = make_net(tmp_path / "good.onnx"), make_net(tmp_path / "bad.onnx", gain=-1.0)
    common = ("--data", npz_file, "--max-regression", "90%", "--limit", "max_top1_drop=0.05")
    same = edgekd("compare", good, good, *common, "--out", tmp_path / "same.json")
    assert same.code == 0, same.out
    assert "max_regression" in same.out and "max_top1_drop" in same.out
    worse = edgekd("compare", bad, good, *common, "--out", tmp_path / "worse.json")
    assert worse.code == 1
    found = json.loads((tmp_path / "worse.json").read_text())
    assert found["measured"]["top1_drop"] > 0.5 and found["measured"]["mcnemar_p"] < 1e-6
    assert {check["name"]: check["verdict"] for check in found["gate"]["checks"]} == {
        "max_regression": "pass",
        "max_top1_drop": "fail",
    }
    assert edgekd("gate", tmp_path / "worse.json").code == 1
    floors = edgekd("gate", tmp_path / "same.json", "--limit", "class_floors.top=0.999")
    assert floors.code in (1, 3)
    found["raw"]["accuracy"]["top1_drop"] = 0.0
    (tmp_path / "worse.json").write_text(json.dumps(found))
    assert edgekd("gate", tmp_path / "worse.json").code == 2


def test_a_limit_of_accuracy_needs_samples_and_one_of_time_has_its_own_option(
    edgekd: Edgekd, pixel_net: Path, npz_file: Path
) -> None:
    without = edgekd("compare", pixel_net, pixel_net, "--limit", "max_top1_drop=0.05")
    assert without.code == 2 and "--data" in without.err
    time = edgekd("compare", pixel_net, pixel_net, "--data", npz_file, "--limit", "max_p50_ms=5")
    assert time.code == 2 and "--max-regression" in time.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-regression", "5"), "expected a percentage below 100%"),
        (("--max-regression", "much"), "expected a percentage"),
        (("--shape", "x"), "expected NAME=SIZES"),
        (("--shape", "x=1,0"), "expected NAME=SIZES"),
        (("--shape", "z=1,4"), "there is no such input; known: x"),
        (("--target", "x86-1tt"), "x86-1t"),
        (("--data", "nothing.npz"), "nothing.npz"),
        (("--session", "nothing.json"), "nothing.json"),
        (("--metric", "instructions", "--isolate"), "remove"),
    ],
)
def test_bad_input_is_told_and_nothing_is_timed(
    edgekd: Edgekd, nets: dict[str, Path], arguments: tuple[str, ...], message: str
) -> None:
    answer = edgekd("compare", nets["small"], nets["small"], *arguments)
    assert answer.code == 2, answer.err
    assert message in answer.err and "Traceback" not in answer.err


def test_a_limit_that_does_not_fit_the_metric_is_told(edgekd: Edgekd, nets: dict[str, Path]) -> None:
    for arguments in (
        ("--metric", "instructions"),
        ("--metric", "instructions", "--max-instructions", "9", "--max-p50-ms", "1"),
        ("--max-instructions", "9"),
        ("--max-p90-ms", "0"),
        ("--max-p90-ms", "nan"),
        ("--metric", "instructions", "--max-instructions", "nan"),
        ("--metric", "instructions", "--max-instructions", "-5"),
        ("--min-seconds", "9", "--max-seconds", "2"),
        ("--timeout", "inf"),
    ):
        answer = edgekd("latency", nets["small"], *arguments)
        assert answer.code == 2, arguments


def test_files_of_other_batches_are_not_compared(edgekd: Edgekd, tmp_path: Path) -> None:
    one = odd_nets.dense(tmp_path / "one.onnx", shape=[1, 4])
    four = odd_nets.dense(tmp_path / "four.onnx", shape=[4, 4])
    answer = edgekd("compare", one, four)
    assert answer.code == 2 and "export both with one batch size" in answer.err


@pytest.mark.slow
def test_more_memory_than_the_target_has_is_refused_for_each_file_alone(edgekd: Edgekd, tmp_path: Path) -> None:
    greedy, small = odd_nets.greedy(tmp_path / "greedy.onnx", gigabytes=1), odd_nets.dense(tmp_path / "small.onnx")
    text = (
        edgekd("targets", "show", "x86-1t")
        .out.replace("4_294_967_296", "700_000_000")
        .replace("4294967296", "700000000")
    )
    (tmp_path / "tight.toml").write_text(text)
    answer = edgekd("compare", greedy, small, "--target", tmp_path / "tight.toml")
    assert answer.code == 4 and "668 MiB" in answer.err, answer.err


def test_a_target_whose_provider_is_not_installed_is_the_machine_s_fault(edgekd: Edgekd, nets: dict[str, Path]) -> None:
    answer = edgekd("compare", nets["small"], nets["small"], "--target", "cuda-gpu")
    assert answer.code == 4 and "CUDAExecutionProvider is not in this onnxruntime" in answer.err


@pytest.mark.slow
def test_an_unwritable_result_is_told_after_the_verdict_was_shown(
    edgekd: Edgekd, nets: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    answer = edgekd("compare", nets["fast"], nets["slow"], "--out", tmp_path / "file" / "r.json")
    assert answer.code == 4 and "cannot write" in answer.err
    assert "PASS fast" in answer.out


def test_a_network_that_hangs_ends_the_command_with_4(edgekd: Edgekd, tmp_path: Path) -> None:
    path = odd_nets.endless(tmp_path / "endless.onnx")
    answer = edgekd("latency", path, "--timeout", "1")
    assert answer.code == 4 and "the network hangs" in answer.err


@pytest.mark.slow
def test_two_at_once_warn_of_one_another(nets: dict[str, Path]) -> None:
    line = [*COMMAND, "compare", str(nets["small"]), str(nets["small"]), "--max-regression=-0.0", "--max-seconds", "8"]
    first = subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    with first:
        assert any("compare" in said for said in first.stderr)
        second = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        first.communicate()
    assert "another edgekd is timing on this machine" in second.stderr
