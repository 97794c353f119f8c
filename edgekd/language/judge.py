"""The limits of a language recipe -> pass, fail or inconclusive for each file, and which file ships."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekd.gate import WORST_FIRST, Gate, Rule, conclude, judged
from edgekd.language.score import Scores, perplexity_ratio

RULES: dict[str, Rule] = {
    "max_perplexity_ratio": Rule(
        section="accuracy", metric="perplexity_ratio", interval="perplexity_ratio", unit="x", at_most=True
    ),
    "max_token_ms": Rule(section="latency", metric="p50_ms", interval="p50", unit="ms", at_most=True),
    "max_size_bytes": Rule(section="file", metric="size_bytes", interval=None, unit="bytes", at_most=True),
}
"""The ratio is to the teacher's perplexity on the same test blocks, to that of the network in torch without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The variant that ships. reasons: of each variant, why it does or does not."""

    name: str
    reasons: Mapping[str, str]


def judge(
    *,
    ratio: Mapping[str, Any],
    token: Mapping[str, Any],
    size_bytes: int,
    limits: Mapping[str, float],
    sources: Mapping[str, str] | None = None,
) -> Gate:
    """Each limit as a check, and the worst of their verdicts.

    ratio: perplexity_ratio with its ends; token: p50_ms of the next token with its ends. sources: of a limit that is
    not the recipe's, where it is from.

    Raises:
        BadInputError: a measurement is impossible.
    """
    measured = {"accuracy": ratio, "latency": token, "file": {"size_bytes": size_bytes}}
    checks = [
        judged(
            name, RULES[name], measured[RULES[name].section], limit=limit, source=(sources or {}).get(name, "recipe")
        )
        for name, limit in limits.items()
    ]
    return conclude(checks)


SAME_TIME = 1.02
"""Files whose times a token are no farther apart than this are as fast: medians move by that much on an idle machine,
even in turns."""


def choose(gates: Mapping[str, Gate], *, token_ms: Mapping[str, float], size_bytes: Mapping[str, int]) -> Chosen:
    """Of the files with the best verdict the one whose next token comes soonest; of those as fast, the smallest."""
    best = max((gate.verdict for gate in gates.values()), key=WORST_FIRST.index)
    fits = [name for name, gate in gates.items() if gate.verdict == best]
    soonest = min(token_ms[name] for name in fits)
    as_fast = [name for name in fits if token_ms[name] <= SAME_TIME * soonest]
    name = min(as_fast, key=size_bytes.__getitem__)
    reasons = {}
    for other, verdict in gates.items():
        if other == name:
            reasons[other] = "ships: the smallest of the fastest with the best verdict"
        elif verdict.verdict != best:
            reasons[other] = verdict.message
        elif other in as_fast:
            reasons[other] = f"as fast as {name}, {size_bytes[other] / size_bytes[name]:.2f}x its size"
        else:
            reasons[other] = f"{token_ms[other] / token_ms[name]:.2f}x the time of {name} a token"
    return Chosen(name=name, reasons=reasons)


def variants(
    files: Mapping[str, Any], speed: Mapping[str, Any], *, base: Scores, limits: Mapping[str, float]
) -> tuple[list[dict[str, Any]], Gate]:
    """Every file with its verdict, JSON-ready, the one that ships marked `selected`; and the verdict on that one.

    files: as `edgekd.language.files.build` gives them; speed: as `edgekd.language.speed.measure`. base: of the network
    whose perplexity that of each file is divided by.
    """
    ratios = {name: perplexity_ratio(Scores.read(files[name]["scores"]), base) for name in speed}
    sizes = {name: files[name]["size_bytes"] for name in speed}
    gates = {
        name: judge(ratio=ratios[name], token=timed["token"], size_bytes=sizes[name], limits=limits)
        for name, timed in speed.items()
    }
    chosen = choose(gates, token_ms={name: timed["token"]["p50_ms"] for name, timed in speed.items()}, size_bytes=sizes)
    made = []
    for name, entry in files.items():
        if name not in gates:
            made.append({"name": name, "selected": False, "path": None, "sha256": None, "reason": entry["reason"]})
            continue
        made.append(
            {
                "name": name,
                "selected": name == chosen.name,
                "reason": chosen.reasons[name],
                **entry,
                "test": Scores.read(entry["scores"]).summary(),
                "ratio": ratios[name],
                **speed[name],
                "gate": asdict(gates[name]),
            }
        )
    return made, gates[chosen.name]
