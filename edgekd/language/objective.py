"""What the student minimises, token by token: hard-label weight x cross-entropy + KD weight x a divergence.

The divergences: forward KL(p || q), which covers all that the teacher thinks likely; reverse KL(q || p), which keeps to
what the teacher thinks most likely (Gu et al. 2023, "MiniLLM", arXiv 2306.08543; here on the text's own tokens, not on
sampled ones); CIST's, and that of exact entropy (`edgekd.core.losses.adaptive` says what they are).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from edgekd.core import losses
from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import Rows, not_negative, positive, rows
from edgekd.core.methods import Objective
from edgekd.core.temperature import auto_rho, fixed_entropy
from edgekd.errors import BadInputError, nearest

MethodName = Literal["ce", "forward-kl", "reverse-kl", "cist", "entropy"]

KNOBS: dict[str, dict[str, float]] = {
    "ce": {},
    "forward-kl": {"temperature": 1.0, "kd_weight": 1.0},
    "reverse-kl": {"temperature": 1.0, "kd_weight": 1.0},
    "cist": {"rho": 0.0, "kd_weight": 1.0},
    "entropy": {"target_nats": 0.0, "kd_weight": 1.0, "student_floor": 1.0},
}
"""Method -> its knobs with their defaults. 0 stands for what follows from K (rho) or from the teacher (target_nats)."""

MATCHED_TEMPERATURE = 2.0
"""entropy without a target: as much entropy, on average, as this temperature gives the teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method and the knobs that differ from their defaults. ce_weight: of the labels; without effect in `ce`."""

    name: str
    knobs: Mapping[str, float] = field(default_factory=dict)
    ce_weight: float = 1.0

    def resolved(self, *, classes: int, teacher_logits: Tensor | None) -> "Method":
        """Every knob with its number. teacher_logits: (rows, K), a fair sample; None for `ce`.

        Raises:
            BadInputError: an unknown method or knob, or no teacher for a method that learns from one.
        """
        if self.name not in KNOBS:
            raise BadInputError(
                f"unknown method '{self.name}'{nearest(self.name, list(KNOBS))}; known: {', '.join(KNOBS)}"
            )
        for knob in self.knobs:
            if knob not in KNOBS[self.name]:
                taken = ", ".join(KNOBS[self.name]) or "none"
                raise BadInputError(f"method '{self.name}' has no knob '{knob}'; it takes: {taken}")
        numbers = KNOBS[self.name] | dict(self.knobs)
        if self.name != "ce" and teacher_logits is None:
            raise BadInputError(
                f"method '{self.name}' learns from a teacher, and there is none; name one, or take 'ce'"
            )
        if self.name == "cist" and not numbers["rho"]:
            numbers["rho"] = auto_rho(classes)
        if self.name == "entropy" and not numbers["target_nats"]:
            assert teacher_logits is not None
            numbers["target_nats"] = fixed_entropy(teacher_logits, MATCHED_TEMPERATURE)
        return replace(self, knobs=numbers)

    def objective(self) -> "TokenObjective":
        """The loss; `resolved` comes first."""
        return TokenObjective(self.name, self.knobs, ce_weight=self.ce_weight)


class TokenObjective(Objective):
    """A loss over the tokens that a mask keeps. See `edgekd.core.methods.Objective`."""

    def __init__(self, name: str, knobs: Mapping[str, float], *, ce_weight: float = 1.0) -> None:
        super().__init__(name, knobs)
        self.ce_weight = ce_weight
        not_negative(ce_weight=ce_weight, kd_weight=self.knobs.get("kd_weight", 0.0))
        if "temperature" in self.knobs:
            positive(temperature=self.knobs["temperature"])

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        *,
        epoch: float = 0.0,
        mask: Tensor | None = None,
        class_weights: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar float32 with gradient.

        logits: (batch, tokens, K); labels: int64 (batch, tokens), the tokens that follow; mask: bool (batch, tokens).

        Raises:
            BadInputError: no teacher's logits for a method that learns from them, or what its loss refuses.
        """
        if self.name == "ce":
            return losses.cross_entropy(student_logits, labels, mask=mask)
        if teacher_logits is None:
            raise BadInputError(f"method '{self.name}' learns from a teacher, and there are no teacher logits")
        kept = rows(student_logits, teacher_logits, labels, mask)
        ce = label_term(kept.student, kept.labels, weight=self.ce_weight, label_smoothing=0.0)
        return ce + self.knobs["kd_weight"] * self._distance(kept)

    def _distance(self, kept: Rows) -> Tensor:
        """mean over tokens of tau_t tau_s KL, the temperatures held fixed in the gradient."""
        tau_s, tau_t = self._temperatures(kept.student, kept.teacher)
        if self.name == "reverse-kl":
            kl = losses.divergence(kept.teacher, kept.student, student_temperature=tau_t, teacher_temperature=tau_s)
        else:
            kl = losses.divergence(kept.student, kept.teacher, student_temperature=tau_s, teacher_temperature=tau_t)
        return (tau_t * tau_s * kl).mean()

    def _temperatures(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if self.name == "cist":
            return losses.cist_temperatures(student, teacher, rho=self.knobs["rho"])
        if self.name == "entropy":
            return losses.entropy_temperatures(
                student,
                teacher,
                target_nats=self.knobs["target_nats"],
                student_floor=self.knobs["student_floor"],
            )
        return losses.fixed_temperatures(student, teacher, temperature=self.knobs["temperature"])

    @torch.no_grad()
    def temperatures(self, student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor] | None:
        """(tau_s, tau_t) of each token, for logs: float32, no gradient; None for `ce`."""
        return None if self.name == "ce" else self._temperatures(student_logits, teacher_logits)
