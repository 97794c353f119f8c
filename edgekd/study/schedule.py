"""Which cell is trained next, and which candidate of an arm is chosen once all of them are there."""

from collections import deque

from edgekd.study.grids import Knobs
from edgekd.study.metric import validation
from edgekd.study.plan import Arm, Cell, Plan
from edgekd.study.process import Failed, Trained


class Schedule:
    """The cells of a study: waiting, running, done. First every arm's candidates, then the chosen ones' other seeds.

    Where the teacher's logits are kept on disk, the first cell that needs them fills them: until it is done only cells
    that need no teacher run beside it.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.waiting = deque(cell for arm in plan.arms for cell in arm.tuning)
        self.results: dict[str, Trained | Failed] = {}
        self.chosen: dict[str, Knobs | None] = {}
        self.total = plan.cells
        self._fills = plan.recipe.distill.teacher_cache != "off"
        self._filling: Cell | None = None

    @property
    def done(self) -> int:
        return len(self.results)

    def take(self) -> Cell | None:
        """The next cell that may start now; None while there is none."""
        for cell in self.waiting:
            if self._fills and cell.needs_teacher:
                if self._filling is not None:
                    continue
                self._filling = cell
            self.waiting.remove(cell)
            return cell
        return None

    def finish(self, cell: Cell, result: Trained | Failed) -> None:
        """Take in a result; the last candidate of an arm decides, and queues its other seeds."""
        self.results[cell.name] = result
        if cell == self._filling:
            # One that failed may have left the cache half full: the next teacher's cell goes on filling it, alone.
            self._fills, self._filling = isinstance(result, Failed), None
        arm = next(arm for arm in self.plan.arms if arm.method == cell.method)
        if arm.method in self.chosen or not all(one.name in self.results for one in arm.tuning):
            return
        knobs = self.chosen[arm.method] = self._best(arm)
        if knobs is None:
            self.total -= len(arm.seeds) - 1
        else:
            self.waiting.extend(arm.cells_of(knobs)[1:])

    def _best(self, arm: Arm) -> Knobs | None:
        """The candidate with the best value on validation; of equals the one nearer to the published default."""
        scores = {}
        for index, cell in enumerate(arm.tuning):
            result = self.results[cell.name]
            if isinstance(result, Trained):
                scores[index] = validation(result.report["student"])
        if not scores:
            return None
        return arm.tried[max(scores, key=lambda index: scores[index])]
