"""Distillation losses: pure functions of student logits, teacher logits and labels, each returning a scalar.

    loss = losses.cist(student_logits, teacher_logits, labels, rho=3.0, kd_weight=8.0)

Read hard.py, kl.py, adaptive.py first; each further file is one family of relatives. In all of them the teacher gets no
gradient, all arithmetic is float32, and p, q are the teacher's and the student's soft label.
"""

from edgekd.core.losses.adaptive import cist, cist_temperatures, entropy_kd, entropy_temperatures
from edgekd.core.losses.asymmetric import ats
from edgekd.core.losses.binary import (
    binary_cist,
    binary_cist_temperatures,
    binary_cross_entropy,
    binary_divergence,
    binary_entropy,
    binary_entropy_kd,
    binary_entropy_kd_temperatures,
    binary_kd,
)
from edgekd.core.losses.decoupled import decoupled, dkd, dkd_cist
from edgekd.core.losses.dynamic import dtkd, dtkd_temperatures
from edgekd.core.losses.hard import cross_entropy, labelled
from edgekd.core.losses.kl import divergence, fixed_temperatures, kd
from edgekd.core.losses.learned import ctkd, learned_temperature, learned_temperatures
from edgekd.core.losses.relational import correlation, dist
from edgekd.core.losses.squared import mse
from edgekd.core.losses.standardized import lskd, norm_kd, spherical_kd, spherical_temperatures, standard_temperatures
from edgekd.core.losses.transformed import transformed_temperatures, ttm, wttm

__all__ = [
    "ats",
    "binary_cist",
    "binary_cist_temperatures",
    "binary_cross_entropy",
    "binary_divergence",
    "binary_entropy",
    "binary_entropy_kd",
    "binary_entropy_kd_temperatures",
    "binary_kd",
    "cist",
    "cist_temperatures",
    "correlation",
    "cross_entropy",
    "ctkd",
    "decoupled",
    "dist",
    "divergence",
    "dkd",
    "dkd_cist",
    "dtkd",
    "dtkd_temperatures",
    "entropy_kd",
    "entropy_temperatures",
    "fixed_temperatures",
    "kd",
    "labelled",
    "learned_temperature",
    "learned_temperatures",
    "lskd",
    "mse",
    "norm_kd",
    "spherical_kd",
    "spherical_temperatures",
    "standard_temperatures",
    "transformed_temperatures",
    "ttm",
    "wttm",
]
