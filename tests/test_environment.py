"""Faults and fingerprints of made-up environments, and this machine described as it is."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest

from edgekd.environment import Environment, Fault, describe, faults, fingerprint, installed, runs, thread_faults

TRAIN = {
    "torch": "2.6.0",
    "onnxscript": "0.5",
    "safetensors": "0.4.3",
    "pillow": "10.0",
    "jinja2": "3.1",
    "matplotlib": "3.8",
}
SOUND = Environment(
    python="3.12.3",
    platform="Linux-6.8-x86_64",
    machine="x86_64",
    cpu_model="Some CPU",
    cpu_flags=("avx2", "avx512f", "avx512_vnni"),
    isa="avx512_vnni",
    cores_total=4,
    cores_granted=4,
    cgroup_quota=None,
    memory_bytes=8 * 2**30,
    memory_available_bytes=4 * 2**30,
    governor="performance",
    packages={"edgekd": "0.1.0", "numpy": "2.0", "onnx": "1.18", "onnxruntime": "1.20.0"} | TRAIN,
    providers=("CPUExecutionProvider",),
)


def without(*names: str, **added: str) -> dict[str, str]:
    kept = {name: version for name, version in SOUND.packages.items() if name not in names}
    return kept | {name.replace("_", "-"): version for name, version in added.items()}


def only_fault(env: Environment) -> Fault:
    (fault,) = faults(env)
    return fault


def test_a_sound_environment_has_no_faults() -> None:
    assert faults(SOUND) == ()


def test_both_onnxruntime_and_onnxruntime_gpu_is_an_error_with_both_commands() -> None:
    env = replace(SOUND, packages=without(onnxruntime_gpu="1.21.0"), providers=("CUDAExecutionProvider",))
    fault = only_fault(env)
    assert fault.severity == "error"
    assert fault.found.startswith("onnxruntime 1.20.0 and onnxruntime-gpu 1.21.0")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in fault.fix
    assert '"edgekd[cpu]"' in fault.fix


def test_no_onnxruntime_is_an_error() -> None:
    fault = only_fault(replace(SOUND, packages=without("onnxruntime"), providers=()))
    assert (fault.severity, fault.name) == ("error", "no ONNX Runtime")
    assert 'pip install "edgekd[cpu]"' in fault.fix


def test_an_onnxruntime_that_does_not_load_is_an_error() -> None:
    fault = only_fault(replace(SOUND, providers=()))
    assert (fault.severity, fault.found) == ("error", "onnxruntime 1.20.0 is installed but does not load")
    assert fault.fix == "pip install --force-reinstall onnxruntime==1.20.0"


def test_another_build_of_onnxruntime_counts_as_one() -> None:
    assert faults(replace(SOUND, packages=without("onnxruntime"))) == ()


def test_missing_torch_is_a_warning_told_once() -> None:
    fault = only_fault(replace(SOUND, packages=without(*TRAIN)))
    assert (fault.severity, fault.name) == ("warning", "no torch")
    assert "edgekd[train]" in fault.fix


def test_onnxruntime_gpu_without_a_cuda_provider_is_an_error() -> None:
    fault = only_fault(replace(SOUND, packages=without("onnxruntime", onnxruntime_gpu="1.21.0")))
    assert (fault.severity, fault.name) == ("error", "no CUDA provider")
    assert "CUDA libraries" in fault.found


def test_missing_training_packages_are_named() -> None:
    fault = only_fault(replace(SOUND, packages=without("safetensors", "pillow")))
    assert fault.severity == "warning"
    assert fault.found.startswith("not installed: safetensors, pillow;")


@pytest.mark.parametrize("python", ["3.10.12", "3.9.1"])
def test_an_old_python_is_an_error(python: str) -> None:
    fault = only_fault(replace(SOUND, python=python))
    assert (fault.severity, fault.found) == ("error", f"Python {python}; expected 3.11 or newer")


def test_fewer_cores_granted_than_there_are_is_a_warning() -> None:
    fault = only_fault(replace(SOUND, cores_granted=1, cgroup_quota=1.0))
    assert (fault.severity, fault.found) == ("warning", "1 of 4 cores granted (cgroup quota 1)")


@pytest.mark.parametrize(
    ("quota", "granted", "fits"),
    [(1.5, 1, "1 busy thread(s) fit, one more does not"), (0.5, 1, "not even one thread fits")],
)
def test_a_quota_that_is_no_whole_number_of_cores_is_a_warning_about_p90(quota: float, granted: int, fits: str) -> None:
    fewer, fault = faults(replace(SOUND, cores_granted=granted, cgroup_quota=quota))
    assert (fewer.name, fault.name, fault.severity) == ("fewer cores", "fractional quota", "warning")
    assert f"{quota:g} cores" in fault.found and fits in fault.found and "p90 and p99 jump" in fault.found


def test_a_quota_of_whole_cores_or_of_more_than_there_are_is_no_fraction() -> None:
    assert faults(replace(SOUND, cgroup_quota=4.5)) == ()
    assert faults(replace(SOUND, cgroup_quota=4.0)) == ()


def test_processors_that_share_physical_cores_are_a_warning() -> None:
    fault = only_fault(replace(SOUND, cores_physical=2))
    assert (fault.name, fault.severity) == ("shared cores", "warning")
    assert fault.found.startswith("4 threads on 2 physical core(s)") and "at most 2 thread(s)" in fault.fix
    assert faults(replace(SOUND, cores_physical=4)) == ()


def test_more_threads_than_the_machine_gives_them_cores_are_warned_of() -> None:
    env = replace(SOUND, cores_physical=2, cgroup_quota=1.5)
    assert thread_faults(env, threads=1) == ()
    assert [fault.name for fault in thread_faults(env, threads=2)] == ["throttled"]
    assert [fault.name for fault in thread_faults(env, threads=3)] == ["throttled", "shared cores"]
    assert thread_faults(replace(SOUND, cgroup_quota=0.5), threads=1)[0].fix.startswith("use at most 1 thread(s)")
    assert thread_faults(SOUND, threads=64) == ()  # nothing is known of its cores


def test_an_x86_cpu_without_vnni_is_a_warning_that_names_the_target() -> None:
    fault = only_fault(replace(SOUND, cpu_flags=("avx2",), isa="avx2"))
    assert fault.severity == "warning"
    assert "x86-avx2" in fault.fix


def test_vnni_is_not_missed_on_arm_or_where_no_features_are_known() -> None:
    assert faults(replace(SOUND, machine="aarch64", cpu_flags=("asimd",), isa="neon")) == ()
    assert faults(replace(SOUND, cpu_flags=(), isa="unknown")) == ()


def test_the_powersave_governor_is_a_warning() -> None:
    assert only_fault(replace(SOUND, governor="powersave")).name == "powersave"
    assert faults(replace(SOUND, governor=None)) == ()


def test_less_than_a_gibibyte_of_memory_is_a_warning() -> None:
    fault = only_fault(replace(SOUND, memory_available_bytes=2**30 - 2**20))
    assert (fault.severity, fault.found) == ("warning", "1023 MiB of memory available; expected at least 1 GiB")


def test_faults_come_in_their_order() -> None:
    worst = replace(
        SOUND,
        packages={"onnxruntime": "1.20.0", "onnxruntime-gpu": "1.20.0"},
        python="3.10.0",
        cores_granted=1,
        isa="avx2",
        governor="powersave",
        memory_available_bytes=0,
    )
    assert [fault.name for fault in faults(worst)] == [
        "two ONNX Runtimes",
        "no torch",
        "no CUDA provider",
        "old Python",
        "fewer cores",
        "no VNNI",
        "powersave",
        "little memory",
    ]


def test_the_fingerprint_follows_what_latency_depends_on_and_nothing_else() -> None:
    same = [
        replace(SOUND, python="3.12.9"),
        replace(SOUND, memory_available_bytes=1),
        replace(SOUND, packages=without("torch")),
        replace(SOUND, cores_physical=2),
    ]
    other = [
        replace(SOUND, python="3.13.3"),
        replace(SOUND, cpu_model="Another CPU"),
        replace(SOUND, isa="avx2"),
        replace(SOUND, cores_granted=2),
        replace(SOUND, packages=without("onnxruntime", onnxruntime="1.21.0")),
    ]
    assert {fingerprint(env) for env in same} == {fingerprint(SOUND)}
    assert len({fingerprint(env) for env in (SOUND, *other)}) == 6
    assert len(fingerprint(SOUND)) == 12


def test_this_machine_is_described_and_fits_into_json() -> None:
    env = describe(probe=True)
    assert env.python == ".".join(str(part) for part in sys.version_info[:3])
    assert 1 <= env.cores_granted <= env.cores_total
    assert 0 < env.memory_available_bytes <= env.memory_bytes
    assert env.packages["onnxruntime"]
    assert "CPUExecutionProvider" in env.providers
    assert json.loads(json.dumps(env.as_dict()))["cpu_flags"] == list(env.cpu_flags)


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert installed(("numpy", "no-such-package-anywhere")).keys() == {"numpy"}


def test_a_provider_runs_only_if_the_session_takes_it() -> None:
    assert runs("CPUExecutionProvider")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # ONNX Runtime: the provider is not available
        assert not runs("NoSuchExecutionProvider")


def test_describing_the_environment_imports_no_torch() -> None:
    code = "import sys, edgekd.environment as e; e.faults(e.describe()); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_importing_the_module_loads_no_onnxruntime() -> None:
    code = "import sys, edgekd.environment; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
