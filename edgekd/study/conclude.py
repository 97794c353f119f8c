"""What a study's numbers allow to say, in sentences: made from the intervals alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.report.wording import interval, plural, points
from edgekd.study import metric

WORDS = {
    "beats": "beats",
    "loses": "loses to",
    "no difference shown": "shows no difference to",
    "not judged": "beside",
}


def sentences(study: Mapping[str, Any]) -> list[str]:
    """The result of every arm, then what limits it."""
    arms = study["arms"]
    told = [_against(arm, study) for arm in arms if arm["against_baseline"]]
    told += [_summary(study)] if len(arms) > 1 else []
    told += [_sampling(study)] if any(arm["against_baseline"] for arm in arms) else []
    told += _edges(arms)
    told += [text for arm in arms for text in _failed(arm, study)]
    return told


def name(arm: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """The baseline is called tuned where it was."""
    tuned = arm["method"] == study["baseline"] and study["candidates"] > 1 and arm["method"] != "ce"
    return f"tuned {arm['method']}" if tuned else str(arm["method"])


def _base(study: Mapping[str, Any]) -> str:
    return name(next(arm for arm in study["arms"] if arm["method"] == study["baseline"]), study)


def _against(arm: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    found = arm["against_baseline"]
    pairs, words = len(found["seeds"]), metric.of(study).words
    sign = "+" if found["difference"] > 0 else ""
    opening = f"{arm['method']} {WORDS[found['verdict']]} {_base(study)}: {sign}{points(found['difference'])}"
    if found["low"] is None:
        why = "one seed has no spread" if pairs == 1 else "all seeds differ by the same"
        return f"{opening} of {words} over {plural(pairs, 'seed')}, not judged: {why}, so there is no interval."
    ends = interval(found["low"], found["high"], scale=100, decimals=2)
    return f"{opening} of {words}, 95 % interval {ends} over {plural(pairs, 'seed')}."


def _summary(study: Mapping[str, Any]) -> str:
    judged = [arm for arm in study["arms"] if arm["against_baseline"] and arm["against_baseline"]["low"] is not None]
    better = [arm["method"] for arm in judged if arm["against_baseline"]["verdict"] == "beats"]
    if not judged:
        return f"Nothing can be said against {_base(study)}: no interval."
    if better:
        return f"Of {len(judged)} methods, {_listed(better)} {'beat' if len(better) > 1 else 'beats'} {_base(study)}."
    return f"None of {plural(len(judged), 'method')} beats {_base(study)} here."


def _sampling(study: Mapping[str, Any]) -> str:
    of_sets = metric.of(study) is metric.MAP
    low, high = ("micro_f1_low", "micro_f1_high") if of_sets else ("low", "high")
    widths = [
        (seed[high] - seed[low]) / 2
        for arm in study["arms"]
        for seed in (arm["against_baseline"] or {"seeds": ()})["seeds"]
        if seed[low] is not None
    ]
    width = points(sum(widths) / len(widths)) if widths else "an unknown amount"
    own = (
        f"of its own, which is not known of mAP; of micro F1 it is about ±{width} for one pair of students (Cochran)."
        if of_sets
        else f"of its own, about ±{width} for one pair of students (Newcombe)."
    )
    return (
        "The intervals are over training seeds, on one split and one test set, and each method is judged by itself: of "
        f"twenty such intervals one misses by chance. The draw of the {study['data']['test']:,} test samples adds an "
        f"uncertainty {own}"
    )


def _edges(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    named = [f"{arm['method']} ({', '.join(arm['edges'])})" for arm in arms if arm["edges"]]
    return [f"At the edge of what was tried, so that a wider grid may do better: {'; '.join(named)}."] if named else []


def _failed(arm: Mapping[str, Any], study: Mapping[str, Any]) -> list[str]:
    if not arm["failures"]:
        return []
    first = arm["failures"][0]["message"].splitlines()[0]
    if not arm["seeds"]:
        return [f"{arm['method']} has no result: {plural(len(arm['failures']), 'cell')} failed: {first}"]
    named = ", ".join(failure["cell"] for failure in arm["failures"])
    return [f"{arm['method']}: {plural(len(arm['failures']), 'cell')} failed ({named}): {first}"]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
