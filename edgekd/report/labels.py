"""Where to put the labels of points so that they cover neither each other nor what is drawn."""

import math
from collections.abc import Sequence
from itertools import product

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in points of the page."""

RADII = (4.0, 11.0, 20.0, 32.0, 46.0, 62.0)
ANGLES = tuple(2 * math.pi * step / 16 for step in range(16))
SWEEPS = 3
GAP = 1.5


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    *,
    obstacles: Sequence[Box],
    bounds: Box,
) -> list[Box]:
    """One box for each point's label: near its point, inside `bounds`, off the obstacles and the other labels.

    points: (x, y); sizes: (width, height) of each label; all in the same unit. Coordinate descent over a ring of
    candidates, in a fixed order: equal input gives equal boxes.
    """
    placed: dict[int, Box] = {}
    for _, index in product(range(SWEEPS), range(len(points))):
        others = [box for key, box in placed.items() if key != index]
        placed[index] = min(
            _candidates(points[index], sizes[index]),
            key=lambda candidate: _cost(candidate, others=others, obstacles=obstacles, bounds=bounds),
        )[1]
    return [placed[index] for index in range(len(points))]


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> list[tuple[float, Box]]:
    """(distance, box) pairs; the box's edge, not its centre, keeps the distance from the point."""
    boxes = []
    for radius, angle in product(RADII, ANGLES):
        dx, dy = math.cos(angle), math.sin(angle)
        x = point[0] + radius * dx + dx * size[0] / 2 - size[0] / 2
        y = point[1] + radius * dy + dy * size[1] / 2 - size[1] / 2
        boxes.append((radius, (x, y, x + size[0], y + size[1])))
    return boxes


def _cost(
    candidate: tuple[float, Box], *, others: Sequence[Box], obstacles: Sequence[Box], bounds: Box
) -> tuple[float, float]:
    distance, box = candidate
    width, height = box[2] - box[0], box[3] - box[1]
    outside = width * height - _overlap(box, bounds)
    grown = (box[0] - GAP, box[1] - GAP, box[2] + GAP, box[3] + GAP)
    covered = sum(_overlap(grown, other) for other in others) * 4 + sum(_overlap(grown, o) for o in obstacles)
    return round(10 * outside + covered + 0.8 * distance, 6), distance


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
