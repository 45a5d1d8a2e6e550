"""Live separation from microphone to headphones; files may replace either of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation import LIVE_MODEL
from qsep.separation.audio.formats import check_format, converting, format_named, wav_subtype
from qsep.separation.audio.reader import AudioReader
from qsep.separation.audio.writer import AudioWriter
from qsep.separation.storage.results import Results

from .batch import check_inputs, check_writable, refuse_existing
from .output import Output
from .sound_card import Device, SoundCard, find_device, load_sounddevice

if TYPE_CHECKING:
    from qsep.queries.interface import Query
    from qsep.separation.api import Model

BLOCK_SAMPLES = 512  # of a file, like a microphone's
SOON_SECONDS = 0.25  # a longer latency is worth a hint

Waveform = NDArray[np.floating]


@dataclass(frozen=True)
class Places:
    """Source and destination of the sound by the options: None means microphone and headphones.

    input_device, output_device: a number or part of a name; None: the system's default.
    """

    input_file: Path | None = None
    output_file: Path | None = None
    input_device: str | None = None
    output_device: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Ends:
    """Source and destination of a session, checked before the model is loaded."""

    sounddevice: Any
    microphone: Device | None
    headphones: Device | None
    results: Results | None  # the folder of the output file

    @property
    def have_device(self) -> bool:
        """Whether a sound device is needed at all."""
        return bool(self.microphone or self.headphones)


def check_places(places: Places) -> Ends:
    """Raise ValueError for everything that can be refused before a model is loaded."""
    results = None
    inputs = [places.input_file] if places.input_file else []
    check_inputs(inputs)
    if places.output_file is not None:
        if format_named(places.output_file.suffix) is None:
            raise ValueError(
                f"--output {places.output_file}: end the name in .wav, .flac or another audio format"
            )
        folder = places.output_file.parent
        results = Results(folder, "live", shared=True)
        check_writable(folder)
        output = Output(folder, overwrite=places.overwrite)
        refuse_existing([places.output_file], inputs, output, results)
    if places.input_file and places.output_file:
        return Ends(None, None, None, results)
    sounddevice = load_sounddevice()
    microphone = headphones = None
    if not places.input_file:
        microphone = find_device(sounddevice, "input", places.input_device)
    if not places.output_file:
        headphones = find_device(sounddevice, "output", places.output_device)
    return Ends(sounddevice, microphone, headphones, results)


def separate_live(
    model: Model,
    query: Query,
    places: Places,
    ends: Ends,
    stop: Event,
    chunk_seconds: float | None = None,
    max_seconds: float | None = None,
) -> None:
    """Separate until `stop` is set, the input file ends or max_seconds have arrived.

    An output file holds the target of all input until then: the last latency is flushed at the end.
    Prints where sound goes, the latency, and at the end how fast it was. Raises ValueError (AudioError for
    files) in one line.
    """
    with ExitStack() as opened:
        reader = opened.enter_context(AudioReader(places.input_file)) if places.input_file else None
        num_channels = reader.num_channels if reader else model.separator.num_channels or 1
        card, rate = None, reader.sample_rate if reader else model.separator.sample_rate
        if ends.have_device:
            rates = [rate]
            if not reader:  # the model's own, which needs no conversion, or what the devices do
                devices = (ends.microphone, ends.headphones)
                rates += [device.sample_rate for device in devices if device]
            card = SoundCard(
                ends.sounddevice, ends.microphone, ends.headphones, num_channels, rates
            )
            rate = card.sample_rate
        stream = model.stream(query, rate, num_channels, chunk_seconds=chunk_seconds)
        writer = None
        if places.output_file:
            assert ends.results
            writer = opened.enter_context(
                file_writer(places.output_file, reader, rate, num_channels, ends.results)
            )
        if card:
            opened.enter_context(card)
        print(f"qsep: {describe(query, places, card, stream.latency_seconds)}", file=sys.stderr)
        blocks = file_blocks(reader, stop) if reader else sound_of(card).blocks(stop)
        sink = sink_of(writer, card, reader is not None, stop)
        most = None if max_seconds is None else round(max_seconds * rate)
        num_samples, seconds = pass_through(stream, limited(blocks, most), sink, stop, writer)
        if card and not writer and reader:
            card.play_out(stop)
    print(f"qsep: {outcome(num_samples / rate, seconds, card)}", file=sys.stderr)
    if card and card.is_behind:
        raise ValueError(
            "separation takes longer than the sound lasts, so it ended: choose a smaller model, a GPU, or "
            "a longer --chunk-seconds"
        )


def file_writer(
    path: Path, reader: AudioReader | None, rate: int, num_channels: int, results: Results
) -> AudioWriter:
    """A writer in the sample format of the input; ValueError if the format cannot hold it."""
    file_format = format_named(path.suffix)
    assert file_format
    check_format(file_format, reader.path if reader else path, rate, num_channels)
    subtype = wav_subtype(file_format, reader.subtype if reader else "FLOAT")
    path.parent.mkdir(parents=True, exist_ok=True)
    return AudioWriter(path, rate, num_channels, subtype, converting(file_format, results.commit))


def sound_of(card: SoundCard | None) -> SoundCard:
    """The sound card, which is open if there is no file."""
    assert card
    return card


def sink_of(
    writer: AudioWriter | None, card: SoundCard | None, from_file: bool, stop: Event
) -> Callable[[Waveform], None]:
    """What takes the samples of the target."""
    if writer:
        return writer.write
    player = sound_of(card)
    return (lambda target: player.play_in_time(target, stop)) if from_file else player.play


def file_blocks(reader: AudioReader, stop: Event) -> Iterator[Waveform]:
    """The recording block by block, until `stop` is set."""
    for block in reader.blocks(BLOCK_SAMPLES):
        if stop.is_set():
            return
        yield block


def limited(blocks: Iterable[Waveform], most: int | None) -> Iterator[Waveform]:
    """Blocks (c, t) up to `most` samples in all; None: no limit."""
    left = most
    for block in blocks:
        yield block if left is None else block[:, :left]
        if left is not None:
            left -= min(left, block.shape[-1])
            if left == 0:
                return


def pass_through(
    stream: Any,
    blocks: Iterable[Waveform],
    sink: Callable[[Waveform], None],
    stop: Event,
    writer: AudioWriter | None,
) -> tuple[int, float]:
    """Push all blocks through the stream into the sink. Returns samples and seconds of computing.

    The rest of the stream is always written to a file, but played only unless `stop` is set.
    """
    num_samples, seconds = 0, 0.0
    for block in blocks:
        start = time.perf_counter()
        target = stream.push(block)
        seconds += time.perf_counter() - start
        num_samples += block.shape[-1]
        if not np.isfinite(target).all():
            raise ValueError("the model made NaN or infinite samples: try another model or device")
        sink(target)
    if writer or not stop.is_set():
        start = time.perf_counter()
        rest = stream.finish()
        seconds += time.perf_counter() - start
        sink(rest)
    return num_samples, seconds


def describe(query: Query, places: Places, card: SoundCard | None, latency_seconds: float) -> str:
    """The query, source, destination and latency, in a line."""
    source, sink = places.input_file, places.output_file
    start = source or (card and card.microphone and card.microphone.name)
    end = sink or (card and card.headphones and card.headphones.name)
    text = f"“{query.name}” from {start} to {end}, "
    if card:
        text += (
            f"{card.sample_rate} Hz, {latency_seconds + card.latency_seconds:.3f} s later (model "
            f"{latency_seconds:.3f}, devices {card.latency_seconds:.3f}); Ctrl-C ends it"
        )
        if latency_seconds > SOON_SECONDS and card.microphone and card.headphones:
            text += f" (sooner: a causal model, as -m {LIVE_MODEL})"
        return text
    return f"{text}{latency_seconds:.3f} s later"


def outcome(input_seconds: float, seconds: float, card: SoundCard | None) -> str:
    """Duration, speed and problems of the session, in a line."""
    text = f"{input_seconds:.1f} s, separated in {seconds:.1f} s"
    if input_seconds:
        text += f" ({seconds / input_seconds:.2f} of real time)"
    if card and card.num_lost:
        text += f"; the microphone was not read in time {card.num_lost} times"
    if card and card.num_gaps:
        text += f"; {card.num_gaps} gaps in what was played"
    if card and card.num_dropped:
        text += f"; {card.num_dropped / card.sample_rate:.1f} s were skipped to catch up"
    return text
