"""The figure of the README: the flow of data through the default model, as SVG in light and dark.

python docs/_figure.py writes docs/data-light.svg and docs/data-dark.svg.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
THEMES = {
    "light": {"ink": "#1f2328", "soft": "#59636e", "box": "#f6f8fa", "line": "#8c959f"},
    "dark": {"ink": "#f0f6fc", "soft": "#9198a1", "box": "#151b23", "line": "#656c76"},
}
SOUND, WORDS = "#2f81f7", "#d29922"  # legible on both grounds
WIDTH, HEIGHT, BOX_WIDTH, BOX_HEIGHT = 920, 236, 132, 58
# Column, row, title, second line, colour of the frame.
BOXES = {
    "file": (0, 0, "recording", "any rate, length", SOUND),
    "bands": (1, 0, "STFT, 128 bands", "relative energies", SOUND),
    "unet": (2, 0, "U-Net", "features", SOUND),
    "classes": (3, 0, "posteriors", "of sound classes", SOUND),
    "mask": (4, 0, "mask", "adapted to the mixture", SOUND),
    "out": (5, 0, "target and rest", "sum to the recording", SOUND),
    "query": (0, 1, "“the drums”", "words or an example", WORDS),
    "book": (1, 1, "grammar", "phrase book", WORDS),
    "degrees": (2, 1, "degrees", "of the wanted classes", WORDS),
}
ARROWS = (
    *(("file", "bands"), ("bands", "unet"), ("unet", "classes"), ("classes", "mask")),
    *(("mask", "out"), ("query", "book"), ("book", "degrees"), ("degrees", "mask")),
)


def corner(name: str) -> tuple[float, float]:
    column, row = BOXES[name][:2]
    return 10 + column * (BOX_WIDTH + 22), 22 + row * (BOX_HEIGHT + 68)


def box(name: str, theme: dict[str, str]) -> str:
    left, top = corner(name)
    _, _, title, second, colour = BOXES[name]
    middle = left + BOX_WIDTH / 2
    return (
        f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" '
        f'fill="{theme["box"]}" stroke="{colour}" stroke-width="1.5"/>'
        f'<text x="{middle}" y="{top + 25}" fill="{theme["ink"]}" font-size="14" '
        f'font-weight="600" text-anchor="middle">{title}</text>'
        f'<text x="{middle}" y="{top + 44}" fill="{theme["soft"]}" font-size="11.5" '
        f'text-anchor="middle">{second}</text>'
    )


def arrow(start: str, end: str, theme: dict[str, str]) -> str:
    (left, top), (right, low) = corner(start), corner(end)
    here = left + BOX_WIDTH, top + BOX_HEIGHT / 2
    if top == low:
        path = f"M {here[0]} {here[1]} H {right - 3}"
    else:
        path = f"M {here[0]} {here[1]} H {right + BOX_WIDTH / 2} V {low + BOX_HEIGHT + 3}"
    return f'<path d="{path}" stroke="{theme["line"]}" fill="none" marker-end="url(#tip)"/>'


def figure(theme: dict[str, str]) -> str:
    parts = [arrow(*ends, theme) for ends in ARROWS] + [box(name, theme) for name in BOXES]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 16} {HEIGHT}" '
        'role="img" font-family="Helvetica, Arial, sans-serif">'
        "<title>A recording becomes class posteriors, a query degrees of classes; both make the mask"
        '</title><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 Z" fill="{theme["line"]}"/>'
        "</marker></defs>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    for name, theme in THEMES.items():
        (FOLDER / f"data-{name}.svg").write_text(figure(theme), "utf-8")


if __name__ == "__main__":
    main()
