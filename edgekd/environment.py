"""The environment that a number depends on: Python, packages, CPU, cores granted; its faults and its fingerprint."""

import hashlib
import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgekd import machine

PACKAGES = (
    "edgekd",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "onnxscript",
    "torchao",
    "safetensors",
    "pillow",
    "jinja2",
    "matplotlib",
)
TRAIN_PACKAGES = ("onnxscript", "safetensors", "pillow", "jinja2", "matplotlib")
VNNI_ISAS = ("amx_int8", "avx512_vnni", "avx_vnni")
OLDEST_PYTHON = (3, 11)
LEAST_MEMORY_BYTES = 2**30
CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine as this process sees it.

    Attributes:
        cpu_flags: the CPU features that decide on int8 kernels; empty where the OS does not list them.
        cores_granted: whole cores this process can keep busy under affinity and cgroup quota.
        cgroup_quota: cores the cgroup allows, None without a quota.
        cores_physical: physical cores below the processors of the affinity, None where the machine does not say.
        memory_bytes: memory this process may use, under the cgroup's limit.
        packages: installed versions; a package that is not installed has no entry.
        providers: execution providers of the installed ONNX Runtime; empty when it is absent or does not load.
    """

    python: str
    platform: str
    machine: str
    cpu_model: str
    cpu_flags: tuple[str, ...]
    isa: str
    cores_total: int
    cores_granted: int
    cgroup_quota: float | None
    cores_physical: int | None = None
    memory_bytes: int
    memory_available_bytes: int
    governor: str | None
    packages: dict[str, str]
    providers: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that stops a command (error) or makes a number less trustworthy (warning), and how to fix it."""

    name: str
    found: str
    fix: str
    severity: Literal["error", "warning"]


def describe(*, probe: bool = False) -> Environment:
    """This machine. With `probe`, CUDA counts as a provider only after a one-node model ran on it (seconds)."""
    cpuinfo = machine.read_if_there(Path("/proc/cpuinfo"))
    membership = machine.read_if_there(Path("/proc/self/cgroup"))
    cgroups = Path("/sys/fs/cgroup")
    flags = machine.cpu_flags(cpuinfo)
    total = os.cpu_count() or 1
    quota = machine.cgroup_cores(membership, root=cgroups)
    memory, available = machine.memory_bytes(limit=machine.cgroup_memory(membership, root=cgroups))
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        machine=platform.machine(),
        cpu_model=machine.cpu_model(cpuinfo, otherwise=platform.processor() or platform.machine()),
        cpu_flags=flags,
        isa=machine.isa(flags, machine=platform.machine()),
        cores_total=total,
        cores_granted=machine.granted_cores(machine.affinity_cores(total=total), quota=quota),
        cgroup_quota=quota,
        cores_physical=machine.physical_cores(machine.affinity_cpus(), cpuinfo=cpuinfo, root=CPUS),
        memory_bytes=memory,
        memory_available_bytes=available,
        governor=machine.governor(root=CPUS),
        packages=installed(PACKAGES),
        providers=tuple(name for name in _providers() if not (probe and name.startswith("CUDA")) or runs(name)),
    )


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those of `packages` that are installed, without importing them."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def runs(provider: str) -> bool:
    """Whether ONNX Runtime takes `provider` for a one-node model.

    `get_available_providers` lists what was compiled in, also where the CUDA libraries or a GPU are missing.
    """
    import onnxruntime
    from onnx import TensorProto, helper
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=[provider], enable_fallback=0
        )
    except (RuntimeError, ValueError, state.Fail, state.EPFail, state.RuntimeException):
        return False
    return provider in session.get_providers()


def faults(env: Environment) -> tuple[Fault, ...]:
    """What is wrong with `env`, the worst and most common first; empty when nothing is."""
    checks = (
        _double_runtime,
        _no_runtime,
        _no_torch,
        _no_cuda,
        _train_packages,
        _old_python,
        _fewer_cores,
        _fractional_quota,
        _shared_cores,
        _no_vnni,
        _powersave,
        _little_memory,
    )
    return tuple(fault for check in checks if (fault := check(env)) is not None)


def thread_faults(env: Environment, *, threads: int) -> tuple[Fault, ...]:
    """What makes latency with so many intra-op threads less trustworthy here; empty when nothing does."""
    found = (_throttled(env, threads), _on_siblings(env, threads))
    return tuple(fault for fault in found if fault is not None)


def fingerprint(env: Environment) -> str:
    """Twelve hex digits that change when latency may: CPU, ISA, cores granted, ONNX Runtime, Python 3.x.

    Physical cores are not in it: which processors a process gets changes from start to start on one machine.
    """
    runtime = {name: env.packages.get(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    fields = [env.cpu_model, env.isa, env.cores_granted, runtime, env.python.split(".")[:2]]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:12]


def _providers() -> tuple[str, ...]:
    try:
        import onnxruntime
    except ImportError:
        return ()
    # Uninstalling one of onnxruntime and onnxruntime-gpu leaves a hollow package behind, which does import.
    listing = getattr(onnxruntime, "get_available_providers", None)
    return tuple(listing()) if listing else ()


def _double_runtime(env: Environment) -> Fault | None:
    if not {"onnxruntime", "onnxruntime-gpu"} <= env.packages.keys():
        return None
    found = (
        f"onnxruntime {env.packages['onnxruntime']} and onnxruntime-gpu {env.packages['onnxruntime-gpu']}; they "
        "overwrite each other's files"
    )
    fix = 'pip uninstall -y onnxruntime onnxruntime-gpu, then one of: pip install "edgekd[cpu]" or "edgekd[gpu]"'
    return Fault(name="two ONNX Runtimes", found=found, fix=fix, severity="error")


def _no_runtime(env: Environment) -> Fault | None:
    versions = [f"{name} {env.packages[name]}" for name in ("onnxruntime", "onnxruntime-gpu") if name in env.packages]
    if env.providers or len(versions) == 2:
        return None
    if not versions:
        fix = 'pip install "edgekd[cpu]" (or "edgekd[gpu]" on a machine with an NVIDIA GPU)'
        return Fault(name="no ONNX Runtime", found="onnxruntime is not installed", fix=fix, severity="error")
    fix = f"pip install --force-reinstall {versions[0].replace(' ', '==')}"
    found = f"{versions[0]} is installed but does not load"
    return Fault(name="broken ONNX Runtime", found=found, fix=fix, severity="error")


def _no_torch(env: Environment) -> Fault | None:
    if "torch" in env.packages:
        return None
    found = "torch is not installed; run, distill and export need it, validate, gate and verify do not"
    return Fault(name="no torch", found=found, fix='pip install "edgekd[train]"', severity="warning")


def _no_cuda(env: Environment) -> Fault | None:
    if "onnxruntime-gpu" not in env.packages or "CUDAExecutionProvider" in env.providers or not env.providers:
        return None
    found = (
        "onnxruntime-gpu is installed, but the CUDA provider does not start; the CUDA libraries or a GPU are missing"
    )
    fix = 'check nvidia-smi, then pip install "onnxruntime-gpu[cuda,cudnn]", or use "edgekd[cpu]" instead'
    return Fault(name="no CUDA provider", found=found, fix=fix, severity="error")


def _train_packages(env: Environment) -> Fault | None:
    missing = [package for package in TRAIN_PACKAGES if package not in env.packages]
    if not missing or "torch" not in env.packages:  # without torch the fault above has the same fix
        return None
    found = f"not installed: {', '.join(missing)}; training, export or the report need them"
    return Fault(name="training packages", found=found, fix='pip install "edgekd[train]"', severity="warning")


def _old_python(env: Environment) -> Fault | None:
    if tuple(int(part) for part in env.python.split(".")[:2]) >= OLDEST_PYTHON:
        return None
    oldest = ".".join(str(part) for part in OLDEST_PYTHON)
    found, fix = f"Python {env.python}; expected {oldest} or newer", f"make a virtual environment with Python {oldest}"
    return Fault(name="old Python", found=found, fix=fix, severity="error")


def _fewer_cores(env: Environment) -> Fault | None:
    if env.cores_granted >= env.cores_total:
        return None
    quota = "" if env.cgroup_quota is None else f" (cgroup quota {env.cgroup_quota:g})"
    found = f"{env.cores_granted} of {env.cores_total} cores granted{quota}"
    fix = f"use a target with at most {env.cores_granted} thread(s), or widen the affinity or the container's quota"
    return Fault(name="fewer cores", found=found, fix=fix, severity="warning")


def _fractional_quota(env: Environment) -> Fault | None:
    quota = env.cgroup_quota
    if quota is None or quota >= env.cores_total or quota == int(quota):
        return None
    found = (
        f"the cgroup's quota is {quota:g} cores, no whole number: {_threads_that_fit(quota)}; once a period's share "
        "(0.1 s as a rule) is used up every thread stops until the next, and p90 and p99 jump"
    )
    fix = f"give the container whole cores, for example {max(1, round(quota))}, or better a cpuset"
    return Fault(name="fractional quota", found=found, fix=fix, severity="warning")


def _threads_that_fit(quota: float) -> str:
    return "not even one thread fits" if quota < 1 else f"{int(quota)} busy thread(s) fit, one more does not"


def _shared_cores(env: Environment) -> Fault | None:
    return _on_siblings(env, env.cores_granted)


def _on_siblings(env: Environment, threads: int) -> Fault | None:
    if env.cores_physical is None or threads <= env.cores_physical:
        return None
    found = (
        f"{threads} threads on {env.cores_physical} physical core(s): those that share one (SMT siblings) share its "
        "arithmetic and slow one another down"
    )
    fix = f"use a target with at most {env.cores_physical} thread(s); `edgekd tune` measures which number is fastest"
    return Fault(name="shared cores", found=found, fix=fix, severity="warning")


def _throttled(env: Environment, threads: int) -> Fault | None:
    if env.cgroup_quota is None or threads <= env.cgroup_quota:
        return None
    found = (
        f"{threads} thread(s) under a cgroup quota of {env.cgroup_quota:g} cores: they are stopped in every period in "
        "which they use it up, and p90 and p99 jump"
    )
    fix = f"use at most {max(1, int(env.cgroup_quota))} thread(s), or widen the container's quota"
    return Fault(name="throttled", found=found, fix=fix, severity="warning")


def _no_vnni(env: Environment) -> Fault | None:
    x86 = env.machine.lower() in machine.X86_MACHINES
    if not x86 or not env.cpu_flags or env.isa in VNNI_ISAS:
        return None
    found = f"{env.cpu_model} has {env.isa} but no VNNI; U8S8 may saturate, and int8 gains little speed"
    fix = "prefer int8-u8s8-7bit or int8-u8u8, as the target x86-avx2 does"
    return Fault(name="no VNNI", found=found, fix=fix, severity="warning")


def _powersave(env: Environment) -> Fault | None:
    if env.governor != "powersave":
        return None
    found = "CPU governor is powersave; the clock may change while latency is measured"
    return Fault(name="powersave", found=found, fix="sudo cpupower frequency-set -g performance", severity="warning")


def _little_memory(env: Environment) -> Fault | None:
    if env.memory_available_bytes >= LEAST_MEMORY_BYTES:
        return None
    found = f"{env.memory_available_bytes / 2**20:.0f} MiB of memory available; expected at least 1 GiB"
    fix = "close other programs or raise the container's memory limit"
    return Fault(name="little memory", found=found, fix=fix, severity="warning")
