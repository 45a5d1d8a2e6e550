"""`qsep locate`: where in a picture a sound is; imports happen when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import DeviceOption, ModelOption, OverwriteOption


def locate(
    picture: Annotated[Path, typer.Argument(help="A picture, as PNG or JPEG.")],
    recording: Annotated[Path, typer.Argument(help="The sound; its first minute is used.")],
    model: ModelOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The picture with the heat map, FILE.png.")
    ] = Path("heat.png"),
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print a JSON object with all similarities.")
    ] = False,
) -> None:
    """Draw over a picture where a sound is in it, by a model that was trained as audiovisual.

    Red is most similar, blue least. Of a picture that is not square, the square in its middle is compared.
    """
    import numpy as np

    from qsep.queries.media import media_file, read_picture
    from qsep.separation.api import load
    from qsep.separation.api import locate as similarities_of_parts
    from qsep.separation.storage.results import Results

    from ..inference.heat_map import hottest, write_heat_map

    if out.suffix.lower() != ".png":
        raise ValueError(f"-o {out}: end the heat map's name in .png")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: add --overwrite or choose another name with -o")
    results = Results(out.parent, "locate", shared=True)
    results.claim(out.name)
    pixels = np.asarray(read_picture(media_file(picture)))
    parts = similarities_of_parts(load(model, device), pixels, recording)
    write_heat_map(pixels, parts, out, results.commit)
    right, down = hottest(parts, *pixels.shape[:2])
    if json_output:
        files = {"picture": str(picture), "recording": str(recording), "file": str(out)}
        peak = {"x": right, "y": down, "similarity": round(float(parts.max()), 4)}
        print(json.dumps(files | peak | {"similarities": parts.astype(float).round(4).tolist()}))
        return
    print(
        f"{out}: most similar ({parts.max():.2f}) {right} pixels from the left, {down} from the top"
    )
