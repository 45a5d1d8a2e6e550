"""Checkpoints of CLIPSep's code: best_model.pt, and train-args.json that describes it.

The authors' classes are settings here: clip with --fusion late, early or middle, and label_only are
`clipsep`, and so is sop, queried by the features of a ResNet-18; clipsepnit (formerly clippit4) is
`clipsep_nit`; pit is `pitsep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from qsep.queries.files.json_files import json_content

from .converted import Converted, released_names

PREFIX = "module."  # of torch.nn.DataParallel
KINDS = {
    "clip": "clipsep",
    "label_only": "clipsep",
    "sop": "clipsep",
    "clipsepnit": "clipsep_nit",
    "clippit4": "clipsep_nit",
    "pit": "pitsep",
}
REASONS = {"bert": "its queries are sentence vectors that were never published"}


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights are of this system."""
    return any(key.startswith(f"{PREFIX}sound_net.") for key in weights)


def convert(weights: Mapping[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights of a released checkpoint. ValueError with one line if anything
    does not fit; no weights are dropped silently."""
    args_path = find_args(path)
    args = read_args(args_path)
    model, fusion = args["image_model"], args.get("fusion", "late")
    kind = KINDS[model]
    num_levels = args.get("layers", 7)
    modules = published_modules(kind, fusion, num_levels)
    ours, released = {}, released_names(modules, PREFIX)
    for key, value in weights.items():
        module, _, name = key.removeprefix(PREFIX).rpartition(".")
        if not key.startswith(PREFIX) or module not in modules:
            raise ValueError(
                f"{path}: weights {key} are not part of {model} with {fusion} fusion as {args_path} "
                "describes it; put the train-args.json of the same run beside it"
            )
        if target := modules[module]:
            ours[f"{target}.{name}"] = value
    encoder_kind, encoder_settings = query_encoder(model, args, args_path)
    return Converted(
        kind,
        settings_of(kind, args, encoder_settings),
        encoder_kind,
        encoder_settings,
        ours,
        {"recipe": f"CLIPSep ({model}, {fusion} fusion)", "seed": args.get("seed"), "step": None},
        released,
    )


def find_args(path: Path) -> Path:
    """train-args.json, beside the checkpoint or, as released, in the folder above. ValueError if there
    is none."""
    for folder in (path.parent, path.absolute().parent.parent):
        if (folder / "train-args.json").is_file():
            return folder / "train-args.json"
    raise ValueError(
        f"{path}: no train-args.json beside it or one folder up; it says which network this is"
    )


def read_args(path: Path) -> dict[str, Any]:
    """The training arguments. ValueError if they cannot be read or describe a network that cannot be
    converted."""
    try:
        args = json_content(path)
        model = args["image_model"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the train-args.json of a CLIPSep run ({error!r})") from error
    if model not in KINDS:
        reason = REASONS.get(model, f"expected one of {', '.join(KINDS)}")
        raise ValueError(f"{path}: image_model {model!r} cannot be converted: {reason}")
    for name in ("layers", "channels", "audio_len", "hop_len"):
        if not isinstance(args.get(name, 1), int):
            raise ValueError(f"{path}: {name} is {args[name]!r}; expected a whole number")
    if not args.get("log_freq", True):
        raise ValueError(f"{path}: log_freq is off; only log-frequency networks can be converted")
    if args.get("win_len", 1024) != args.get("n_fft", 1024):
        raise ValueError(f"{path}: win_len differs from n_fft; such networks cannot be converted")
    return args


def settings_of(kind: str, args: dict[str, Any], encoder: dict[str, Any]) -> dict[str, Any]:
    """The separator's settings from the arguments; defaults for those that the file leaves out."""
    names = {"audio_rate": "sample_rate", "n_fft": "window_samples", "hop_len": "hop_samples"}
    spectrogram = {ours: args[theirs] for theirs, ours in names.items() if theirs in args}
    if "audio_len" in args:
        spectrogram["segment_frames"] = (args["audio_len"] + 1) // args.get("hop_len", 256)
    target = {"kind": "binary" if args.get("binary_mask", True) else "ratio"}
    target |= {"weighted": args["weighted_loss"]} if "weighted_loss" in args else {}
    settings: dict[str, Any] = {"spectrogram": spectrogram, "target": target}
    settings["num_features"] = args.get("channels", 32)
    settings["channels"] = [64 * min(8, 2**level) for level in range(args.get("layers", 7))]
    if kind == "clipsep":
        settings["fusion"] = args.get("fusion", "late")
        if "labels" in encoder:
            settings |= {"table_dim": 512, "query_dim": len(encoder["labels"])}
    elif kind == "clipsep_nit":
        names = {"reg2_coef": "weight", "reg2_epsilon": "gamma", "pit_warmup_steps": "warmup_steps"}
        names |= {"reg_coef": "margin_weight", "reg_epsilon": "margin"}
        settings["noise"] = {ours: args[theirs] for theirs, ours in names.items() if theirs in args}
        settings["noise"]["batch_penalty"] = True  # as in the code that trained it
    else:
        settings["num_sources"] = args.get("n_mix", 2)
    return settings


def query_encoder(model: str, args: dict[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """Kind and settings of the encoder; CLIP is OpenAI's ViT-B/32, without normalisation, the ResNet-18
    of sop torchvision's. ValueError if the label map is missing or wrong."""
    if model == "pit":
        return "minilm", {}  # PIT ignores its queries
    if model == "sop":
        return "resnet", {}
    if model != "label_only":
        return "clip", {}
    name = Path(str(args.get("label_map_filename"))).name
    try:
        numbers = json_content(path.parent / name)
        labels = sorted(numbers, key=numbers.__getitem__)
        if [numbers[label] for label in labels] != list(range(args["n_labels"])):
            raise ValueError("its numbers do not run from 0 to n_labels - 1")
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: needs the label map {name} of the run beside it ({error})"
        ) from error
    return "labels", {"labels": labels}


def published_modules(kind: str, fusion: str, num_levels: int) -> dict[str, str | None]:
    """Released names of modules (without "module.") and their names here; None for modules that are
    never used."""
    net = "network." if kind == "clipsep" else ""
    modules: dict[str, str | None] = {"sound_net.bn0": f"{net}unet.norm"}
    block = "sound_net.unet_block"
    for level in range(num_levels):
        outermost, innermost = level == 0, level == num_levels - 1
        down, up = f"{net}unet.downs.{level}", f"{net}unet.ups.{level}"
        if fusion == "middle":
            modules[f"{block}.downconv"] = f"{down}.0"
            modules[f"{block}.downnorm"] = None if outermost or innermost else f"{down}.1"
            modules[f"{block}.upconv"] = f"{up}.1"
            if not outermost:
                modules[f"{block}.upnorm"] = f"{up}.2"
            block += ".submodule"
            continue
        # Positions in the nn.Sequential of down, norm, inner block, up, norm.
        positions: tuple[int | None, ...] = (1, 2, 3, 6, 7)
        if outermost:
            positions = (0, None, 1, 4, None)
        elif innermost:
            positions = (1, None, None, 4, 5)
        targets = (f"{down}.0", f"{down}.1", None, f"{up}.1", f"{up}.2")
        for position, target in zip(positions, targets, strict=True):
            if position is not None and target is not None:
                modules[f"{block}.model.{position}"] = target
        block += f".model.{positions[2]}"
    if kind == "pitsep":
        return modules | {"synth_net": "masks"}
    modules["frame_net.fc" if fusion == "early" else "frame_net"] = f"{net}project"
    if fusion != "early":
        modules["synth_net"] = None if fusion == "middle" else f"{net}masks"
    if kind == "clipsep_nit":
        return modules | {f"pit_nets.{head}": f"noise_heads.{head}" for head in range(2)}
    return modules | {"label_net": "table"}
