"""Where cells run: how many at a time, on how many threads each, on which GPU."""

import json
import os
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

from edgekd.files import write_atomic
from edgekd.study.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """jobs: cells at a time. threads: of each, on the CPU. gpus: names for CUDA_VISIBLE_DEVICES, empty on a CPU."""

    jobs: int
    threads: int
    gpus: tuple[str, ...]

    def environments(self) -> tuple[dict[str, str], ...]:
        """The environment of each worker; several share a GPU where there are more of them."""
        base = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        if not self.gpus:
            return (base,) * self.jobs
        return tuple(base | {"CUDA_VISIBLE_DEVICES": gpu} for gpu in islice(cycle(self.gpus), self.jobs))


def decide(plan: Plan, *, folder: Path, jobs: int | None, cores: int) -> Places:
    """How this machine runs the plan; kept in folder/places.json.

    The bits of a result depend on the number of threads, so it is the same for all cells: what OMP_NUM_THREADS says,
    else what the folder's cells were trained with, else an equal share of the cores.

    Raises:
        EnvironmentFault: the recipe wants a GPU that is not there.
    """
    gpus = visible_gpus(plan.recipe.distill.device)
    at_a_time = min(jobs or len(gpus) or cores, plan.cells)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdigit() and int(asked) else _kept(folder) or max(1, cores // at_a_time)
    places = Places(jobs=at_a_time, threads=threads, gpus=gpus)
    write_atomic(folder / "places.json", json.dumps(asdict(places)) + "\n")
    return places


def visible_gpus(device: str) -> tuple[str, ...]:
    """The GPUs that the recipe's device comes to here, as CUDA_VISIBLE_DEVICES names them."""
    if device == "cpu":
        return ()
    import torch

    from edgekd.pixels import choose_device

    if choose_device(device).type != "cuda":
        return ()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named or map(str, range(torch.cuda.device_count())))


def _kept(folder: Path) -> int | None:
    """The number of threads that the folder's cells were trained with; None for a new folder or a damaged file."""
    try:
        return int(json.loads((folder / "places.json").read_text())["threads"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
