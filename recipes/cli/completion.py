"""Shell completion of the names of models, recipes and protocols; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path


def model_names(incomplete: str) -> list[str]:
    """Shipped and published models whose names begin so."""
    from qsep.separation.published.registry import published_models
    from qsep.separation.storage.shipped import shipped_models

    published = [model.name for model in published_models().values() if model.separates]
    return [name for name in (*shipped_models(), *published) if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    """Recipes of the package whose names begin so."""
    configs = Path(__file__).parents[1] / "configs"
    names = sorted(path.stem for path in configs.glob("*.toml"))
    return [name for name in names if name.startswith(incomplete)]


def protocol_names(incomplete: str) -> list[str]:
    """Evaluation protocols whose names begin so."""
    import qsep.evaluation

    protocols = Path(qsep.evaluation.__file__).parent / "protocols"
    names = sorted(path.stem for path in protocols.glob("[!_]*.py"))
    return [name for name in names if name.startswith(incomplete)]
