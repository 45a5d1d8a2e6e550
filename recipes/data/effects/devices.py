"""Recording and transmission devices: telephone, mobile telephone, lossy files, overload.

telephone: 300 to 3400 Hz (ITU-T G.712), 8 kHz, mu-law (ITU-T G.711). mobile: the same band through GSM full
rate (ETSI 06.10). mp3, vorbis: encoded and decoded. clipping: samples beyond a threshold are cut off.
A device has a linear part, its band, and a part that is not linear, which only works on what is recorded as
a whole.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from .config import DeviceConfig

TELEPHONE_HZ = 8000
BAND_HZ = (300.0, 3400.0)
BAND_ORDER = 8
INAUDIBLE_DB = -30.0  # what is left of a sound's power
PEAK = 0.5  # at which codecs work; mu-law and GSM have full scale at 1
FORMATS = {
    "telephone": ("WAV", "ULAW", TELEPHONE_HZ),
    "mobile": ("WAV", "GSM610", TELEPHONE_HZ),
    "mp3": ("MP3", "MPEG_LAYER_III", 0),
    "vorbis": ("OGG", "VORBIS", 0),
}
MAX_MP3_COMPRESSION = 0.95  # LAME refuses its smallest bit rates
# Samples of LAME's delay. Where frames have room for LAME's tag, decoders know it and remove them.
MP3_DELAY = 1105
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Device:
    """A kind of DeviceConfig.kinds with its random settings.

    compression: of mp3 and vorbis, 0 (best) to 1 (smallest). clip_db: threshold below the peak, in dB.
    """

    kind: str
    compression: float
    clip_db: float

    def banded(self, waveforms: np.ndarray, sample_rate: int) -> np.ndarray:
        """The linear part: the telephone's band, of (..., t) at sample_rate in Hz."""
        if self.kind not in ("telephone", "mobile"):
            return waveforms
        return telephone_band(waveforms, sample_rate)

    def distorted(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """The part that is not linear: (t,) to (t,) float32, at about the same level, aligned."""
        if self.kind == "clipping":
            return clipped(waveform, self.clip_db)
        file_format, subtype, rate = FORMATS[self.kind]
        peak = float(np.abs(waveform).max())
        if not peak:
            return waveform
        gain = np.float32(PEAK / peak)
        rate = rate or mp3_rate(sample_rate) if self.kind == "mp3" else rate or sample_rate
        coded = soxr.resample(waveform * gain, sample_rate, rate, quality="HQ")
        if not len(coded):  # a sample or two at a higher rate
            return waveform
        level = self.compression if self.kind in ("mp3", "vorbis") else None
        decoded = through_file(coded, rate, file_format, subtype, level)
        decoded = soxr.resample(decoded, rate, sample_rate, quality="HQ")[: len(waveform)]
        return np.pad(decoded, (0, len(waveform) - len(decoded))).astype(np.float32) / gain


def recorded(waveform: np.ndarray, device: Device, sample_rate: int) -> np.ndarray:
    """The waveform (t,) through a device, or as it is if the device hardly transmits it.

    A telephone would leave nothing but noise of a bat.
    """
    received = device.distorted(device.banded(waveform, sample_rate), sample_rate)
    least = 10 ** (INAUDIBLE_DB / 10) * np.square(waveform).sum()
    return received if np.square(received).sum() > least else waveform


def random_device(config: DeviceConfig, rng: np.random.Generator) -> Device:
    """A random device of the configured kinds."""
    kind = config.kinds[rng.integers(len(config.kinds))]
    return Device(kind, rng.uniform(*config.compression), rng.uniform(*config.clip_db))


def telephone_band(waveforms: np.ndarray, sample_rate: int) -> np.ndarray:
    """(..., t) through a Butterworth band-pass filter with -3 dB at 300 and 3400 Hz: float32."""
    from scipy.signal import butter, sosfilt

    lowest, highest = BAND_HZ
    if highest < 0.45 * sample_rate:
        sections = butter(BAND_ORDER // 2, BAND_HZ, "bandpass", fs=sample_rate, output="sos")
    else:
        sections = butter(BAND_ORDER // 2, lowest, "highpass", fs=sample_rate, output="sos")
    return sosfilt(sections, waveforms, axis=-1).astype(np.float32)


def clipped(waveform: np.ndarray, clip_db: float) -> np.ndarray:
    """The waveform (t,), cut off at a threshold of clip_db below its peak."""
    threshold = np.abs(waveform).max() * np.float32(10 ** (-clip_db / 20))
    return np.clip(waveform, -threshold, threshold)


def through_file(
    waveform: np.ndarray, rate: int, file_format: str, subtype: str, compression: float | None
) -> np.ndarray:
    """The waveform (t,) written to a file in memory and read again: (about t,) float32."""
    file = io.BytesIO()
    if file_format == "MP3" and compression is not None:
        compression = min(compression, MAX_MP3_COMPRESSION)
    settings: dict[str, float | str] = (
        {} if compression is None else {"compression_level": compression}
    )
    if file_format == "MP3":
        settings["bitrate_mode"] = "CONSTANT"
    soundfile.write(file, waveform, rate, subtype, format=file_format, **settings)
    file.seek(0)
    decoded: np.ndarray = soundfile.read(file, dtype="float32")[0]
    if file_format == "MP3" and len(decoded) > len(waveform):
        return decoded[MP3_DELAY:]
    return decoded


def mp3_rate(sample_rate: int) -> int:
    """The smallest rate that MP3 has for audio at sample_rate, in Hz, or its largest."""
    return next((rate for rate in MP3_RATES if rate >= sample_rate), MP3_RATES[-1])
