"""A network on windows of text, step by step, checkpointed as it goes: what was stopped goes on where it was.

Everything random follows from (seed, step), so on a CPU with the same threads a run that was killed ends with the same
bytes as one that was not.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from edgekd.core import checkpoint, losses
from edgekd.core.average import Average
from edgekd.core.optimizer import Settings, build_optimizer, learning_rate
from edgekd.core.temperature import entropy
from edgekd.errors import BadInputError
from edgekd.language.corpus import Windows
from edgekd.language.objective import TokenObjective
from edgekd.language.targets import Targets
from edgekd.models.causal_transformer import CausalTransformer
from edgekd.progress import Listener, Progress, silent

CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints: what a kill costs at most."""

LOOKS = 20
"""Points of the training curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The training at one step, on its batch. Nats; None without a teacher. temperature: mean of tau_t."""

    step: int
    loss: float
    cross_entropy: float
    kl: float | None
    teacher_entropy_mean: float | None
    teacher_entropy_sd: float | None
    temperature: float | None
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """network: the average of the weights where one was kept. seconds: of all runs that this one resumed too."""

    network: CausalTransformer
    history: tuple[Point, ...]
    seconds: float
    tokens_per_second: float
    skipped: int


def train(
    network: CausalTransformer,
    windows: Windows,
    *,
    objective: TokenObjective,
    settings: Settings,
    path: Path,
    key: str,
    stage: str,
    targets: Targets | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    listener: Listener = silent,
) -> Trained:
    """`settings.epochs` steps of `settings.batch_size` windows. path: of the checkpoint, made under `key`.

    Of `settings` optimizer, rates, warm-up, weight decay, clipping, averaging, skips and seed count; its epochs are
    steps here.

    Raises:
        BadInputError: too many steps without a finite gradient, or a checkpoint that cannot be read.
    """
    run = _Run(network, windows, objective=objective, settings=settings, targets=targets)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = checkpoint.load(path, key=key)
    if state is not None:
        run.load_state(state)
    started, before, saved = time.perf_counter(), run.seconds, time.perf_counter()
    note = "" if state is None else f"resumed after step {run.step}"
    listener(Progress(stage=stage, done=run.step, total=settings.epochs, note=note))
    while run.step < settings.epochs:
        run.advance()
        now = time.perf_counter()
        run.seconds = before + now - started
        if now - saved > checkpoint_seconds or run.step == settings.epochs:
            checkpoint.save(path, run.state(), key=key)
            saved = now
        listener(Progress(stage=stage, done=run.step, total=settings.epochs, note=run.note()))
    seen = settings.epochs * settings.batch_size * windows.context
    return Trained(
        network=run.result,
        history=tuple(run.history),
        seconds=run.seconds,
        tokens_per_second=seen / max(run.seconds, 1e-9),
        skipped=run.skipped,
    )


def order(step: int, *, samples: int, batch_size: int, seed: int) -> tuple[npt.NDArray[np.int64], int]:
    """The windows of a step, and in which pass over all of them it is. Each pass has an order of its own."""
    size = min(batch_size, samples)
    steps = samples // size
    turn, place = divmod(step, steps)
    shuffled = np.random.default_rng((seed, turn)).permutation(samples)
    return shuffled[place * size : (place + 1) * size], turn


class _Run:
    """The network, its optimiser, and where they are."""

    def __init__(
        self,
        network: CausalTransformer,
        windows: Windows,
        *,
        objective: TokenObjective,
        settings: Settings,
        targets: Targets | None,
    ) -> None:
        self.network, self.windows, self.objective = network.train(), windows, objective
        self.settings, self.targets = settings, targets
        self.device = next(network.parameters()).device
        self.optimizer = build_optimizer(network, settings)
        self.average = None if settings.ema_decay is None else Average(network, decay=settings.ema_decay)
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self.history: list[Point] = []
        self.every = max(1, settings.epochs // LOOKS)

    @property
    def result(self) -> CausalTransformer:
        """What training makes, in eval mode."""
        made = self.network if self.average is None else self.average.network
        assert isinstance(made, CausalTransformer)
        return made.eval()

    def advance(self) -> None:
        """One step."""
        seed, number = self.settings.seed, self.step
        rate = learning_rate(self.settings, float(number))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed((seed * 1_000_003 + number) % 2**63)  # dropout
        index, turn = order(number, samples=len(self.windows), batch_size=self.settings.batch_size, seed=seed)
        view = turn % self.windows.views
        tokens, labels, mask = (torch.from_numpy(a).to(self.device) for a in self.windows.batch(index, view=view))
        if not bool(mask.any()):  # nothing but padding
            self.step += 1
            return
        teacher = None if self.targets is None else self.targets(view, index, tokens)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.network(tokens).float()
        loss = self.objective(logits, teacher, labels, epoch=float(turn), mask=mask)
        loss.backward()
        self._update(teacher)
        self.step += 1
        if self.step % self.every == 0 or self.step == self.settings.epochs:
            self.history.append(self._point(loss, logits, teacher, labels, mask, rate=rate))

    def _update(self, teacher: Tensor | None) -> None:
        """Apply the gradient; a step without a finite one is dropped, and counted."""
        parameters = list(self.network.parameters())
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if bool(norm.isfinite()):
            if self.settings.clip_norm is not None:
                clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.network)
            return
        if teacher is not None and not bool(teacher.isfinite().all()):
            raise BadInputError(
                f"the teacher's logits are not finite in step {self.step + 1}; expected numbers below 65,504: check "
                "its weights"
            )
        self.skipped += 1
        if self.skipped > self.settings.max_skipped:
            raise BadInputError(
                f"the gradient was not finite in {self.skipped} steps, last in step {self.step + 1}; expected at most "
                f"{self.settings.max_skipped}: lower learning_rate"
            )

    @torch.no_grad()
    def _point(
        self, loss: Tensor, logits: Tensor, teacher: Tensor | None, labels: Tensor, mask: Tensor, *, rate: float
    ) -> Point:
        student = logits.detach()[mask]
        ce = losses.cross_entropy(student, labels[mask])
        kl = mean = sd = tau = None
        temperatures = None if teacher is None else self.objective.temperatures(student, teacher[mask])
        if teacher is not None and temperatures is not None:
            tau_s, tau_t = temperatures
            h = entropy(teacher[mask], tau_t)
            mean, sd, tau = float(h.mean()), float(h.std()), float(tau_t.mean())
            kl = float(
                losses.divergence(student, teacher[mask], student_temperature=tau_s, teacher_temperature=tau_t).mean()
            )
        return Point(
            step=self.step,
            loss=float(loss),
            cross_entropy=float(ce),
            kl=kl,
            teacher_entropy_mean=mean,
            teacher_entropy_sd=sd,
            temperature=tau,
            learning_rate=rate,
        )

    def note(self) -> str:
        """The latest numbers in a line."""
        if not self.history:
            return ""
        last = self.history[-1]
        kl = "" if last.kl is None else f" · KL {last.kl:.4f}"
        return f"loss {last.loss:.3f} · cross-entropy {last.cross_entropy:.3f}{kl}"

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "history": [asdict(point) for point in self.history],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.step, self.skipped, self.seconds = int(state["step"]), int(state["skipped"]), float(state["seconds"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state(state["average"])
        self.history = [Point(**point) for point in state["history"]]
