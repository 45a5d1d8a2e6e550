"""What a data set of training mixtures may be."""

from .mix_and_separate import MixAndSeparate
from .segment_mixtures import SegmentMixtures
from .video_mixtures import VideoMixtures

Mixtures = MixAndSeparate | VideoMixtures | SegmentMixtures
