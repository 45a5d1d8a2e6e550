"""A separator as one ONNX graph: from waveform and queries to targets and residuals, transforms included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.reading.book import OTHER

from ..inference.chunks import geometry
from ..interface import Separator
from ..light.graph_separator import settings_digest
from .graph import Graph, trace
from .portable import Portable

EXAMPLE_SECONDS = 0.5  # of what is traced: any length works later


class WholeSeparator(nn.Module):
    """waveform (1, c, t), queries (s, d) to target and residual, (s, c, t) each."""

    def __init__(self, separator: Separator) -> None:
        super().__init__()
        self.separator = separator

    def forward(self, waveform: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """One mixture, s queries."""
        with Portable():
            separated = self.separator.separate(waveform, QueryEmbedding(queries[None]))
        return separated.target[0], separated.residual[0]


def separator_graph(separator: Separator, settings: Mapping[str, Any] | None = None) -> Graph:
    """waveform: (1, c, t) float32 at the separator's rate, any t >= 1; queries: (s, d), as the separator's
    query encoder gives them; target, residual: (s, c, t), which sum to the waveform.

    settings: of the separator, as config.json has them, by which a checkpoint knows its own graph.
    Of class separators a query's d numbers are degrees in [0, 1], whose classes the graph names.
    Raises ValueError for separators that cannot be one graph.
    """
    name = type(separator).__name__
    capabilities = separator.capabilities
    if capabilities.generative or capabilities.compares or separator.query_dim == 0:
        raise ValueError(
            f"{name} cannot be exported: its output is sampled, or it reads several vectors for each query"
        )
    channels = separator.num_channels or 2
    num_samples = round(EXAMPLE_SECONDS * separator.sample_rate)
    examples = {
        "waveform": torch.zeros(1, channels, num_samples),
        "queries": torch.zeros(3, separator.query_dim),
    }
    about = {
        "sample_rate": separator.sample_rate,
        "stride_samples": separator.stride_samples,
        "context_samples": separator.context_samples,
        "step_samples": geometry(separator).step,
        "settings": settings_digest(settings) if settings else "",
        "classes": [*separator.classes, OTHER] if separator.classes else [],
    }
    varying = {"waveform": (1, 2) if separator.num_channels is None else (2,), "queries": (0,)}
    try:
        return trace(WholeSeparator(separator), examples, ("target", "residual"), varying, about)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name} cannot be exported as one graph: {reason}") from error
