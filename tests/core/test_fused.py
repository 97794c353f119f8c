"""The GPU kernel: compiled, interpreted on the CPU, and, where there is a GPU, run on it."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from edgekd.core.temperature import Status, entropy_temperature

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

INTERPRETED = """
import math, torch
from edgekd.core import fused
from edgekd.core.temperature import entropy_temperature

def rows(classes, dtype):
    z = torch.randn(12, classes, generator=torch.Generator().manual_seed(0)) * 3
    z[0] = 1.0
    z[1, 0], z[2, 1], z[3, 0] = math.nan, math.inf, -math.inf
    z[4] = 0.0
    z[4, : max(1, classes - 1)] = 5.0
    z[5, -1] = 20.0
    if dtype == torch.float32:
        z[6], z[7], z[8] = z[6] * 1e3, z[7] * 1e-4, z[8] * 1e30
    return z.to(dtype)

for classes, dtypes in ((2, ["float32"]), (10, ["float32", "bfloat16", "float16"]), (5000, ["float32"])):
    for dtype in (getattr(torch, name) for name in dtypes):
        for fraction in (0.1, 0.925):
            z, target = rows(classes, dtype), fraction * math.log(classes)
            temperature, status, evaluations = fused.solve(z, target, max_evaluations=100)
            expected = entropy_temperature(z, target)
            assert status.tolist() == expected.status.tolist(), (classes, dtype, fraction)
            # Sums in another order; at 0.925 of many classes the entropy is flat, so that tau is good to four digits.
            torch.testing.assert_close(temperature, expected.temperature, rtol=1e-4, atol=0.0)
            assert (evaluations - expected.evaluations).abs().max() <= 1

z = rows(10, torch.float32)
short, expected = fused.solve(z, 0.3, max_evaluations=1), entropy_temperature(z, 0.3, max_evaluations=1)
assert short[1].tolist() == expected.status.tolist()
assert fused.solve(z[:0], 0.3, max_evaluations=9)[0].shape == (0,)
strided = z.T.contiguous().T
assert torch.equal(fused.solve(strided, 0.3, max_evaluations=9)[0], fused.solve(z, 0.3, max_evaluations=9)[0])
"""

COMPILED = """
from edgekd.core import fused
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

pointers = dict(temperature="*fp32", status="*i8", evaluations="*i32")
numbers = ("target", "log_k", "log_odds", "bell", "rho", "lowest", "coldest_base", "tolerance", "smallest_gap")
for dtype, block in (("*fp32", 16), ("*bf16", 4096)):
    signature = dict(logits=dtype, **pointers, classes="i32", **dict.fromkeys(numbers, "fp32"), max_evaluations="i32")
    source = ASTSource(fused.solve_row, {**signature, "BLOCK": "constexpr"}, constexprs={"BLOCK": block})
    assert triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]
"""


def run_apart(code: str, **environment: str) -> None:
    """Run it in a Python of its own: whether Triton interprets is settled when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@needs_triton
def test_the_kernel_in_tritons_interpreter_agrees_with_the_torch_path_row_by_row() -> None:
    run_apart(INTERPRETED, TRITON_INTERPRET="1")


@needs_triton
def test_the_kernel_compiles_for_a_gpu_that_is_not_there() -> None:
    # The interpreter takes Python that the compiler refuses, such as a sum that changes its integer type.
    run_apart(COMPILED)


def test_the_core_and_a_solve_on_the_cpu_load_no_triton() -> None:
    run_apart(
        "import sys, torch\n"
        "from edgekd.core.temperature import entropy_temperature\n"
        "entropy_temperature(torch.tensor([[2.0, 1.0, 0.0]]), 0.9)\n"
        "assert 'triton' not in sys.modules and 'edgekd.core.fused' not in sys.modules"
    )


def awkward(classes: int) -> Tensor:
    z = torch.randn(64, classes, generator=torch.Generator().manual_seed(0)) * 3
    z[:32, 0] += torch.linspace(0, 30, 32)
    z[32] = 1.0
    z[33, 0], z[34, 1], z[35, 0] = math.nan, math.inf, -math.inf
    z[36] = 0.0
    z[36, : max(1, classes - 1)] = 5.0
    z[37] *= 1e3
    z[38] *= 1e-4
    return z


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 50_000])
def test_a_gpu_agrees_with_the_cpu(classes: int, dtype: torch.dtype) -> None:
    z = awkward(classes).to(dtype)
    for fraction in (0.05, 0.5, 0.925, 0.99):
        target = fraction * math.log(classes)
        expected, solved = entropy_temperature(z, target), entropy_temperature(z.cuda(), target)
        assert solved.temperature.is_cuda
        assert solved.status.tolist() == expected.status.tolist()
        good = expected.status == Status.CONVERGED
        tau = solved.temperature.cpu()[good].double().unsqueeze(-1)
        log_p = torch.log_softmax((z[good].double() - z[good].double().amax(-1, keepdim=True)) / tau, -1)
        assert (-(log_p.exp() * log_p).sum(-1) - target).abs().max() <= 2e-5
