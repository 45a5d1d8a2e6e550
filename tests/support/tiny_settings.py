"""Settings of tiny separators for tests: an entry for each file in separation/models."""

from typing import Any

QUERY_DIM = 6
RATE = 8000

CLIPSEP: dict[str, Any] = {
    "num_features": 5,
    "channels": [6, 7, 8],
    "spectrogram": {
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "num_rows": 24,
        "segment_frames": 16,
    },
}

# A file in separation/models needs an entry here: the smallest network with all of its parts, at RATE,
# for queries of width QUERY_DIM, and no random numbers in its loss. "file:variant" is another of it.
SETTINGS: dict[str, dict[str, Any]] = {
    "band_unet": {
        "class_names": ["dog", "rain", "violin"],
        "num_phrases": 7,
        "query_dim": QUERY_DIM,
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "num_bands": 32,
        "channels": [4, 6, 8, 10, 12],
        "blocks": [1, 1, 1, 1, 1],
        "mask_features": 5,
        "query_noise": 0.0,
    },
    "clipsep": CLIPSEP | {"query_dim": QUERY_DIM},
    "clipsep:early": CLIPSEP | {"query_dim": QUERY_DIM, "fusion": "early"},
    "clipsep:middle": CLIPSEP | {"query_dim": QUERY_DIM, "fusion": "middle"},
    "clipsep:labels": CLIPSEP | {"query_dim": QUERY_DIM, "table_dim": 9},
    "clipsep_nit": CLIPSEP
    | {"query_dim": QUERY_DIM, "noise": {"num_heads": 3, "gamma": 0.1, "keep_noise": True}},
    "pitsep": CLIPSEP | {"num_sources": 3},
    "convtasnet": {
        "query_dim": QUERY_DIM,
        "sample_rate": RATE,
        "kernel_samples": 16,
        "num_filters": 12,
        "bottleneck_channels": 7,
        "hidden_channels": 9,
        "num_blocks": 3,
        "num_repeats": 2,
        "level_frames": 20,
    },
    "resunet30": {
        "query_dim": QUERY_DIM,
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 16,
        "channels": [5, 7, 7],
    },
}
SETTINGS["class_unet"] = {
    "classes": ["dog", "rain", "violin", "engine", "cat"],  # and "other": QUERY_DIM
    "sample_rate": RATE,
    "window_samples": 64,
    "hop_samples": 32,
    "num_bands": 32,
    "channels": [4, 6, 8, 10, 12],
    "blocks": [1, 1, 1, 1, 1],
    "features": 8,
    "refine_features": 5,
    "refine_hidden": 7,
}
SETTINGS["class_unet:shifted"] = SETTINGS["class_unet"] | {"shifts": 2, "mask_exponent": 0.7}
SETTINGS["causal_class_unet"] = SETTINGS["class_unet"]
SETTINGS["voice_unet"] = {
    "query_dim": QUERY_DIM,
    "sample_rate": RATE,
    "window_samples": 10,
    "num_bands": 8,
    "channels": [4, 6, 7],
    "blocks": [1, 1, 1],
    "steps": [1, 2, 4],
    "voice_channels": [5, 9],
    "voice_dim": 11,
}
SETTINGS["bimodal"] = {
    "query_dim": QUERY_DIM,
    "token_dim": 0,
    "num_features": 5,
    "channels": [6, 8, 10],
    "num_attentive": 2,
    "num_heads": 2,
    "spectrogram": {
        "sample_rate": RATE,
        "window_samples": 62,
        "hop_samples": 32,
        "segment_frames": 16,
    },
}
SETTINGS["clapsep"] = {
    "query_dim": QUERY_DIM,
    "encoder": {
        "sample_rate": 12000,
        "window_samples": 96,
        "hop_samples": 48,
        "num_mels": 8,
        "min_hz": 20.0,
        "max_hz": 5000.0,
        "width": 8,
        "depths": [2, 1],
        "num_heads": [2, 4],
        "window": 4,
        "rank": 3,
    },
    "spectrogram": {
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "segment_frames": 101,
    },
    "mask_width": 12,
    "num_mask_layers": 1,
    "num_mask_heads": 3,
    "drop": 0.0,
    "negative_only": 0.0,
}
SETTINGS["band_unet:calm"] = SETTINGS["band_unet"] | {"shifts": 2, "mask_exponent": 0.7}
SETTINGS["flowsep"] = {
    "query_dim": QUERY_DIM,
    "window_frames": 32,
    "null_tokens": 3,
    "mel": {
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "num_bands": 8,
        "max_hz": RATE / 2,
    },
    "vae": {"channels": [4, 6], "latent_channels": 3, "num_blocks": 1, "norm_groups": 2},
    "unet": {
        "channels": [8, 12, 16],
        "num_blocks": 1,
        "head_channels": 4,
        "norm_groups": 4,
        "spare_channels": 1,
    },
    "vocoder": {
        "channels": 8,
        "rates": [8, 4],
        "kernels": [17, 8],
        "block_kernels": [3],
        "dilations": [1, 2],
    },
    "sampling": {"num_steps": 2},
    "flow": {"query_dropout": 0.0},
}
SETTINGS["flow_unet"] = {
    "analysis": SETTINGS["class_unet"],
    "channels": 7,
    "blocks": 1,
    "noise_frames": 16,
    "num_steps": 2,
}
BANDS = {"kind": "bands", "window_samples": 64, "scheme": "widths", "width": 8}
BANDS |= {"widths": [2, 2, 3, 5, 5, 16], "hidden_factor": 2}
QUERIED: dict[str, Any] = {
    "query_dim": QUERY_DIM,
    "sample_rate": RATE,
    "analysis": BANDS,
    "backbone": {"kind": "bsrnn", "num_layers": 2},
    "entry": {"kind": "film"},
    "head": {"kind": "complex_mask"},
    "segment_seconds": 0.2,
}
SETTINGS["queried"] = QUERIED
SETTINGS["queried:tiger"] = QUERIED | {
    "analysis": BANDS | {"readout": "linear", "shares": 2},
    "backbone": {
        "kind": "tiger",
        "num_iterations": 2,
        "hidden_channels": 10,
        "num_levels": 3,
        "num_heads": 2,
        "key_channels": 3,
    },
    "entry": {"kind": "film", "bottleneck": 5},
    "head": {"kind": "complex_mask", "sum_to_one": True},
}
SETTINGS["queried:mel_roformer"] = QUERIED | {
    "analysis": {"kind": "mel_bands", "window_samples": 64, "num_bands": 6, "width": 8},
    "backbone": {"kind": "mel_roformer", "num_blocks": 1, "num_heads": 2},
    "entry": {"kind": "cross_attention", "head_channels": 4},
}
SETTINGS["queried:late"] = QUERIED | {
    "entry": {"kind": "late"},
    "analysis": {"kind": "stft", "window_samples": 32, "readout_kernel": 3},
    "head": {"kind": "magnitude_mask"},
    "backbone": {"kind": "bsrnn", "num_layers": 1, "hidden_factor": 3},
}
SETTINGS["queried:causal"] = QUERIED | {"causal": True, "level_seconds": 0.02}
SETTINGS["queried:tfgridnet"] = QUERIED | {
    "causal": True,
    "level_seconds": 0.02,
    "analysis": {"kind": "stft", "window_samples": 16},
    "backbone": {
        "kind": "tfgridnet",
        "num_blocks": 1,
        "channels": 6,
        "hidden_channels": 5,
        "num_heads": 2,
        "key_channels": 2,
        "num_frames": 4,
    },
    "head": {"kind": "spectrum"},
}
SETTINGS["queried:demucs"] = QUERIED | {
    "analysis": {"kind": "waveform"},
    "backbone": {"kind": "demucs", "channels": 5, "num_levels": 3, "num_lstm_layers": 1},
    "head": {"kind": "waveform"},
}
SETTINGS["queried:mossformer2"] = QUERIED | {
    "analysis": {
        "kind": "filterbank",
        "num_filters": 8,
        "kernel_samples": 16,
        "readout": "gated",
    },
    "backbone": {
        "kind": "mossformer2",
        "num_layers": 1,
        "group_frames": 7,
        "key_channels": 6,
        "rotary_channels": 4,
        "memory_channels": 5,
        "memory_frames": 3,
    },
    "head": {"kind": "magnitude_mask", "activation": "relu"},
}
SETTINGS["queried:deftan"] = QUERIED | {
    "analysis": {"kind": "stft", "window_samples": 32},
    "backbone": {
        "kind": "deftan",
        "num_blocks": 1,
        "channels": 6,
        "unfolded": 3,
        "num_heads": 2,
        "head_channels": 5,
        "hidden_channels": 8,
    },
    "head": {"kind": "spectrum"},
}
SETTINGS["queried:clearbuds"] = QUERIED | {
    "analysis": {"kind": "waveform"},
    "backbone": {
        "kind": "clearbuds",
        "sample_rate": RATE,
        "num_filters": 9,
        "kernel_samples": 10,
        "bottleneck_channels": 7,
        "hidden_channels": 8,
        "num_blocks": 2,
        "num_repeats": 2,
        "lookahead_frames": 3,
        "window_samples": 64,
        "num_mels": 12,
        "unet_channels": 4,
    },
    "head": {"kind": "waveform"},
}
SETTINGS["queried:multidilated"] = QUERIED | {
    "causal": True,
    "level_seconds": 0.02,
    "analysis": {"kind": "stft", "window_samples": 32},
    "backbone": {
        "kind": "multidilated",
        "channels": 3,
        "num_blocks": 2,
        "num_layers": 3,
        "growth": 2,
    },
}
HTDEMUCS: dict[str, Any] = {
    "channels": 4,
    "depth": 2,
    "window_samples": 64,
    "dconv_compress": 2,
    "bottom_channels": 12,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_factor": 2,
}
SETTINGS["queried:htdemucs"] = QUERIED | {
    "analysis": {"kind": "waveform"},
    "backbone": HTDEMUCS | {"kind": "htdemucs"},
    "head": {"kind": "waveform"},
}
SETTINGS["htdemucs"] = {
    "stems": list("abcdef"),
    "sample_rate": RATE,
    "num_channels": 1,
    "segment_seconds": 0.2,
    "network": HTDEMUCS,
}
SETTINGS["tiger_dnr"] = {
    "stems": list("abcdef"),
    "outputs": [2, 1, 0, 2, 1, 0],
    "sample_rate": RATE,
    "window_samples": 64,
    "hop_samples": 32,
    "scheme": "coarse",
    "width": 6,
    "window_seconds": 0.2,
    "step_seconds": 0.1,
    "network": {
        "num_iterations": 2,
        "hidden_channels": 5,
        "num_levels": 2,  # with more, the released fusion leaves out the coarsest
        "num_heads": 1,
        "key_channels": 2,
        "released_fusion": True,
    },
}
SETTINGS["speakers"] = {
    "speakers": list("abcdef"),
    "sample_rate": RATE,
    "segment_seconds": 0.2,
    "analysis": SETTINGS["queried:mossformer2"]["analysis"] | {"centred": False},
    "backbone": SETTINGS["queried:mossformer2"]["backbone"],
    "head": {"kind": "magnitude_mask", "activation": "relu"},
}
SETTINGS["speakers:tiger"] = SETTINGS["speakers"] | {
    "analysis": BANDS | {"hop_samples": 16, "readout": "linear", "shares": 2, "released": True},
    "backbone": SETTINGS["queried:tiger"]["backbone"] | {"released_fusion": True, "num_levels": 2},
    "head": {"kind": "complex_mask", "sum_to_one": True},
}
SETTINGS["audiovisual"] = CLIPSEP | {"query_dim": QUERY_DIM, "dim": 9}
# Work on logarithms of magnitudes, or with norms whose floor is not small, as published.
LEVEL_DEPENDENT = {
    "audiovisual",
    "bimodal",
    "clapsep",
    "htdemucs",
    "clipsep",
    "clipsep_nit",
    "pitsep",
    "resunet30",
    "speakers",
    "tiger_dnr",
}
UNORDERED = {
    "speakers"
}  # whose outputs have the order that the beginning of a recording gives them
BLIND = {"pitsep"}  # read no queries
CONTRASTIVE = {
    "audiovisual",
    "voice_unet",
}  # whose losses compare the items of a batch with each other
DEEP = {
    "flowsep",
    "htdemucs",
    "queried",
    "speakers",
    "tiger_dnr",
}  # many layers with norms between them
# To the last layer: norms that do not fit the signal would saturate the masks.
RESIDUAL = {"resunet30"}
