"""Every tool: the packages of its own environment, and the module that runs it there as its documentation says."""

import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.turns import say
from edgekd.errors import EnvironmentFault

TORCH = "torch"
"""Stands for the torch that edgekd itself runs with, so that none with gigabytes of CUDA is fetched beside a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """environment: name of its folder. module: of benchmarks.peers. packages: what pip installs, in one go."""

    environment: str
    module: str
    packages: tuple[str, ...]
    preset: str = ""


_ONNXRUNTIME = {
    "environment": "onnxruntime",
    "module": "with_onnxruntime",
    # Without sympy, quant_pre_process asks for it.
    "packages": ("onnxruntime", "onnx", "sympy"),
}
_OLIVE = {
    "environment": "olive",
    "module": "with_olive",
    # Without requests, `olive` stops at its first import; onnxruntime is left to the user.
    "packages": (TORCH, "olive-ai[auto-opt]", "requests", "onnxruntime"),
}
_OPTIMUM = {
    "environment": "optimum",
    "module": "with_optimum",
    # Its calibration takes only a datasets.Dataset, which it does not depend on.
    "packages": (TORCH, "optimum-onnx[onnxruntime]", "datasets"),
}
CONTENDERS: Mapping[str, Contender] = {
    "onnxruntime": Contender(**_ONNXRUNTIME, preset="defaults"),  # type: ignore[arg-type]
    "onnxruntime-u8s8": Contender(**_ONNXRUNTIME, preset="u8s8"),  # type: ignore[arg-type]
    "olive-quantize": Contender(**_OLIVE, preset="quantize"),  # type: ignore[arg-type]
    "olive-static": Contender(**_OLIVE, preset="static"),  # type: ignore[arg-type]
    "optimum-avx512_vnni": Contender(**_OPTIMUM, preset="avx512_vnni"),  # type: ignore[arg-type]
    "optimum-avx2": Contender(**_OPTIMUM, preset="avx2"),  # type: ignore[arg-type]
    "nncf": Contender(environment="nncf", module="with_nncf", packages=(TORCH, "nncf", "onnx", "onnxruntime")),
    "onnx-neural-compressor": Contender(
        environment="onnx-neural-compressor",
        module="with_onnx_neural_compressor",
        # Without the last two, its import stops: it does not depend on them.
        packages=("onnx-neural-compressor", "prettytable", "scipy"),
    ),
}


def python_of(contender: Contender, environments: Path) -> Path:
    """The interpreter of the tool's environment, which is made where there is none.

    Raises:
        EnvironmentFault: pip cannot install it; its own words stand on stderr.
    """
    folder = environments / contender.environment
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "whole").is_file():
        say(f"making the environment {folder}")
        venv.create(folder, with_pip=True)
        torch = f"torch=={version('torch').partition('+')[0]}" if TORCH in contender.packages else TORCH
        wanted = [torch if name == TORCH else name for name in contender.packages]
        command = [str(python), "-m", "pip", "install", "--quiet", *wanted]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise EnvironmentFault(f"{' '.join(wanted)} cannot be installed in {folder}; pip says why, above")
        (folder / "whole").touch()  # last: a killed installation is done again
    return python.absolute()
