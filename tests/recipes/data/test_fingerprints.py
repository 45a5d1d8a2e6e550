"""Audio fingerprints: which recordings have the same content."""

import io

import numpy as np
import pytest
import soundfile
from uneven_noise import uneven_noise

from qsep.recipes.data.corpus.fingerprints import Fingerprint, find_matches, fingerprint


def test_fingerprints_find_a_coded_softer_later_copy_and_nothing_else() -> None:
    original = uneven_noise(5, 3.0, 16000, 5).astype(np.float32)
    coded = io.BytesIO()
    soundfile.write(coded, 0.2 * original[7777:], 16000, "VORBIS", format="OGG")
    coded.seek(0)
    copy = soundfile.read(coded, dtype="float32")[0]
    others = [uneven_noise(seed, 3.0, 16000, 5).astype(np.float32) for seed in (6, 7)]
    match, *rest = find_matches([fingerprint(w) for w in (others[0], original, others[1], copy)])
    assert (match.first, match.second) == (1, 3)
    assert rest == []


@pytest.mark.parametrize(
    ("num_frames", "num_others", "error", "is_found"),
    [
        (39, 39, 0.14, True),
        (39, 39, 0.16, False),  # 40 frames may differ in a quarter
        (39, 44, 0.14, False),  # a part of a longer sound, as equal strokes have
        (11, 11, 0.0, False),
    ],
)
def test_short_sounds_match_if_nearly_all_of_them_overlaps_with_few_errors(
    num_frames: int, num_others: int, error: float, is_found: bool
) -> None:
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**32, num_others, dtype=np.uint32)
    differing = np.zeros((num_frames, 32), bool)
    differing[4:].flat[: round(error * differing.size)] = True  # the first frames make a candidate
    other = words[:num_frames] ^ np.packbits(differing).view(np.uint32)
    matches = find_matches([Fingerprint(each, np.ones(len(each), bool)) for each in (words, other)])
    assert [match[:2] for match in matches] == ([(0, 1)] if is_found else [])


@pytest.mark.parametrize(("num_different", "is_found"), [(790, True), (810, False)])
def test_recordings_match_where_a_quarter_of_their_bits_differ_at_most(
    num_different: int, is_found: bool
) -> None:
    """Of 3,200 bits in 100 frames, of which the first 20 are equal and make the pair a candidate."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**32, 100, dtype=np.uint32)
    differing = np.zeros(3200, bool)
    differing[rng.choice(np.arange(640, 3200), num_different, replace=False)] = True
    other = words ^ np.packbits(differing).view(np.uint32)
    matches = find_matches([Fingerprint(each, np.ones(100, bool)) for each in (words, other)])
    assert [match[:2] for match in matches] == ([(0, 1)] if is_found else [])
