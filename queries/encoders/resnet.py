"""Pictures as features of a ResNet-18: the queries of "The sound of pixels" (Zhao et al. 2018).

The last stage is dilated instead of strided, so that 224 x 224 pixels give 14 x 14 features, and each
channel's maximum is used. Several frames are averaged. As in the comparison of Dong et al. (2023), pictures
are normalised as for CLIP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..interface import ImageQuery, Query, QueryEmbedding, QueryEncoder, check_readable, unreadable
from ..media import Media, read_picture
from ..settings import configuration

if TYPE_CHECKING:
    from torch import Tensor, nn

NAMED = "IMAGENET1K_V1"
PICTURE_SIZE = 224
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@configuration
class Config:
    """weights: torchvision's name for them, fetched when a network allows, or a file of them."""

    weights: str = NAMED


def build(config: Config) -> ResNet:
    """See `ResNet`."""
    return ResNet(config)


class ResNet(QueryEncoder):
    """See the module's docstring. Loads its network at the first picture."""

    dim = 512
    modalities: frozenset[type[Query]] = frozenset({ImageQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        identity = config.weights
        if identity != NAMED:
            path = Path(identity)
            if not path.is_file():
                raise ValueError(f"{path}: no such file; give ResNet-18's weights, or {NAMED!r}")
            with path.open("rb") as file:
                identity = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        self.fingerprint = f"resnet18-{identity}-dilated-max"

    @cached_property
    def network(self) -> nn.Module:
        """Pictures (b, 3, 224, 224) to features (b, 512, 14, 14)."""
        if find_spec("torchvision") is None:
            raise ValueError("pictures need torchvision: pip install 'qsep[clip]'")
        from torch import nn
        from torchvision.models import resnet18

        network = resnet18()
        stored = self.stored_weights()
        try:
            network.load_state_dict(stored)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{self.config.weights}: not of a ResNet-18 ({reason})") from error
        for module in network.layer4.modules():
            if isinstance(module, nn.Conv2d):
                dilate(module)
        return nn.Sequential(*list(network.children())[:-2]).eval().to(self.device)

    def stored_weights(self) -> dict[str, Any]:
        """The state dict, from a file or torchvision's download; ValueError if it is unavailable."""
        from torchvision.models import ResNet18_Weights

        from ..files.weights import read_state_dict

        if self.config.weights != NAMED:
            return read_state_dict(Path(self.config.weights))
        weights = ResNet18_Weights[NAMED]
        try:
            return dict(weights.get_state_dict(check_hash=True))
        except (OSError, RuntimeError) as error:  # RuntimeError: cut off on the way
            raise ValueError(
                f"torchvision's ResNet-18 weights cannot be fetched ({error}); fetch "
                f"{Path(weights.url).name} elsewhere and give the file as encoder.weights"
            ) from error

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), 512), not normalised."""
        check_readable(self, queries)
        import torch

        rows = []
        with torch.inference_mode():
            for query in queries:
                if not isinstance(query, ImageQuery):
                    raise unreadable(self, query)
                pictures = torch.stack([prepared(frame) for frame in query.frames])
                features = self.network(pictures.to(self.device))
                rows.append(features.amax(dim=(-2, -1)).mean(dim=0).cpu())
        return QueryEmbedding(torch.stack(rows).clone())


def dilate(convolution: nn.Conv2d) -> None:
    """Keep the receptive field at twice the resolution, as the authors do: strides of 2 become 1, and other
    3 x 3 kernels are dilated by 2."""
    if convolution.stride == (2, 2):
        convolution.stride = (1, 1)
    elif convolution.kernel_size == (3, 3):
        convolution.dilation = convolution.padding = (2, 2)


def prepared(frame: Media) -> Tensor:
    """A picture resized to 224 on its shorter side, centre-cropped and normalised: (3, 224, 224)."""
    from torchvision.transforms import functional as pictures
    from torchvision.transforms.functional import InterpolationMode

    resized = pictures.resize(read_picture(frame), PICTURE_SIZE, InterpolationMode.BICUBIC)
    pixels = pictures.to_tensor(pictures.center_crop(resized, PICTURE_SIZE))
    return pictures.normalize(pixels, MEAN, DEVIATION)
