"""How well a heat map over a picture tells where a sound is.

Heat maps are arrays (height, width) of any range; regions are bool, or weights in [0, 1] of the annotators'
agreement.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def points_inside(heat: Any, region: Any) -> bool:
    """Whether the maximum of the heat map lies in the region: the pointing game of Zhang et al. (2018)."""
    heat, region = checked(heat, region)
    return bool(region[np.unravel_index(heat.argmax(), heat.shape)] > 0)


def consensus_iou(heat: Any, region: Any, threshold: float = 0.5) -> float:
    """Consensus intersection over union, in [0, 1], of the hot part of the map and the region.

    cIoU = sum of g over A / (sum of g + number of pixels of A where g = 0), g the region's weights and A the
    pixels whose heat, brought to [0, 1] by the map's minimum and maximum, exceeds the threshold; none for a
    constant map. Senocak et al., "Learning to localize sound source in visual scenes" (2018).
    Raises ValueError for a region without pixels.
    """
    heat, region = checked(heat, region)
    if not region.any():
        raise ValueError("the region has no pixels, so nothing can overlap with it")
    span = np.ptp(heat)
    hot = (heat - heat.min()) / span > threshold if span else np.zeros(heat.shape, bool)
    return float(region[hot].sum() / (region.sum() + (hot & (region == 0)).sum()))


def checked(heat: Any, region: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in float64; ValueError for different shapes."""
    heat, region = np.asarray(heat, np.float64), np.asarray(region, np.float64)
    if heat.shape != region.shape or heat.ndim != 2:
        raise ValueError(
            f"heat map {heat.shape} and region {region.shape}; expected one (height, width)"
        )
    return heat, region
