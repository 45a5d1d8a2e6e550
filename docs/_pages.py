"""Pages that follow from other files: each model, each recipe, their lists, CONTRIBUTING, the notebook.

A hook of mkdocs. Nothing is imported from qsep, so the site builds without torch.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads a hook by its file alone
from _notebook import notebook_page

ROOT = Path(__file__).parent.parent
MODELS, RECIPES = ROOT / "separation" / "models", ROOT / "recipes" / "configs"


def on_files(files: Files, config: Any) -> Files:
    pages = model_pages() | recipe_pages()
    pages["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    pages["tutorial.md"], pictures = notebook_page(Path(__file__).with_name("tutorial.ipynb"))
    for path, content in (pages | pictures).items():
        files.append(File.generated(config, path, content=content))
    return files


def model_pages() -> dict[str, str]:
    names = sorted(path.stem for path in MODELS.glob("[!_]*.py"))
    pages, lines = {}, ["# Models", "", "| model | what it is |", "|---|---|"]
    for name in names:
        source = (MODELS / f"{name}.py").read_text("utf-8")
        lines.append(f"| [`{name}`](models/{name}.md) | {first_sentence(source)} |")
        pages[f"models/{name}.md"] = f"# `{name}`\n\n::: qsep.separation.models.{name}\n"
    pages["models.md"] = "\n".join(lines) + "\n"
    return pages


def recipe_pages() -> dict[str, str]:
    pages, lines = {}, ["# Recipes", "", "| recipe | what it trains |", "|---|---|"]
    for path in sorted(RECIPES.glob("*.toml")):
        text = path.read_text("utf-8")
        content = tomllib.loads(text)
        card = content.get("card", {})
        title = card.get("title") or leading_comment(text)
        lines.append(f"| [`{path.stem}`](recipes/{path.stem}.md) | {title.split(': ', 1)[-1]} |")
        parts = [f"# `{path.stem}`", title, f"```\nqsep train {path.stem} -o runs/{path.stem}\n```"]
        for name in ("data", "scores", "limits"):
            if card.get(name):
                parts += [f"## {name.capitalize()}", card[name].strip()]
        parts += ["## Settings", f"```toml\n{text.strip()}\n```"]
        pages[f"recipes/{path.stem}.md"] = "\n\n".join(parts) + "\n"
    pages["recipes.md"] = "\n".join(lines) + "\n"
    return pages


def first_sentence(source: str) -> str:
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def leading_comment(text: str) -> str:
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    return " ".join(lines[:2])
