"""A recipe's mixtures without training, for listening and timing."""

from __future__ import annotations

from ..data.mixtures.interface import Mixtures
from .build import build_book, build_data, build_query_encoder, build_task, check_data
from .config import Recipe
from .estimate import BlankEncoder


def preview(recipe: Recipe, validation: bool = False) -> Mixtures:
    """The recipe's training or validation mixtures at its model's sample rate; no query is embedded."""
    check_data(recipe)
    return build_data(recipe, build_book(recipe), model_rate(recipe), validation)


def model_rate(recipe: Recipe) -> int:
    """The sample rate of the recipe's model in Hz."""
    _, _, encoder = build_query_encoder(recipe)
    rate: int = build_task(recipe, build_book(recipe), BlankEncoder(encoder)).model.sample_rate
    return rate
