"""What the operating system says about the machine: CPU model and features, and the cores and memory granted."""

import math
import os
from pathlib import Path

import psutil

# The features that decide which int8 and fp16 kernels ONNX Runtime takes, as Linux spells them.
RELEVANT_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
)
# Best first: the first feature a CPU has names its instruction set.
ISA_OF_FLAG = {
    "amx_int8": "amx_int8",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512",
    "avx2": "avx2",
    "i8mm": "neon-i8mm",
    "asimddp": "neon-dotprod",
    "asimd": "neon",
}
X86_MACHINES = ("x86_64", "amd64", "i686", "i386")
ARM64_MACHINES = ("aarch64", "arm64")


def share_cores() -> None:
    """Make OpenMP's threads, torch's on a CPU, sleep soon while they wait for one another; call it before torch loads.

    By default they spin for long, which beside another busy process costs much of the speed, alone nothing to speak of
    (benchmarks/README.md has the numbers). What the user set stays.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def read_if_there(path: Path) -> str:
    """The file's text, empty when the kernel does not offer the file (another OS, a sandbox)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_flags(cpuinfo: str) -> tuple[str, ...]:
    """The relevant CPU features in the text of /proc/cpuinfo (x86: `flags`, ARM: `Features`)."""
    found = set((_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split())
    return tuple(flag for flag in RELEVANT_FLAGS if flag in found)


def cpu_model(cpuinfo: str, *, otherwise: str) -> str:
    """The CPU's name in the text of /proc/cpuinfo; on ARM boards the board's name, or implementer and part."""
    part = _field(cpuinfo, "CPU part")
    by_number = f"ARM implementer {_field(cpuinfo, 'CPU implementer')} part {part}" if part else ""
    return _field(cpuinfo, "model name") or _field(cpuinfo, "Model") or by_number or otherwise


def isa(flags: tuple[str, ...], *, machine: str) -> str:
    """The best instruction set for int8, e.g. "avx512_vnni" or "neon-dotprod"; "unknown" when no feature is known."""
    for flag, name in ISA_OF_FLAG.items():
        if flag in flags:
            return name
    # Every 64-bit ARM CPU has NEON; x86 without a list of features (not Linux) says nothing.
    return "neon" if machine.lower() in ARM64_MACHINES else "unknown"


def cgroup_cores(membership: str, *, root: Path) -> float | None:
    """The CPU quota of the process's cgroup, in cores; None when there is none.

    Args:
        membership: text of /proc/self/cgroup.
        root: where cgroups are mounted, /sys/fs/cgroup.

    The strictest of a group and its parents counts. Source: cgroup v2, `cpu.max`
    (https://docs.kernel.org/admin-guide/cgroup-v2.html), v1, `cpu.cfs_quota_us`
    (https://docs.kernel.org/scheduler/sched-bwc.html).
    """
    quotas = [_cores_v2(read_if_there(folder / "cpu.max")) for folder in _folders(membership, "", root)]
    quotas += [
        _cores_v1(read_if_there(folder / "cpu.cfs_quota_us"), read_if_there(folder / "cpu.cfs_period_us"))
        for folder in _folders(membership, "cpu", root)
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def cgroup_memory(membership: str, *, root: Path) -> int | None:
    """The memory limit of the process's cgroup in bytes; None when there is none. Arguments as `cgroup_cores`."""
    texts = [read_if_there(folder / "memory.max") for folder in _folders(membership, "", root)]
    texts += [read_if_there(folder / "memory.limit_in_bytes") for folder in _folders(membership, "memory", root)]
    return min((int(text) for text in texts if text.strip().isdigit()), default=None)


def affinity_cores(*, total: int) -> int:
    """Cores that the scheduler lets this process use; `total` where the OS has no affinity (macOS, Windows)."""
    cpus = affinity_cpus()
    return total if cpus is None else len(cpus)


def granted_cores(affinity: int, *, quota: float | None) -> int:
    """Whole cores this process can keep busy: the smaller of affinity and quota, rounded down, at least 1."""
    return max(1, affinity if quota is None else min(affinity, math.floor(quota)))


def cores_here() -> int:
    """Whole cores that this process can keep busy, by its affinity and its cgroup's quota."""
    quota = cgroup_cores(read_if_there(Path("/proc/self/cgroup")), root=Path("/sys/fs/cgroup"))
    return granted_cores(affinity_cores(total=os.cpu_count() or 1), quota=quota)


def affinity_cpus() -> frozenset[int] | None:
    """The processors that the scheduler lets this process use, by their numbers; None where the OS has no affinity.

    A cpuset of a cgroup, of version 1 or 2, is in it: the kernel gives a task no processor outside its cpuset
    (https://man7.org/linux/man-pages/man7/cpuset.7.html).
    """
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def physical_cores(cpus: frozenset[int] | None, *, cpuinfo: str, root: Path) -> int | None:
    """Physical cores below the processors `cpus` (None: all there are); None where the machine does not say.

    Two processors that share a core (SMT, hyper-threading) share its arithmetic, so a second thread on it gains little.

    Args:
        cpus: processors by their numbers.
        cpuinfo: text of /proc/cpuinfo, asked where sysfs has no topology; ARM kernels write no cores into it.
        root: /sys/devices/system/cpu.

    Source: https://docs.kernel.org/admin-guide/cputopology.html; `core_id` is unique within a package only, and on
    some ARM boards within a cluster only, so the siblings' list is what counts.
    """
    found = _siblings(root) or _cores_in(cpuinfo)
    wanted = found.keys() if cpus is None else cpus
    return len({found[cpu] for cpu in wanted}) if found and wanted and wanted <= found.keys() else None


def _siblings(root: Path) -> dict[int, str]:
    """Processor -> the list of those that share its core, as sysfs writes it."""
    found = {}
    for folder in root.glob("cpu[0-9]*"):
        names = ("core_cpus_list", "thread_siblings_list")  # the second is the older name of the first
        texts = (read_if_there(folder / "topology" / name).strip() for name in names)
        if text := next(filter(None, texts), ""):
            found[int(folder.name.removeprefix("cpu"))] = text
    return found


def _cores_in(cpuinfo: str) -> dict[int, str]:
    """Processor -> "package core", of the text of /proc/cpuinfo; empty where it does not have both."""
    found = {}
    for block in cpuinfo.split("\n\n"):
        number, package, core = (_field(block, name) for name in ("processor", "physical id", "core id"))
        if number.isdigit() and package and core:
            found[int(number)] = f"{package} {core}"
    return found


def governor(*, root: Path) -> str | None:
    """The frequency governor of the first CPU below `root` (/sys/devices/system/cpu); None where there is none."""
    return read_if_there(root / "cpu0" / "cpufreq" / "scaling_governor").strip() or None


def memory_bytes(*, limit: int | None) -> tuple[int, int]:
    """Memory in bytes that this process may use, and at most free of it now. `limit` is the cgroup's."""
    memory = psutil.virtual_memory()
    if limit is None or limit >= memory.total:
        return int(memory.total), int(memory.available)
    used = psutil.Process().memory_info().rss
    return limit, max(0, min(int(memory.available), limit - int(used)))


def peak_rss_bytes() -> int:
    """Peak resident memory of this process.

    From /proc where there is one: getrusage's maximum survives exec, so a child of a large parent would report the
    parent's memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _folders(membership: str, controller: str, root: Path) -> list[Path]:
    """The folders of the process's group and its parents, for a v1 controller, or "" for v2."""
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controller in controllers.split(","):
            mounts = (root / controllers, root / controller) if controllers else (root / "unified", root)
            return [path for mount in mounts if mount.is_dir() for path in _chain(mount, group.strip())]
    return []


def _chain(mount: Path, group: str) -> list[Path]:
    """A group's folder and those of its parents, up to the mount.

    A container may see its own group mounted as the root, under its path on the host: then the longest end of the path
    that is there counts, and the mount itself.
    """
    parts = [part for part in group.split("/") if part]
    ends = (mount.joinpath(*parts[start:]) for start in range(len(parts) + 1))
    path = next((end for end in ends if end.is_dir()), mount)
    return [path, *(parent for parent in path.parents if parent.is_relative_to(mount))]


def _cores_v2(cpu_max: str) -> float | None:
    quota, _, period = cpu_max.strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _cores_v1(quota: str, period: str) -> float | None:
    return _cores_v2(f"{quota.strip()} {period.strip()}")  # -1, no quota, is no digit
