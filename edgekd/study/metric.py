"""What a study compares methods by: top-1, or mean average precision where a sample may have several classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """key: the end of its names in a report, as in `test_top1`.

    name: in tables; words: in sentences; title: of a chart. soft_classes: how many classes one soft label has, None for
    as many as the data.
    """

    key: str
    name: str
    words: str
    title: str
    soft_classes: int | None = None

    @property
    def test(self) -> str:
        """The key of a student's or a teacher's value on test."""
        return f"test_{self.key}"

    @property
    def validation(self) -> str:
        """The same on validation."""
        return f"validation_{self.key}"

    @property
    def train(self) -> str:
        """The same on training samples, of a teacher."""
        return f"train_{self.key}"


TOP1 = Metric(key="top1", name="top-1", words="test accuracy", title="Test accuracy")
MAP = Metric(key="map", name="mAP", words="mean average precision on test", title="Test mAP", soft_classes=2)
"""Of no threshold: where a method's probabilities lie says nothing of how well it orders the samples of a class."""
METRICS = {metric.key: metric for metric in (TOP1, MAP)}


def of(study: Mapping[str, Any]) -> Metric:
    """That of study.json, which names it where it is not top-1."""
    return METRICS[study.get("metric", TOP1.key)]


def validation(student: Mapping[str, Any]) -> float:
    """The value that candidates are chosen by."""
    top1 = student["validation_top1"]
    value: float = student["validation_map"] if top1 is None else top1
    return value
