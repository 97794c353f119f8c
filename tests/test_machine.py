"""CPU features and cgroup limits are read from real small files, as Linux writes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.machine import (
    affinity_cores,
    affinity_cpus,
    cgroup_cores,
    cgroup_memory,
    cores_here,
    cpu_flags,
    cpu_model,
    governor,
    granted_cores,
    isa,
    memory_bytes,
    physical_cores,
)

INTEL = (
    "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_int8\n"
)
PI_4 = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
    "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
)
PI_5_CORE = "Features\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_flags_are_read_as_whole_words_from_x86_and_arm() -> None:
    assert cpu_flags(INTEL) == ("avx2", "avx512f", "avx512_vnni", "amx_int8")
    assert cpu_flags(PI_4) == ("asimd",)
    assert cpu_flags(PI_5_CORE) == ("asimd", "asimddp")
    assert cpu_flags("") == ()


def test_the_model_is_the_name_the_board_or_the_part() -> None:
    assert cpu_model(INTEL, otherwise="x") == "Intel(R) Xeon(R) Platinum"
    assert cpu_model(PI_4, otherwise="x") == "Raspberry Pi 4 Model B Rev 1.4"
    assert cpu_model(PI_5_CORE, otherwise="x") == "ARM implementer 0x41 part 0xd0b"
    assert cpu_model("", otherwise="x") == "x"


@pytest.mark.parametrize(
    ("flags", "machine", "name"),
    [
        (("avx2", "avx512f", "avx512_vnni", "amx_int8"), "x86_64", "amx_int8"),
        (("avx2", "avx512f", "avx512_vnni"), "x86_64", "avx512_vnni"),
        (("avx2", "avx_vnni"), "x86_64", "avx_vnni"),
        (("avx2", "avx512f"), "x86_64", "avx512"),
        (("avx2",), "x86_64", "avx2"),
        (("asimd", "asimddp", "i8mm"), "aarch64", "neon-i8mm"),
        (("asimd", "asimddp"), "aarch64", "neon-dotprod"),
        (("asimd",), "aarch64", "neon"),
        ((), "arm64", "neon"),
        ((), "x86_64", "unknown"),
    ],
)
def test_the_instruction_set_is_the_best_one(flags: tuple[str, ...], machine: str, name: str) -> None:
    assert isa(flags, machine=machine) == name


def test_a_version_2_quota_is_cores(tmp_path: Path) -> None:
    put(tmp_path, "cpu.max", "150000 100000\n")
    assert cgroup_cores("0::/\n", root=tmp_path) == 1.5


def test_a_version_2_group_without_quota_has_none(tmp_path: Path) -> None:
    put(tmp_path, "cpu.max", "max 100000\n")
    assert cgroup_cores("0::/\n", root=tmp_path) is None


def test_the_strictest_of_a_group_and_its_parents_counts(tmp_path: Path) -> None:
    put(tmp_path, "a/b/cpu.max", "400000 100000\n")
    put(tmp_path, "a/cpu.max", "200000 100000\n")
    put(tmp_path, "cpu.max", "max 100000\n")
    assert cgroup_cores("0::/a/b\n", root=tmp_path) == 2.0


def test_a_version_1_quota_is_cores(tmp_path: Path) -> None:
    put(tmp_path, "cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n")
    put(tmp_path, "cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    put(tmp_path, "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cgroup_cores("4:cpu,cpuacct:/job\n1:name=systemd:/job\n", root=tmp_path) == 0.5


def test_a_version_1_container_that_sees_its_group_as_the_root_is_read(tmp_path: Path) -> None:
    put(tmp_path, "cpu/cpu.cfs_quota_us", "300000\n")
    put(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")
    assert cgroup_cores("4:cpu:/docker/0123abcd\n", root=tmp_path) == 3.0


def test_a_version_1_group_deep_in_a_container_that_is_mounted_as_the_root_is_read(tmp_path: Path) -> None:
    put(tmp_path, "cpu/worker/cpu.cfs_quota_us", "100000\n")
    put(tmp_path, "cpu/worker/cpu.cfs_period_us", "50000\n")
    put(tmp_path, "cpu/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")
    assert cgroup_cores("4:cpu:/docker/0123abcd/worker\n", root=tmp_path) == 2.0


def test_a_group_that_is_there_is_not_mistaken_for_another_of_the_same_name(tmp_path: Path) -> None:
    put(tmp_path, "a/job/cpu.max", "max 100000\n")
    put(tmp_path, "job/cpu.max", "50000 100000\n")
    assert cgroup_cores("0::/a/job\n", root=tmp_path) is None
    assert cgroup_cores("0::/job\n", root=tmp_path) == 0.5


def test_version_1_controllers_that_are_mounted_in_another_order_or_alone_are_read(tmp_path: Path) -> None:
    put(tmp_path, "cpu/job/cpu.cfs_quota_us", "250000\n")
    put(tmp_path, "cpu/job/cpu.cfs_period_us", "100000\n")
    assert cgroup_cores("4:cpuacct,cpu:/job\n", root=tmp_path) == 2.5


def test_a_version_2_hierarchy_beside_version_1_is_read(tmp_path: Path) -> None:
    put(tmp_path, "unified/job/cpu.max", "75000 50000\n")
    put(tmp_path, "cpu/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")
    assert cgroup_cores("4:cpu:/\n0::/job\n", root=tmp_path) == 1.5


def test_a_version_1_group_of_minus_one_takes_the_quota_of_its_parent(tmp_path: Path) -> None:
    for folder, quota in (("cpu/a/b", "-1"), ("cpu/a", "300000"), ("cpu", "-1")):
        put(tmp_path, f"{folder}/cpu.cfs_quota_us", f"{quota}\n")
        put(tmp_path, f"{folder}/cpu.cfs_period_us", "100000\n")
    assert cgroup_cores("1:cpu:/a/b\n", root=tmp_path) == 3.0


@pytest.mark.parametrize("text", ["", "max", "max 100000", "100000", "100000 0", "-1 100000", "many 100000"])
def test_what_is_no_quota_is_none(text: str, tmp_path: Path) -> None:
    put(tmp_path, "cpu.max", text)
    assert cgroup_cores("0::/\n", root=tmp_path) is None


def test_without_cgroups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_cores("", root=tmp_path) is None
    assert cgroup_memory("", root=tmp_path) is None
    assert cgroup_cores("0::/\n4:cpu:/\n", root=tmp_path) is None


def test_memory_limits_of_both_versions_are_bytes(tmp_path: Path) -> None:
    put(tmp_path, "job/memory.max", "max\n")
    put(tmp_path, "memory/memory.limit_in_bytes", "1073741824\n")
    assert cgroup_memory("0::/job\n", root=tmp_path) is None
    assert cgroup_memory("0::/job\n7:memory:/job\n", root=tmp_path) == 2**30


def test_granted_cores_are_whole_and_at_least_one() -> None:
    assert granted_cores(4, quota=None) == 4
    assert granted_cores(4, quota=2.9) == 2
    assert granted_cores(2, quota=8.0) == 2
    assert granted_cores(4, quota=0.5) == 1


def test_affinity_is_within_the_machine() -> None:
    assert affinity_cores(total=1024) <= 1024


def test_the_governor_is_read_where_there_is_one(tmp_path: Path) -> None:
    assert governor(root=tmp_path) is None
    put(tmp_path, "cpu0/cpufreq/scaling_governor", "powersave\n")
    assert governor(root=tmp_path) == "powersave"


def test_a_memory_limit_caps_what_is_there_and_what_is_free() -> None:
    total, available = memory_bytes(limit=None)
    assert 0 < available <= total
    assert memory_bytes(limit=total * 2)[0] == total
    limit, free = memory_bytes(limit=2**28)
    assert limit == 2**28
    assert 0 <= free < limit


def topology(root: Path, siblings: dict[int, str], *, name: str = "core_cpus_list") -> Path:
    """A folder as /sys/devices/system/cpu: processor -> those that share its core."""
    for cpu, text in siblings.items():
        put(root, f"cpu{cpu}/topology/{name}", f"{text}\n")
    put(root, "cpufreq/policy0/scaling_governor", "performance\n")
    return root


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
@pytest.mark.parametrize(
    ("cpus", "cores"),
    [(None, 2), ({0, 1, 2, 3}, 2), ({0, 2}, 1), ({0, 1}, 2), ({3}, 1), ({0, 1, 2}, 2), ({0, 9}, None), (set(), None)],
)
def test_physical_cores_are_counted_below_the_processors_granted(
    cpus: set[int] | None, cores: int | None, name: str, tmp_path: Path
) -> None:
    root = topology(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, name=name)
    granted = None if cpus is None else frozenset(cpus)
    assert physical_cores(granted, cpuinfo="", root=root) == cores


def test_physical_cores_are_read_from_cpuinfo_where_there_is_no_topology(tmp_path: Path) -> None:
    # Two packages of one core with two threads each: the core's number alone would make one core of four.
    cpuinfo = "\n\n".join(
        f"processor\t: {cpu}\nphysical id\t: {cpu // 2}\ncore id\t\t: 0\ncpu cores\t: 1" for cpu in range(4)
    )
    assert physical_cores(None, cpuinfo=cpuinfo, root=tmp_path) == 2
    assert physical_cores(frozenset({0, 1}), cpuinfo=cpuinfo, root=tmp_path) == 1
    assert physical_cores(frozenset({1, 2}), cpuinfo=cpuinfo, root=tmp_path) == 2


def test_physical_cores_are_unknown_where_nothing_says(tmp_path: Path) -> None:
    for cpuinfo in ("", INTEL, PI_4, PI_5_CORE):
        assert physical_cores(None, cpuinfo=cpuinfo, root=tmp_path) is None
        assert physical_cores(frozenset({0}), cpuinfo=cpuinfo, root=tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this OS has no affinity")
def test_a_process_that_is_held_to_one_processor_has_one_core() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from edgekd import environment, machine\n"
        "env = environment.describe()\n"
        "known = env.cores_physical in (1, None)\n"
        "print(sorted(machine.affinity_cpus()), machine.cores_here(), env.cores_granted, known)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[{one}] 1 1 True"


def test_the_cores_here_are_within_the_machine() -> None:
    cpus = affinity_cpus()
    assert 1 <= cores_here() <= (os.cpu_count() or 1 if cpus is None else len(cpus))
