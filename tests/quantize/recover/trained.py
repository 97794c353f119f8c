"""A depthwise network trained in seconds, written as ONNX, and the same function with uneven channels."""

import numpy as np
import onnx

from .networks import network, stored

Arrays = dict[str, np.ndarray]


def depthwise_net(images: np.ndarray, labels: np.ndarray, *, epochs: int, seed: int = 0) -> onnx.ModelProto:
    """conv, two depthwise-separable blocks with Relu, mean, dense; batch norms folded.

    images: (n, height, width, 1) uint8. The network takes (batch, 1, height, width) float32, pixels / 255.
    """
    import torch
    from torch import nn

    def layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            *layer(1, 16, 3, 2),
            *layer(16, 16, 3, 2, groups=16),
            *layer(16, 32, 1),
            *layer(32, 32, 3, groups=32),
            *layer(32, 32, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, int(labels.max()) + 1),
        )
        x, y = torch.from_numpy(pixels(images)), torch.from_numpy(labels)
        steps = epochs * -(-len(x) // 64)
        optimizer = torch.optim.Adam(net.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
                schedule.step()
    torch.set_num_threads(before)
    return _written(net.eval(), images.shape[1])


def pixels(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / 255


def _written(net: object, size: int) -> onnx.ModelProto:
    """Nodes conv0, conv1, ... and dense."""
    modules = list(net)  # type: ignore[call-overload]
    weights: Arrays = {"wd": modules[-1].weight.detach().numpy(), "bd": modules[-1].bias.detach().numpy()}
    nodes: list[object] = []
    tensor = "x"
    for index, (conv, norm) in enumerate(zip(modules[0:15:3], modules[1:15:3], strict=True)):
        gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        weights[f"w{index}"] = (conv.weight.detach() * gain.reshape(-1, 1, 1, 1)).numpy()
        weights[f"b{index}"] = (norm.bias.detach() - norm.running_mean * gain).numpy()
        options = {"strides": [conv.stride[0]] * 2, "pads": [conv.padding[0]] * 4, "group": conv.groups}
        nodes.append(("Conv", [tensor, f"w{index}", f"b{index}"], f"conv{index}", options))
        tensor = f"relu{index}"
        nodes.append(("Relu", [f"conv{index}"], tensor))
    nodes += [("GlobalAveragePool", [tensor], "pool"), ("Flatten", ["pool"], "flat")]
    nodes.append(("Gemm", ["flat", "wd", "bd"], "dense", {"transB": 1}))
    return network(nodes, weights, shape=["batch", 1, size, size], output="dense")  # type: ignore[arg-type]


def uneven(model: onnx.ModelProto, *, decades: float = 3, seed: int = 0) -> onnx.ModelProto:
    """Channel i of each depthwise layer (conv1, conv3) times s_i, what the next layer reads of it divided by s_i.

    s_i: from 10^-decades/2 to 10^decades/2, in random order. Relu(s x) = s Relu(x), so the function stays.
    """
    values, random = stored(model), np.random.default_rng(seed)
    for depthwise in (1, 3):
        w, b, reader = f"w{depthwise}", f"b{depthwise}", f"w{depthwise + 1}"
        channels = len(values[b])
        factors = random.permutation(np.logspace(-decades / 2, decades / 2, channels)).astype(np.float32)
        values[w] *= factors.reshape(-1, 1, 1, 1)
        values[b] *= factors
        values[reader] /= factors.reshape(1, -1, 1, 1)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return changed
