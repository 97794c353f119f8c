"""What a measured process tells of itself: its clock, its peak memory, its nets. Needs torch and nothing of edgekd."""

import hashlib
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn


def now(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peaks() -> dict[str, int]:
    """Peak bytes of this process with its loader workers, and of CUDA's allocator.

    Workers are forked and share most of their pages with this process: only what is private to each is added, as it is
    now. Compilers that inductor starts are not counted.
    """
    workers = sum(private_bytes(child.pid) for child in multiprocessing.active_children() if child.pid)
    cuda = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"peak_bytes": own_peak_bytes() + workers, "cuda_peak_bytes": cuda}


def own_peak_bytes() -> int:
    """Peak resident memory of this process since it was executed.

    Not getrusage where the kernel says better: its maximum starts with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def private_bytes(pid: int) -> int:
    """Resident bytes that no other process shares; 0 where the kernel does not tell."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    lines = rollup.read_text().splitlines() if rollup.is_file() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def digest(*networks: nn.Module) -> str:
    """Twelve hex digits of all trained weights: equal for equal networks."""
    sha = hashlib.sha256()
    for network in networks:
        for name, value in network.named_parameters():
            sha.update(name.encode())
            sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]


def about(device: str, versions: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Device, threads and versions, as `benchmarks.turns.head` prints them; `versions` of packages besides torch."""
    name = torch.cuda.get_device_name(device) if device == "cuda" else "cpu"
    return {"device": name, "threads": torch.get_num_threads(), "versions": {"torch": torch.__version__, **versions}}


def specification() -> dict[str, Any] | None:
    """What this process shall measure, where `benchmarks.turns.Child` started it; else None."""
    found: dict[str, Any] | None = json.loads(sys.argv[2]) if sys.argv[1:2] == ["child"] else None
    return found
