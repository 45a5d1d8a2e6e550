"""The data sets of training mixtures, as one type."""

from .captioned import CaptionedMixtures
from .classes import ClassMixtures
from .mix_and_separate import MixAndSeparate
from .segments import SegmentMixtures
from .videos import VideoMixtures

Mixtures = MixAndSeparate | VideoMixtures | SegmentMixtures | ClassMixtures | CaptionedMixtures
