"""Class imbalance: an order of the samples in which every class comes equally often."""

import torch
from torch import Generator, Tensor


def balanced(labels: Tensor, generator: Generator) -> Tensor:
    """Places of n samples for one epoch, as many of every class that occurs, in random order.

    labels: (n,) int64 on the CPU, -1 for none: such samples keep the share that they have. Returns (n,) int64.

    A class that is rarer than its share comes several times an epoch, each of its samples equally often but for one; of
    a more frequent one each epoch takes another random part. No sample is drawn twice before its class is through: so
    an epoch differs less from the next than with independent draws. All follows from the generator, whose seed is the
    epoch's: a run that goes on in the middle of an epoch takes the same order.
    """
    classes = torch.unique(labels[labels >= 0])
    free = (labels < 0).nonzero().squeeze(-1)
    wanted = len(labels) - len(free)
    parts = [free[torch.randperm(len(free), generator=generator)]]
    # Which classes get one sample more than the others is drawn too.
    turn = torch.randperm(len(classes), generator=generator).tolist()
    for place, number in enumerate(turn):
        members = (labels == classes[number]).nonzero().squeeze(-1)
        count = wanted // len(classes) + (place < wanted % len(classes))
        rounds = -(-count // len(members))
        drawn = torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)])
        parts.append(drawn[:count])
    order = torch.cat(parts)
    return order[torch.randperm(len(order), generator=generator)]


def negatives_per_positive(labels: Tensor) -> tuple[float, ...]:
    """Weights of the positives of each class, its known negatives over its positives: both sides then weigh the same.

    What torch's BCEWithLogitsLoss has as pos_weight, in its own example
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html). labels: (n, K) of 1, 0 and -1,
    unknown. A class without positives, or without negatives, gets 1.
    """
    positive, negative = ((labels == value).sum(dim=0).double() for value in (1, 0))
    return tuple(torch.where((positive > 0) & (negative > 0), negative / positive.clamp(min=1), 1.0).tolist())


def inverse_frequencies(labels: Tensor, classes: int) -> tuple[float, ...]:
    """Weights n / (K n_k), n_k the labelled samples of class k: their mean over the samples is 1.

    As scikit-learn's class_weight="balanced", after King and Zeng 2001, "Logistic Regression in Rare Events Data"
    (https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html).
    labels: (n,) int64, -1 for none. A class without samples gets 1: nothing is weighted by it.
    """
    counts = torch.bincount(labels[labels >= 0], minlength=classes).double()
    weights = counts.sum() / (classes * counts)
    return tuple(torch.where(counts > 0, weights, 1.0).tolist())
