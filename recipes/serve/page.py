"""The page: its layout and event handlers. The work is done in `jobs`."""

from __future__ import annotations

import html
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qsep.queries.constraints import Span

from ..demo.make_scene import SCENE_FILE
from ..inference.level_words import in_decibels
from .api import Api
from .jobs import Answer, Jobs, Limits, Request, Sound, in_lines
from .messages import message_of
from .pictures import Levels, draw, levels_of, seconds_at

DEVICE = "device"  # all events that compute share one queue
HEAD = "# qsep\nTake the sounds that you name out of a recording, or find everything that is in it."
SOUNDS = "Sounds to take out, one a line"
NOT_WANTED = "Sounds that are not wanted, one a line (optional)"
SPAN = "Only this time (optional)"
HINT = "Two clicks on the spectrogram, or times as 3.2-5.0, 0:03-1:05, 3.2- (to the end)"
EXAMPLE_SOUNDS = "a person talking\na flute\nrain"


def build_page(jobs: Jobs) -> Any:
    """The page as gradio.Blocks, ready to be launched."""
    import gradio as gr

    page, names = Page(jobs), list(jobs.models)
    with gr.Blocks(title="qsep", analytics_enabled=False) as blocks:
        gr.Markdown(f"{HEAD} {limits_in_words(jobs.limits)}")
        levels, first_click = gr.State(None), gr.State(None)
        answer = gr.State(None)
        recording = gr.Audio(
            sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[]
        )
        example = gr.Button("Take the example: a voice, a flute and drums in the rain", size="sm")
        picture = gr.Image(
            label="Spectrogram of the recording",
            show_label=False,
            type="filepath",
            interactive=False,
            visible=False,
            buttons=[],
            elem_id="spectrogram",
            alt_text="Spectrogram of the recording; the chosen span is bright, the rest is dimmed",
        )
        with gr.Tab("Ask for sounds"):
            sounds = gr.Textbox(
                label=SOUNDS, placeholder="a dog barking", lines=3, elem_id="sounds"
            )
            not_wanted = gr.Textbox(label=NOT_WANTED, lines=1, max_lines=4)
            with gr.Row():
                span = gr.Textbox(
                    label=SPAN,
                    info=HINT,
                    placeholder="3.2-5.0",
                    elem_id="span",
                    scale=4,
                    min_width=300,
                )
                clear = gr.Button("Whole recording", size="sm", min_width=120, elem_id="whole")
            with gr.Row():
                model = gr.Dropdown(names, value=names[0], label="Model")
                candidates = gr.Slider(
                    *(1, jobs.limits.candidates, 1),
                    step=1,
                    label="Candidates to draw, of which the best is kept",
                    visible=page.draws(names[0]),
                )
            separate = gr.Button("Separate", variant="primary", elem_id="separate")
        with gr.Tab("Find everything", visible=bool(jobs.finders)):
            finder = gr.Dropdown(
                list(jobs.finders), value=(*jobs.finders, None)[0], label="Model that finds sounds"
            )
            find = gr.Button("Find every sound", variant="primary", elem_id="find")
        status = gr.HTML(elem_id="status")

        @gr.render(inputs=[answer])
        def results(answer: Answer | None) -> None:
            if answer is not None:
                show(answer)

        forgotten = [picture, span, first_click, levels, status, answer]
        recording.change(page.forget, None, forgotten, **quiet()).then(
            page.preview, recording, [picture, levels, status], **quiet()
        )
        example.click(page.example, None, [recording, sounds], **quiet())
        picture.select(page.click_handler(), [levels, first_click], [span, first_click], **quiet())
        span.change(page.redraw, [levels, span], picture, **quiet())
        clear.click(lambda: ("", None), None, [span, first_click], **quiet())
        model.change(
            lambda name: gr.Slider(visible=page.draws(name), value=1), model, candidates, **quiet()
        )
        inputs = [recording, sounds, not_wanted, span, model, candidates]
        separate.click(page.separate(), inputs, [answer, status], **heavy())
        find.click(page.find(), [recording, finder], [answer, status], **heavy())

        api = Api(jobs, lambda text: gr.Error(text, print_exception=False))
        gr.api(api.separate, api_name="separate", concurrency_limit=1, concurrency_id=DEVICE)
        gr.api(api.find, api_name="find", concurrency_limit=1, concurrency_id=DEVICE)
        gr.api(api.models, api_name="models")
    return blocks


def limits_in_words(limits: Limits) -> str:
    """The limits of a recording, in words."""
    seconds = limits.seconds
    length = f"{seconds / 60:g} minutes" if seconds % 60 == 0 else f"{seconds:g} seconds"
    return f"Recordings may have up to {length} and {limits.megabytes} MB."


def quiet() -> dict[str, Any]:
    """Options of quick events, which are not part of the API."""
    return {"show_progress": "hidden", "api_visibility": "private"}


def heavy() -> dict[str, Any]:
    """Options of events that compute: one at a time on the device."""
    return {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": DEVICE}


class Page:
    """The handlers of the page's events. Errors become text on the page."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def draws(self, model: str) -> bool:
        """Whether a model is generative, so that there can be several candidates."""
        generative: bool = self.jobs.load(model).separator.capabilities.generative
        return generative

    def forget(self) -> tuple[Any, ...]:
        """Clear the picture, the span and the answer when the recording changes."""
        import gradio as gr

        return gr.Image(value=None, visible=False), "", None, None, "", None

    def preview(self, recording: str | None) -> tuple[Any, ...]:
        """The spectrogram of a recording, or an error message."""
        import gradio as gr

        if recording is None:
            return gr.skip(), None, gr.skip()
        try:
            path = self.jobs.checked(Path(recording))
            levels = levels_of(path)
            picture = draw(levels, path.with_name(f"{secrets.token_hex(4)}.png"))
        except Exception as error:
            return gr.skip(), None, error_html(message_of(error, self.folders(recording)))
        return gr.Image(value=str(picture), visible=True), (levels, picture), gr.skip()

    def redraw(self, kept: tuple[Levels, Path] | None, text: str) -> Any:
        """The picture with the span, if its text is a valid one."""
        import gradio as gr

        if kept is None:
            return gr.skip()
        levels, picture = kept
        try:
            span = Span.parse(text) if text.strip() else None
        except ValueError:  # being written; the job says what is wrong with it
            return gr.skip()
        if span is None or span.start >= levels.seconds:
            return str(picture)
        return str(draw(levels, picture.with_name(f"{secrets.token_hex(4)}.png"), span=span))

    def click_handler(self) -> Callable[..., Any]:
        """The first of two clicks is one end of the span, the second the other."""
        import gradio as gr

        def click(kept: Any, first: float | None, event: Any) -> Any:
            if kept is None:
                return gr.skip(), None
            time = seconds_at(event.index[0], kept[0].seconds)
            if first is None or time == first:
                return f"{time:g}-", time  # whose change draws
            return f"{min(first, time):g}-{max(first, time):g}", None

        click.__annotations__["event"] = gr.SelectData  # the annotation tells Gradio what to pass
        return click

    def example(self) -> tuple[str, str]:
        """The example recording, as if it had been uploaded, and example queries."""
        folder = self.jobs.folder / "example"
        folder.mkdir(exist_ok=True)
        return str(shutil.copyfile(SCENE_FILE, folder / SCENE_FILE.name)), EXAMPLE_SOUNDS

    def separate(self) -> Callable[..., Any]:
        """The handler of the button Separate, with a progress bar."""
        import gradio as gr

        def run(
            recording: str | None,
            sounds: str,
            not_wanted: str,
            span: str,
            model: str,
            candidates: float,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio passes one
        ) -> tuple[Answer | None, str]:
            request = Request(
                *(in_lines(sounds), in_lines(not_wanted), span, model, int(candidates))
            )

            def report(share: float) -> None:
                progress(share, desc="separating")

            return self.attempt(recording, lambda path: self.jobs.separate(path, request, report))

        return run

    def find(self) -> Callable[..., Any]:
        """The handler of the button Find, with a progress bar."""
        import gradio as gr

        def run(
            recording: str | None,
            model: str,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> tuple[Answer | None, str]:
            def report(share: float) -> None:
                progress(share, desc="finding sounds")

            return self.attempt(recording, lambda path: self.jobs.find(path, model, report))

        return run

    def attempt(
        self, recording: str | None, work: Callable[[Path | None], Answer]
    ) -> tuple[Answer | None, str]:
        """The answer with its pictures, and what the status line says; None and a message where it failed."""
        try:
            answer = work(Path(recording) if recording else None)
            draw_parts(answer)
        except Exception as error:
            return None, error_html(message_of(error, self.folders(recording)))
        return answer, summary_html(answer)

    def folders(self, recording: str | None) -> list[Path]:
        """Folders whose names no message may hold."""
        return [*([Path(recording).parent] if recording else []), self.jobs.folder]


def show(answer: Answer) -> None:
    """The answer's part of the page, within a gradio.render."""
    import gradio as gr

    if answer.timeline:
        gr.HTML("<h3>What is there when</h3>")
        gr.Image(
            str(answer.timeline),
            label="What is there when",
            show_label=False,  # a label would cover the picture
            alt_text="Timeline of the sounds that were found; the list below says the same in words",
            interactive=False,
            buttons=[],
        )
    gr.DownloadButton("Download all as a zip", value=str(answer.archive), elem_id="zip")
    for sound in answer.sounds:
        with gr.Group(elem_classes="sound"):
            gr.HTML(sound_html(sound), padding=True)
            show_part(sound.target, f"Target: {sound.name}", sound.name)
            if sound.rest:
                rest = f"Rest without {sound.name}"
                show_part(sound.rest, rest, rest[0].lower() + rest[1:])


def show_part(file: Path, label: str, contents: str) -> None:
    """A player and, below it, the spectrogram that `draw_parts` left beside the file, and a download.

    contents: what is in the file, which tells its download from the others.
    """
    import gradio as gr

    gr.Audio(
        str(file),
        label=label,
        interactive=False,
        buttons=[],  # Gradio's own download is called the same for every file
        waveform_options=gr.WaveformOptions(show_recording_waveform=False),
    )
    gr.Image(
        str(picture_of(file)),
        label=f"Spectrogram of {label}",
        show_label=False,
        alt_text=f"Spectrogram of {label}",
        interactive=False,
        buttons=[],
    )
    gr.DownloadButton(f"Download {contents}", value=str(file), size="sm")


def draw_parts(answer: Answer) -> None:
    """A spectrogram beside each sound and its rest, both in the same colours."""
    for sound in answer.sounds:
        levels = [(file, levels_of(file)) for file in (sound.target, sound.rest) if file]
        loudest = max(each.loudest for _, each in levels)
        for file, each in levels:
            draw(each, picture_of(file), loudest)


def picture_of(file: Path) -> Path:
    """The path of the spectrogram of an answer's file."""
    return file.with_suffix(".png")


def sound_html(sound: Sound) -> str:
    """Name, level and reading of a sound."""
    level = f"{in_decibels(sound.level_db, 'recording')}: {sound.level}"
    kind = "absent" if sound.likely_absent else "level"
    about = f"<p>{html.escape(sound.about)}</p>" if sound.about else ""
    return f'<h3>{html.escape(sound.name)}</h3><p class="{kind}">{level}</p>{about}'


def summary_html(answer: Answer) -> str:
    """The status that a screen reader announces when the work is done."""
    count = len(answer.sounds)
    counted = "nothing found" if not count else f"{count} sound{'s' if count > 1 else ''}"
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in answer.notes)
    return f'<div role="status"><p>Done: {counted}.</p>{notes}</div>'


def error_html(text: str) -> str:
    """A message that screen readers read out at once."""
    return f'<div role="alert" class="error"><p>{html.escape(text)}</p></div>'
