"""How laion_clap.npz and laion_clap.json were taken, by LAION's own network:

    pip install --no-deps --target FOLDER laion-clap==1.1.7 torchlibrosa==0.1.0
    pip install timm torchvision torchaudio transformers
    PYTHONPATH=FOLDER:tests python tests/parity/take_laion_clap.py

Kept are the keys of a small CLAP with HTS-AT and RoBERTa, plain and with feature fusion, and its
embeddings with weights made from the keys' names (filling.py). Its package cannot be imported whole
without much that no network needs.
"""

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torchaudio
from parity.filling import fill, glide
from parity.keeping import write
from torch import nn
from transformers import RobertaConfig, RobertaModel

TEXT_WIDTH, AUDIO_WIDTH, RATE = 128, 128, 48000
IDS = [0, 262, 264, 86, 79, 77, 82, 75, 2]  # "dog barking" by the tests' tiny tokenizer
COMPUTED = ("spectrogram_extractor", "logmel_extractor", "relative_position_index", "attn_mask")
FIXED = [["bn0.running_mean", -40.0], ["bn0.running_var", 300.0]]


def laion_modules() -> tuple[Any, Any]:
    for name in ("h5py", "wget", "progressbar"):
        sys.modules[name] = types.ModuleType(name)
    root = next(Path(folder) for folder in sys.path if (Path(folder) / "laion_clap").is_dir())
    for name in ("laion_clap", "laion_clap.clap_module"):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module
    names = ("laion_clap.clap_module.model", "laion_clap.clap_module.htsat")
    model, htsat = (importlib.import_module(name) for name in names)
    return model, htsat


def small_clap(model: Any, htsat: Any, fused: bool) -> Any:
    """LAION's CLAP with the classes' own sizes replaced by small ones."""
    build_tower = htsat.HTSAT_Swin_Transformer.__init__

    def small_tower(self: Any, **settings: Any) -> None:
        build_tower(
            self,
            **(settings | {"embed_dim": 16, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4]}),
        )

    class Layers(types.ModuleType):
        """torch.nn, whose Linear from RoBERTa's 768 is one from TEXT_WIDTH."""

        def __getattr__(self, name: str) -> Any:
            if name != "Linear":
                return getattr(nn, name)
            return lambda num_in, num_out: nn.Linear(
                TEXT_WIDTH if num_in == 768 else num_in, num_out
            )

    roberta = RobertaConfig(
        vocab_size=266,
        hidden_size=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        max_position_embeddings=40,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    htsat.HTSAT_Swin_Transformer.__init__ = small_tower
    model.RobertaModel.from_pretrained = lambda name: RobertaModel(roberta)
    model.nn = Layers("layers")
    audio = {
        "audio_length": 1024,
        "clip_samples": 480000,
        "mel_bins": 64,
        "sample_rate": RATE,
        "window_size": 1024,
        "hop_size": 480,
        "fmin": 50,
        "fmax": 14000,
        "class_num": 527,
        "model_type": "HTSAT",
        "model_name": "tiny",
    }
    text = {"context_length": 77, "vocab_size": 0, "width": 0, "heads": 0, "layers": 0}
    try:
        return model.CLAP(
            AUDIO_WIDTH,
            audio,
            text | {"model_type": "roberta"},
            enable_fusion=fused,
            fusion_type="aff_2d" if fused else "None",
        ).eval()
    finally:
        htsat.HTSAT_Swin_Transformer.__init__ = build_tower


def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """(t,) to (n, 64), as LAION's data loader makes it for models with feature fusion."""
    mel = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=1024, hop_length=480, n_mels=64, f_min=50, f_max=14000, norm=None
    )
    return torchaudio.transforms.AmplitudeToDB(top_db=None)(mel(waveform)).T


def main() -> None:
    model, htsat = laion_modules()
    arrays, keys = {}, {}
    waveform = torch.from_numpy(glide(10 * RATE, RATE))
    short = torch.from_numpy(glide(177600, RATE))  # 3.7 s: twice, and 2.6 s of silence
    padded = torch.cat([short, short, torch.zeros(10 * RATE - 2 * len(short))])
    for name, fused in (("plain", False), ("fused", True)):
        clap = small_clap(model, htsat, fused)
        weights = clap.state_dict()
        system = {
            "keys": [
                [key, list(value.shape)]
                for key, value in weights.items()
                if not any(part in key for part in COMPUTED)
            ],
            "computed": [
                [key, list(value.shape)]
                for key, value in weights.items()
                if any(part in key for part in COMPUTED)
            ],
            "gains": [],
            "fixed": FIXED,
        }
        clap.load_state_dict(weights | fill(system), strict=True)
        keys[name] = system
        ids = torch.tensor([IDS])
        with torch.no_grad():
            text = clap.get_text_embedding(
                {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            )
            arrays[f"{name}/text"] = text[0].numpy()
            for case, samples in (("long", waveform), ("short", padded)):
                item = {"waveform": samples, "longer": torch.tensor([False])}
                if fused:
                    item["mel_fusion"] = log_mel(samples).expand(4, -1, -1)
                arrays[f"{name}/{case}"] = clap.get_audio_embedding([item])[0].numpy()
    write("laion_clap", arrays, keys)


if __name__ == "__main__":
    main()
