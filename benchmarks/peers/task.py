"""What a tool's process gets and answers; imported in every tool's environment, so it needs numpy and onnx alone."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Feed = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """model: fp32 file. data: an .npz with x in the model's own layout. out: the file to write. preset: of the tool."""

    model: str
    data: str
    out: str
    preset: str = ""

    def inputs(self) -> npt.NDArray[Any]:
        """All samples, (n, …)."""
        with np.load(self.data, allow_pickle=False) as arrays:
            found: npt.NDArray[Any] = arrays["x"]
        return found

    def feeds(self) -> Iterator[Feed]:
        """One sample after another, as the tools' own examples hand them over: {input name: (1, …)}."""
        name = self.input_name()
        return ({name: sample[None]} for sample in self.inputs())

    def input_name(self) -> str:
        """The model's first input that is no weight."""
        import onnx

        graph = onnx.load(self.model, load_external_data=False).graph
        weights = {weight.name for weight in graph.initializer}
        return next(str(value.name) for value in graph.input if value.name not in weights)

    @property
    def scratch(self) -> Path:
        """A folder beside the file to write, for what the tool writes on its way."""
        folder = Path(self.out).parent / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Reader:
    """The data reader of ONNX Runtime's calibration: the next feed, None at the end."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.rewind()

    def get_next(self) -> Feed | None:
        """The next sample."""
        return next(self._feeds, None)

    def rewind(self) -> None:
        """Start again at the first sample."""
        self._feeds = self._task.feeds()


def answer(quantize: Callable[[Task], Any], *packages: str) -> None:
    """Do the task on the command line; print the versions of `packages` as the last line."""
    quantize(Task(**json.loads(sys.argv[1])))
    print(json.dumps({"versions": {name: version(name) for name in packages}}))
