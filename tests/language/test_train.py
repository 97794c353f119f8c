"""Training: it learns, a stopped one ends with the same bytes, and a cache of the teacher teaches the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.core.optimizer import Settings
from edgekd.errors import BadInputError
from edgekd.language import network, targets, vocabulary
from edgekd.language.corpus import Corpus, Windows
from edgekd.language.network import Card
from edgekd.language.objective import Method, TokenObjective
from edgekd.language.targets import CachePlan
from edgekd.language.train import Trained, order, train
from edgekd.models.causal_transformer import CausalTransformer
from edgekd.progress import Progress

CPU = torch.device("cpu")
SETTINGS = Settings(
    epochs=24, batch_size=8, optimizer="adamw", learning_rate=1e-2, warmup_epochs=4, clip_norm=1.0, ema_decay=0.9
)


def fresh(words: Corpus, *, width: int = 16) -> CausalTransformer:
    torch.manual_seed(0)
    return network.build(card(words, width=width))


def card(words: Corpus, *, width: int = 16) -> Card:
    return Card(vocabulary=words.vocabulary, context=16, sizes={"width": width, "depth": 1, "heads": 2, "dropout": 0.1})


def run(words: Corpus, folder: Path, **changes: object) -> Trained:
    options: dict[str, object] = {
        "objective": TokenObjective("ce", {}),
        "settings": SETTINGS,
        "path": folder / "last.pt",
        "key": "k",
        "stage": "teacher",
    }
    return train(fresh(words), Windows(words.train, context=16), **(options | changes))  # type: ignore[arg-type]


def same(one: CausalTransformer, two: CausalTransformer) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_each_pass_takes_every_window_once_in_an_order_of_its_own() -> None:
    passes = [[order(step, samples=12, batch_size=4, seed=3) for step in range(start, start + 3)] for start in (0, 3)]
    taken = [np.concatenate([index for index, _ in steps]).tolist() for steps in passes]
    assert [sorted(one) for one in taken] == [list(range(12))] * 2
    assert taken[0] != taken[1]
    assert [turn for steps in passes for _, turn in steps] == [0, 0, 0, 1, 1, 1]


def test_the_loss_falls(words: Corpus, tmp_path: Path, one_thread: None) -> None:
    history = run(words, tmp_path).history
    assert history[-1].cross_entropy < history[0].cross_entropy - 0.5


def test_a_training_that_was_stopped_ends_with_the_same_bytes(words: Corpus, tmp_path: Path, one_thread: None) -> None:
    whole = run(words, tmp_path / "whole")

    def stop(progress: Progress) -> None:
        if progress.done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(words, tmp_path / "stopped", checkpoint_seconds=0.0, listener=stop)
    notes: list[str] = []
    resumed = run(words, tmp_path / "stopped", listener=lambda progress: notes.append(progress.note))
    assert notes[0] == "resumed after step 11"
    assert same(whole.network, resumed.network)
    assert whole.history == resumed.history


def test_a_checkpoint_of_another_recipe_is_not_resumed(words: Corpus, tmp_path: Path, one_thread: None) -> None:
    run(words, tmp_path)
    notes: list[str] = []
    run(words, tmp_path, key="other", listener=lambda progress: notes.append(progress.note))
    assert notes[0] == ""


def test_a_gradient_that_is_never_finite_is_named(words: Corpus, tmp_path: Path) -> None:
    class Broken(TokenObjective):
        def forward(self, student_logits: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:  # type: ignore[override]
            return student_logits.sum() * torch.nan

    with pytest.raises(BadInputError, match="not finite in 11 steps, last in step 11"):
        run(words, tmp_path, objective=Broken("ce", {}))


@pytest.mark.parametrize("top_k", [None, 6])
def test_a_full_cache_teaches_without_the_teacher(words: Corpus, tmp_path: Path, top_k: int | None) -> None:
    windows = Windows(words.train, context=16, views=2)
    teacher = fresh(words, width=32).eval()
    plan = CachePlan(folder=tmp_path, key="a", top_k=top_k, limit_bytes=10**8)
    index = np.array([3, 0, len(windows) - 1])
    tokens = torch.from_numpy(windows.batch(index, view=1)[0])
    options = {"classes": words.vocabulary.size, "batch_size": 8, "device": CPU}
    with targets.answering(lambda: teacher, windows, cache=plan, **options) as first:  # type: ignore[arg-type]
        filled = first(1, index, tokens)

    def never() -> CausalTransformer:
        raise AssertionError("the teacher was loaded")

    with targets.answering(never, windows, cache=plan, **options) as second:  # type: ignore[arg-type]
        assert torch.equal(second(1, index, tokens), filled)
    live = targets.Live(teacher)(1, index, tokens)
    p, q = live.softmax(-1), filled.softmax(-1)
    largest = live.topk(6, dim=-1).indices if top_k else torch.arange(words.vocabulary.size).expand_as(live)
    torch.testing.assert_close(q.gather(-1, largest), p.gather(-1, largest), rtol=0, atol=2e-3)
    torch.testing.assert_close(q.sum(-1), torch.ones(q.shape[:-1]))


def test_a_cache_whose_filling_was_stopped_goes_on_and_never_asks_twice(words: Corpus, tmp_path: Path) -> None:
    windows = Windows(words.train, context=16, views=4)
    teacher = fresh(words, width=32).eval()
    plan = CachePlan(folder=tmp_path, key="a", top_k=6, limit_bytes=10**8)
    asked: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        asked.append(len(inputs[0]))
        if len(asked) == 40:
            raise KeyboardInterrupt

    teacher.register_forward_hook(count)
    options = {"classes": words.vocabulary.size, "batch_size": 8, "device": CPU}
    with pytest.raises(KeyboardInterrupt), targets.answering(lambda: teacher, windows, cache=plan, **options):  # type: ignore[arg-type]
        raise AssertionError("it was filled")
    with targets.answering(lambda: teacher, windows, cache=plan, **options) as found:  # type: ignore[arg-type]
        index = np.array([0, len(windows) - 1])
        assert found(3, index, torch.from_numpy(windows.batch(index, view=3)[0])).isfinite().all()
    whole = 4 * len(windows)
    assert whole <= sum(asked) < 2 * whole  # what a stopped chunk had is asked again, and no more


def test_what_stands_in_padded_places_changes_neither_loss_nor_gradient(words: Corpus) -> None:
    windows = Windows(words.train, context=16)
    index = np.arange(len(windows))
    tokens, labels, mask = (torch.from_numpy(a) for a in windows.batch(index))
    padded = torch.from_numpy(index)[~mask.all(dim=1)][:4]
    tokens, labels, mask = tokens[padded], labels[padded], mask[padded]
    assert int((~mask).sum()) > 0
    teacher, student = fresh(words, width=32).eval(), fresh(words).eval()

    def learned(read: torch.Tensor, wanted: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
        student.zero_grad()
        objective = TokenObjective("cist", {"rho": 2.0, "kd_weight": 1.0})
        loss = objective(student(read), network.predict(teacher, read), wanted, mask=mask)
        loss.backward()
        return loss.item(), [p.grad.clone() for p in student.parameters() if p.grad is not None]

    # A token is learned from where the next one is known: what follows the last such place is padding alone.
    place = torch.arange(16)[None] > mask.sum(dim=1, keepdim=True)
    first = learned(tokens, labels)
    other = learned(torch.where(place, 3, tokens), torch.where(mask, labels, 5))
    assert first[0] == other[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], other[1], strict=True))


def test_a_student_learns_from_each_method(words: Corpus, tmp_path: Path, one_thread: None) -> None:
    teacher = targets.Live(run(words, tmp_path / "teacher").network)
    windows = Windows(words.train, context=16)
    index = np.arange(4)
    sample = teacher(0, index, torch.from_numpy(windows.batch(index)[0])).flatten(0, 1)
    for name in ("cist", "entropy", "forward-kl", "reverse-kl"):
        method = Method(name=name).resolved(classes=words.vocabulary.size, teacher_logits=sample)
        made = run(words, tmp_path / name, objective=method.objective(), targets=teacher)
        assert made.history[-1].cross_entropy < made.history[0].cross_entropy - 0.4, name
        assert made.history[-1].kl is not None and made.history[0].kl is not None


def test_exact_entropy_gives_every_soft_label_the_same(words: Corpus, tmp_path: Path, one_thread: None) -> None:
    teacher = targets.Live(run(words, tmp_path / "teacher").network)
    objective = TokenObjective("entropy", {"target_nats": 1.5, "kd_weight": 1.0, "student_floor": 1.0})
    made = run(words, tmp_path, objective=objective, targets=teacher)
    last = made.history[-1]
    assert last.teacher_entropy_mean == pytest.approx(1.5, abs=1e-3)
    assert last.teacher_entropy_sd is not None and last.teacher_entropy_sd < 1e-3


def test_weights_come_back_as_they_were(words: Corpus, tmp_path: Path) -> None:
    net = fresh(words)
    network.save(net, tmp_path / "a.safetensors", card(words))
    network.save(net, tmp_path / "b.safetensors", card(words))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded, own = network.load(tmp_path / "a.safetensors")
    assert same(net, loaded)
    assert own == card(words)


def test_a_teacher_with_another_context_or_vocabulary_is_refused(words: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network.save(fresh(words), path, card(words))
    with pytest.raises(BadInputError, match=r"reads 16 tokens at a time, and data\.context is 32"):
        network.load_teacher(path, vocabulary=words.vocabulary, context=32)
    with pytest.raises(BadInputError, match="the data one of 256 bytes"):
        network.load_teacher(path, vocabulary=vocabulary.of("bytes", training_text=""), context=16)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 a pickle"])
def test_weights_that_cannot_be_read_are_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"weights\.safetensors: (no such file|not a whole safetensors file)"):
        network.load(path)
