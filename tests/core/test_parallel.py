"""Two real processes over gloo train what one process trains."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekd.core.parallel import ALONE, Ranks, from_environment, joined
from edgekd.errors import BadInputError, EnvironmentFault

SCRIPT = Path(__file__).with_name("train_together.py")


def train(out: Path, *, processes: int, method: str) -> dict[str, Any]:
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    start = launcher if processes > 1 else [sys.executable]
    done = subprocess.run(
        [*start, str(SCRIPT), str(out), method],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state: dict[str, Any] = torch.load(out, weights_only=True)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cist", "ctkd"])
def test_two_processes_end_where_one_with_the_same_batches_ends_without_batch_norm(method: str, tmp_path: Path) -> None:
    # Each of the two sees half of every batch: one process has the doubled batch of each.
    one, two = (train(tmp_path / f"{n}.pt", processes=n, method=method) for n in (1, 2))
    for name, value in one["weights"].items():
        # Sums of float32 in another order, over 6 steps.
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(two["theta"], one["theta"], rtol=1e-4, atol=1e-6)
    # Every eighth step is looked at: here the first of each epoch, by both processes.
    assert two["numbers"] == pytest.approx(one["numbers"], rel=1e-4)


def test_alone_everything_is_ones_own() -> None:
    batch = torch.arange(5)
    assert ALONE.first
    assert torch.equal(ALONE.share(batch), batch)
    assert torch.equal(ALONE.total(batch), batch)
    assert ALONE.agreed("x") == "x"
    ALONE.wait()
    with joined(ALONE, torch.device("cpu")):
        pass


def test_the_shares_of_a_batch_are_equal_and_make_it_up_and_an_uneven_batch_is_refused() -> None:
    batch = torch.arange(12)
    shares = [Ranks(rank=rank, world=3).share(batch) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert torch.equal(torch.cat(shares), batch)
    with pytest.raises(
        BadInputError, match=r"a batch of 12 samples cannot be split evenly over 5 processes; .*multiple of 5"
    ):
        Ranks(rank=0, world=5).share(batch)


def test_what_torchrun_says_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment() == ALONE
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert from_environment() == Ranks(rank=3, world=4, local=1)
    monkeypatch.setenv("RANK", "three")
    with pytest.raises(EnvironmentFault, match="must be numbers"):
        from_environment()
