"""A study as Markdown: the teacher first, the table, what it means, what was tuned, and how it was measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekd.report.wording import DASH, fixed, interval, percent, plural, points
from edgekd.study import metric
from edgekd.study.charts import ACCURACY, ENTROPY
from edgekd.study.conclude import name

Row = Mapping[str, Any]


def render(study: Row) -> str:
    """The text of study.md."""
    parts = [f"# Study: {study['name']}", teacher_line(study), *_results(study)]
    parts += ["\n".join(f"- {sentence}" for sentence in study["conclusions"])]
    parts += (
        [f"![Accuracy by method]({ACCURACY}.svg)"] if any(arm[metric.of(study).test] for arm in study["arms"]) else []
    )
    parts += [f"![Soft-label entropy]({ENTROPY}.svg)"] if any(arm["soft_entropy"] for arm in study["arms"]) else []
    return "\n\n".join([*parts, *_tuning(study), *_method(study)]) + "\n"


def teacher_line(study: Row) -> str:
    """What the teacher is worth, and whose teacher it is."""
    teacher, judged = study["teacher"], metric.of(study)
    if teacher is None:
        return f"No teacher; student {study['student']}."
    unit = "" if judged is metric.TOP1 else f" {judged.name}"
    return (
        f"Teacher {teacher['model']}: {percent(teacher[judged.test])}{unit} on test, "
        f"{percent(teacher[judged.validation])} on validation, {percent(teacher[judged.train])} on training samples, "
        f"{_parameters(teacher)}; student {study['student']}."
    )


def columns(study: Row) -> tuple[str, ...]:
    """The names of the columns of `result_rows`."""
    judged = metric.of(study)
    return (
        "method",
        "chosen",
        f"test {judged.name}, %",
        "difference, points",
        "",
        "soft-label entropy, nats",
        "logit sd",
        "logit max",
        "ECE, %" if judged is metric.TOP1 else "test micro F1, %",
        "s/epoch",
    )


def _parameters(teacher: Row) -> str:
    """How large the teacher is, where it shows it."""
    return "parameters unknown" if teacher["parameters"] is None else f"{teacher['parameters']:,} parameters"


def result_rows(study: Row) -> list[list[str]]:
    """The table of results, a row a method, as text in the order of `columns`."""
    return [_row(arm, study) for arm in study["arms"]]


def _row(arm: Row, study: Row) -> list[str]:
    against, judged = arm["against_baseline"], metric.of(study)
    entropy = arm["soft_entropy"]
    failed = "failed" if arm["failures"] and not arm["seeds"] else ""
    baseline = "baseline" if arm["method"] == study["baseline"] and len(study["arms"]) > 1 else ""
    return [
        arm["method"],
        setting(arm["chosen"]),
        _spread(arm[judged.test], scale=100, decimals=2),
        _difference(against),
        against["verdict"] if against else failed or baseline,
        f"{entropy['mean']:.3f} ± {entropy['sd']:.2g}" if entropy else DASH,
        _spread(arm["logit_sd"], decimals=2),
        _spread(arm["logit_max"], decimals=1),
        _spread(arm["test_ece" if judged is metric.TOP1 else "test_micro_f1"], scale=100, decimals=2),
        fixed(arm["seconds_per_epoch"], digits=3),
    ]


def setting(knobs: Mapping[str, float] | None) -> str:
    """The knobs in words; a dash for none."""
    return ", ".join(f"{key} {value:g}" for key, value in (knobs or {}).items()) or DASH


def _difference(against: Row | None) -> str:
    if against is None:
        return DASH
    sign = "+" if against["difference"] > 0 else ""
    number = f"{sign}{points(against['difference'])}".removesuffix("\u00a0pt")
    return f"{number} {interval(against['low'], against['high'], scale=100, decimals=2)}".strip()


def _spread(found: Row | None, *, scale: float = 1.0, decimals: int) -> str:
    if found is None:
        return DASH
    mean = f"{scale * found['mean']:.{decimals}f}"
    return mean if found["sd"] is None else f"{mean} ± {scale * found['sd']:.{decimals}f}"


def _results(study: Row) -> Iterator[str]:
    names = [f"{column} to {_base(study)}" if column.startswith("difference") else column for column in columns(study)]
    yield _table(names, result_rows(study))
    yield (
        f"Mean ± standard deviation over {plural(len(study['seeds']), 'seed')}, last epoch, never the best one; the "
        "difference is paired by seed, with its 95 % t interval. Entropy: mean ± standard deviation over training "
        "samples. Logits: of the student, on validation."
    )


def _base(study: Row) -> str:
    return name(next(arm for arm in study["arms"] if arm["method"] == study["baseline"]), study)


def _tuning(study: Row) -> Iterator[str]:
    """The candidates of every arm, on validation."""
    judged = metric.of(study)
    arms = [arm for arm in study["arms"] if len(arm["candidates"]) > 1]
    if not arms:
        return
    yield "## What was tuned"
    by = "accuracy" if judged is metric.TOP1 else judged.name
    yield (
        f"{study['candidates']} candidates an arm, seed {study['seeds'][0]}, chosen by validation {by}; ties go to the "
        "candidate nearer to the published default, which stands first. The chosen candidate's student is also the "
        "first seed's: it was lucky on validation, in every tuned arm alike."
    )
    yield _table(
        ["method", f"validation {judged.name}, % (candidate)", "source"],
        [_tuned(arm, judged.validation) for arm in arms],
    )


def _tuned(arm: Row, key: str) -> list[str]:
    told = []
    for row in arm["candidates"]:
        value = "failed" if row[key] is None else f"{100 * row[key]:.2f}"
        text = f"{value} ({setting(row['knobs'])})"
        told.append(f"**{text}**" if row["knobs"] == arm["chosen"] else text)
    return [arm["method"], "; ".join(told), arm["source"]]


def _method(study: Row) -> Iterator[str]:
    yield "## How it was measured"
    machine, places = study["environment"], study["places"]
    distill = study["recipe"]["values"]["distill"]
    threads = sorted({seed["threads"] for arm in study["arms"] for seed in arm["seeds"]})
    yield (
        f"Every arm: {distill['epochs']} epochs, batch {distill['batch_size']}, the recipe's optimiser and data. A "
        "seed fixes initial weights and order; the split and the augmented views are the same in every cell. "
        f"{plural(places['jobs'], 'cell')} at a time on {', '.join(places['devices']) or DASH}, "
        f"{'/'.join(map(str, threads)) or DASH} thread(s) each; {machine['cpu_model']}, "
        f"{machine['cores_granted']} cores; edgekd {study['edgekd_version']}, torch "
        f"{machine['packages'].get('torch', DASH)}. {study['data']['test']:,} test samples."
    )
    if study["set_aside"]:
        yield f"Set in the recipe, and not used: {', '.join(study['set_aside'])}. Each arm has its own."


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])
