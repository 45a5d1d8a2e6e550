"""The data sets of training mixtures, as one type."""

from ..effects.treated import TreatedMixtures
from .captioned import CaptionedMixtures
from .classes import ClassMixtures
from .mix_and_separate import MixAndSeparate
from .segments import SegmentMixtures
from .shapes import ShapeMixtures
from .speakers import SpeakerMixtures
from .videos import VideoMixtures

DrawnMixtures = (
    MixAndSeparate
    | VideoMixtures
    | ShapeMixtures
    | SegmentMixtures
    | ClassMixtures
    | SpeakerMixtures
    | CaptionedMixtures
)
Mixtures = DrawnMixtures | TreatedMixtures
