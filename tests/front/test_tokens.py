"""Tokens go to the network as they are, and the file says which tokenizer numbers them."""

import hashlib

import numpy as np
import torch

from edgekd import front

FACTS = {"vocabulary": 300, "max_tokens": 16, "tokenizer": '{"model": "größe"}'}


def test_token_numbers_reach_the_network_as_they_are() -> None:
    module = front.build("text", FACTS, mean=(), std=())
    tokens = front.of("text").to_tensor(np.array([[3, 1, 0]], dtype=np.int32), torch.device("cpu"))
    assert module(tokens) is tokens and tokens.dtype == torch.int32
    assert not module.state_dict()


def test_there_is_nothing_to_standardise_with() -> None:
    assert front.statistics("text", np.zeros((4, 3), dtype=np.int32), FACTS) == ((), ())


def test_the_file_names_the_tokenizer_by_its_hash_and_does_not_hold_it() -> None:
    found = front.build("text", FACTS, mean=(), std=()).describe()
    assert found["inside_graph"] is False
    assert found["text"] == {
        "vocabulary": 300,
        "max_tokens": 16,
        "lowercase": False,
        "padding": 0,
        "padded_at": "end",
        "cut_at": "end",
        "tokenizer_sha256": hashlib.sha256('{"model": "größe"}'.encode()).hexdigest(),
    }
