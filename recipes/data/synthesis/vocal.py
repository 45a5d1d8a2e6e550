"""Dog, baby, rooster and sneeze: pulses and breath through a throat that moves.

A call is a list of strokes; each has a pitch contour, a level and formants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .oscillators import cycles, glottal_table, play
from .shaping import coloured_noise, filter_over_time, frame_grid, normalize_peak, wander

WHITE = ((50, 0.0), (16000, 0.0))


@dataclass(frozen=True)
class Stroke:
    """One utterance of a call.

    start, seconds: when and how long; pitch_hz: at equal steps in time; rise, fall: the parts of
    its length in which the level comes and goes; formants: (centre Hz, width Hz, dB), their
    responses are added; breath_db: noise re the pulses; breath_only leaves the pulses out.
    """

    start: float
    seconds: float
    pitch_hz: tuple[float, ...]
    formants: tuple[tuple[float, float, float], ...]
    rise: float = 0.1
    fall: float = 0.4
    level_db: float = 0.0
    breath_db: float = -20.0
    breath_only: bool = False


def formant_gain(hz: np.ndarray, formants: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    """Resonances side by side: sum of 1 / (1 + j (f - F) / (B / 2)) in magnitude, at hz (f,)."""
    gain = np.zeros(len(hz))
    for centre_hz, width_hz, db in formants:
        gain += 10 ** (db / 20) / np.sqrt(1 + ((hz - centre_hz) / (width_hz / 2)) ** 2)
    # none of them passes what is far below the lowest
    lowest_hz = min(centre_hz for centre_hz, _, _ in formants)
    return gain * np.minimum(hz / (0.6 * lowest_hz), 1)


def utter(
    generator: np.random.Generator,
    num_samples: int,
    sample_rate: int,
    strokes: list[Stroke],
    slope_db: float,
    roughness: float,
) -> np.ndarray:
    """All strokes as one waveform: (t,), of no particular level.

    slope_db: fall of the pulses' harmonics an octave; roughness: relative random error of the
    pitch, fast enough to be heard as hoarseness.
    """
    frames, hz = frame_grid(num_samples, sample_rate)
    times = np.arange(num_samples, dtype=np.float32) / sample_rate
    pitch = np.full(num_samples, 200.0)
    levels = np.zeros((2, num_samples), np.float32)
    gains = np.zeros((len(frames), len(hz)), np.float32)
    for stroke in strokes:
        first = max(0, int(stroke.start * sample_rate))
        last = min(num_samples, int((stroke.start + stroke.seconds) * sample_rate))
        if last <= first:
            continue
        part = (times[first:last] - stroke.start) / stroke.seconds
        pitch[first:last] = np.interp(
            part, np.linspace(0, 1, len(stroke.pitch_hz)), stroke.pitch_hz
        )
        edges = np.minimum(part / stroke.rise, (1 - part) / stroke.fall)
        level = np.sin(np.pi / 2 * np.clip(edges, 0, 1)) ** 2 * 10 ** (stroke.level_db / 20)
        if not stroke.breath_only:
            np.maximum(levels[0, first:last], level, out=levels[0, first:last])
        level *= 10 ** (stroke.breath_db / 20)
        np.maximum(levels[1, first:last], level, out=levels[1, first:last])
        near = (frames > stroke.start - 0.03) & (frames < stroke.start + stroke.seconds + 0.03)
        gains[near] = formant_gain(hz, stroke.formants)
    pitch *= 1 + roughness * wander(generator, num_samples, sample_rate, 150)
    num_harmonics = max(1, int(0.45 * sample_rate / pitch.max()))
    pulses = play(glottal_table(num_harmonics, slope_db), 0, cycles(pitch, sample_rate))
    breath = coloured_noise(generator, num_samples, sample_rate, WHITE)
    source = pulses * levels[0] + breath * levels[1]
    return filter_over_time(source[None], gains[None], sample_rate)


def dog_bark(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Barks of 0.1 to 0.3 s, alone or in twos to fours; a small dog barks higher and shorter."""
    small = generator.random()
    high_hz = 350 + 500 * small * generator.uniform(0.8, 1.2)
    first_hz = high_hz * generator.uniform(1.0, 1.9)
    formants = (
        (first_hz, 400, 0.0),
        (first_hz * generator.uniform(1.7, 2.3), 380, generator.uniform(-10, 0)),
        (generator.uniform(2600, 3800), 700, generator.uniform(-30, -18)),
    )
    seconds = generator.uniform(0.16, 0.42) * (1.1 - 0.4 * small)
    breath_db = generator.uniform(-12, 0)
    strokes, now = [], generator.uniform(0, 0.5)
    while now < num_samples / sample_rate:
        for _ in range(generator.integers(1, 5)):
            top = high_hz * generator.uniform(0.92, 1.08)
            length = seconds * generator.uniform(0.8, 1.2)
            pitch = (0.7 * top, top, 0.95 * top, 0.8 * top, 0.6 * top)
            level_db = generator.uniform(-6, 0)
            strokes.append(
                Stroke(now, length, pitch, formants, 0.12, 0.75, level_db, breath_db=breath_db)
            )
            now += length + generator.uniform(0.08, 0.45)
        now += generator.uniform(0.3, 1.8)
    barks = utter(generator, num_samples, sample_rate, strokes, -6, generator.uniform(0.02, 0.08))
    return normalize_peak(barks)


def baby_cry(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Wails of 0.5 to 1.5 s at 350 to 600 Hz, rising then falling, a gasp of air between."""
    base_hz = generator.uniform(340, 560)
    open_hz = generator.uniform(1050, 1700)
    formants = (
        (open_hz, 350, 0.0),
        (generator.uniform(2200, 3600), 700, generator.uniform(-4, 6)),
        (generator.uniform(4200, 6000), 1200, generator.uniform(-8, 2)),
        (9000, 3000, -14.0),
    )
    breath_db = generator.uniform(-30, -14)
    strokes, now = [], generator.uniform(-0.6, 0.3)
    while now < num_samples / sample_rate:
        length = generator.uniform(0.45, 1.5)
        top = base_hz * generator.uniform(1.0, 1.3)
        pitch = (0.75 * top, top, 0.98 * top, generator.uniform(0.85, 1.0) * top, 0.7 * top)
        level_db = generator.uniform(-5, 0)
        strokes.append(Stroke(now, length, pitch, formants, 0.12, 0.3, level_db, breath_db))
        now += length + generator.uniform(0.05, 0.3)
        gasp = generator.uniform(0.1, 0.3)
        level_db = generator.uniform(-34, -18)
        strokes.append(
            Stroke(now, gasp, (top, top), formants, 0.5, 0.4, level_db, 0.0, breath_only=True)
        )
        now += gasp + generator.uniform(0.05, 0.4)
    cries = utter(generator, num_samples, sample_rate, strokes, -5, generator.uniform(0.002, 0.02))
    return normalize_peak(cries)


def rooster(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Cock-a-doodle-doo: three short calls and a long one, loudest at 1 to 2 kHz; again later."""
    base_hz = generator.uniform(480, 850)
    centre_hz = generator.uniform(1250, 2000)
    formants = (
        (centre_hz, 450, 0.0),
        (0.5 * centre_hz, 250, -18.0),
        (generator.uniform(2800, 3600), 600, generator.uniform(-16, -6)),
    )
    plan = (  # seconds, then pitch re base
        (0.2, (0.8, 1.0, 0.95)),
        (0.12, (0.95, 1.05, 0.9)),
        (0.35, (0.9, 1.25, 1.3, 1.2)),
        (1.1, (1.15, 1.3, 1.2, 1.05, 0.75)),
    )
    strokes, now = [], generator.uniform(0, 0.6)
    while now < num_samples / sample_rate:
        pace = generator.uniform(0.8, 1.3)
        for seconds, contour in plan:
            pitch = tuple(base_hz * ratio * generator.uniform(0.97, 1.03) for ratio in contour)
            length = seconds * pace * generator.uniform(0.85, 1.15)
            strokes.append(Stroke(now, length, pitch, formants, 0.15, 0.3, breath_db=-26))
            now += length + generator.uniform(0.02, 0.1)
        now += generator.uniform(1.5, 4)
    crow = utter(generator, num_samples, sample_rate, strokes, -6, generator.uniform(0.003, 0.015))
    return normalize_peak(crow)


def sneeze(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A short rising "ah", then a burst of air from bright to dull, its voice dying away."""
    seconds = num_samples / sample_rate
    pitch = generator.uniform(180, 420)
    throat = ((700.0, 300.0, 0.0), (1300.0, 300.0, -6.0), (2900.0, 600.0, -16.0))
    strokes, now = [], generator.uniform(0, max(0.05, 0.4 * seconds))
    while now < seconds:
        ah = generator.uniform(0.08, 0.3)
        strokes.append(
            Stroke(now, ah, (pitch, 1.5 * pitch), throat, 0.5, 0.2, generator.uniform(-20, -6), -14)
        )
        now += ah + generator.uniform(0.0, 0.08)
        burst = generator.uniform(0.15, 0.45)
        bright_hz = generator.uniform(1200, 4500)
        for place, fall_db in enumerate((0.0, -4.0, -14.0)):
            air = (
                (bright_hz / (1 + 0.5 * place), bright_hz, 0.0),
                (generator.uniform(500, 1200), 600.0, -2.0),
                (9000.0, 6000.0, -16.0 - 6 * place),
            )
            rise, fall = (0.1, 0.3) if place == 0 else (0.3, 0.5)
            pitches = (1.3 * pitch, pitch)
            length = burst * (0.4, 0.45, 0.5)[place]
            strokes.append(Stroke(now, length, pitches, air, rise, fall, fall_db - 2, 6.0))
            now += 0.6 * length
        now += generator.uniform(1.0, 4.0)
    return normalize_peak(utter(generator, num_samples, sample_rate, strokes, -10, 0.03))
