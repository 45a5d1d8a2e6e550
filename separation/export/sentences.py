"""The sentence encoder of phrase books as an ONNX graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.encoders.minilm import MAX_TOKENS, MiniLM

from .graph import Graph, trace

TOKENIZER = "tokenizer.json"


class SentenceVector(nn.Module):
    """Token numbers (1, k) of one sentence, without padding, to its unit vector (1, d)."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, token_ids: Tensor) -> Tensor:
        """The mean of the tokens' states, scaled to unit norm, as `MiniLM.encode`."""
        return F.normalize(self.bert(token_ids).mean(dim=1), dim=-1)


def sentence_graph(encoder: MiniLM) -> Graph:
    """token_ids: (1, k) int64, 1 <= k <= MAX_TOKENS, as the encoder's tokenizer gives them; vector: (1, d),
    of unit norm."""
    _, bert = encoder.network
    examples = {"token_ids": torch.arange(7)[None]}
    about = {"max_tokens": MAX_TOKENS, "fingerprint": encoder.fingerprint}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation that no graph has
    try:
        return trace(SentenceVector(bert), examples, ("vector",), {"token_ids": (1,)}, about)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
