"""Goes on with a text: `python generate.py "def main("`. Needs numpy and onnxruntime, and the files beside it.

A bundle of `edgekd language` holds a copy of this file. A vocabulary of a tokenizers JSON needs `tokenizers` too.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Print the prompt and what the network writes after it."""
    parser = argparse.ArgumentParser(description="Goes on with a text.")
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=200, help="how many to write")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the most likely token")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(options.seed)
    written = write(folder, encode(words, options.prompt), count=options.tokens, t=options.temperature, rng=rng)
    print(options.prompt + decode(words, written))


def write(folder: Path, prompt: list[int], *, count: int, t: float, rng: np.random.Generator) -> list[int]:
    """The tokens that follow `prompt`, drawn one by one. At a full context the newer half is read again."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    context = json.loads(session.get_modelmeta().custom_metadata_map["edgekd"])["context"]
    depth, _, _, heads, _, size = next(node.shape for node in session.get_inputs() if node.name == "past")
    text, made = list(prompt)[-context:], list[int]()
    new, past = text, np.zeros((depth, 2, 1, heads, 0, size), dtype=np.float32)
    for _ in range(count):
        if past.shape[4] + len(new) > context:
            new = text[-(context // 2) :]
            past = past[:, :, :, :, :0]
        logits, past = session.run(None, {"tokens": np.array([new], dtype=np.int64), "past": past})
        new = [draw(logits[0, -1], t=t, rng=rng)]
        text, made = text + new, made + new
    return made


def draw(logits: Any, *, t: float, rng: np.random.Generator) -> int:
    """A token number of logits (K,), at temperature t; the most likely one at 0."""
    if t <= 0:
        return int(logits.argmax())
    p = np.exp((logits - logits.max()).astype(np.float64) / t)
    return int(rng.choice(len(p), p=p / p.sum()))


def encode(words: dict[str, Any], text: str) -> list[int]:
    """The token numbers of a text that is not empty."""
    if not text:
        raise SystemExit("the prompt is empty; expected at least one character")
    if words["kind"] == "bytes":
        return list(text.encode())
    if words["kind"] == "characters":
        known = {character: number for number, character in enumerate(words["definition"], start=1)}
        return [known.get(character, 0) for character in text]
    return list(_tokenizer(words).encode(text, add_special_tokens=False).ids)


def decode(words: dict[str, Any], tokens: list[int]) -> str:
    """The text of token numbers."""
    if words["kind"] == "bytes":
        return bytes(tokens).decode(errors="replace")
    if words["kind"] == "characters":
        return "".join(("\ufffd" + words["definition"])[token] for token in tokens)
    return str(_tokenizer(words).decode(tokens))


def _tokenizer(words: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(words["definition"])


if __name__ == "__main__":
    main()
