"""A small teacher of the bars in every form that a file can have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgekd.data import Dataset

CPU = torch.device("cpu")
CLASSES = ("top", "middle", "bottom")


class Bars(nn.Module):
    """Which third of an 8x8 picture is brightest: (batch, 1, 8, 8) float in 0..1 -> (batch, 3) logits."""

    def __init__(self, *, softmax: bool = False, gain: float = 20.0) -> None:
        super().__init__()
        rows = torch.arange(8)
        thirds = torch.stack([(rows >= k * 8 // 3) & (rows < (k + 1) * 8 // 3) for k in range(3)]).float()
        self.weight = nn.Parameter(
            gain * (thirds / thirds.sum(dim=1, keepdim=True))[:, None, :, None].expand(-1, -1, -1, 8) / 8
        )
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.einsum("bchw,kchw->bk", x, self.weight)
        return logits.softmax(dim=-1) if self.softmax else logits


def logits_of(inputs: np.ndarray, *, gain: float = 20.0) -> np.ndarray:
    """What `Bars` says of (n, 8, 8, 1) uint8 pictures, (n, 3) float32."""
    with torch.no_grad():
        return Bars(gain=gain)(torch.from_numpy(inputs).permute(0, 3, 1, 2).float() / 255).numpy()


def write_onnx(
    path: Path,
    *,
    dtype: int = TensorProto.FLOAT,
    softmax: bool = False,
    batch: int | str = "batch",
    nhwc: bool = False,
    order: tuple[int, ...] = (0, 1, 2),
    sizes: tuple[object, ...] | None = None,
) -> Path:
    """`Bars` as ONNX. dtype: of its input; uint8 takes raw pixels. order: which class each output is."""
    weight = Bars().weight.detach().numpy().reshape(3, 64)[list(order)].T
    shape = [batch, *(sizes or ((8, 8, 1) if nhwc else (1, 8, 8)))]
    raw = dtype == TensorProto.UINT8
    nodes = [helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Div", ["cast", "full"], ["scaled"])]
    nodes += [helper.make_node("Flatten", ["scaled"], ["flat"])]
    nodes += [helper.make_node("MatMul", ["flat", "w"], ["z"])]
    nodes += [helper.make_node("Softmax" if softmax else "Identity", ["z"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "bars",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "w"),
            numpy_helper.from_array(np.float32(255.0 if raw else 1.0), "full"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def write_torchscript(path: Path, module: nn.Module | None = None, example: Tensor | None = None) -> Path:
    """`Bars` as TorchScript, traced."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(
            torch.jit.trace(module or Bars(), torch.zeros(2, 1, 8, 8) if example is None else example), str(path)
        )
    return path


def write_program(path: Path) -> Path:
    """`Bars` as a torch.export program with a dynamic batch."""
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(Bars(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},)), str(path))
    return path


def all_scores(dataset: Dataset, say: Callable[[np.ndarray], np.ndarray] = logits_of) -> dict[str, np.ndarray]:
    """id -> scores of every sample of the splits."""
    found = {}
    for part in (dataset.train, dataset.calibration, dataset.validation, dataset.test):
        assert part.ids is not None
        found |= dict(zip(part.ids.tolist(), say(part.inputs), strict=True))
    return found
