"""The page's theme: system fonts, colours of sufficient contrast, and labels that Gradio lacks."""

from __future__ import annotations

from typing import Any

CSS = """
#status .error {border-left: .3em solid #c62828; padding: .6em 1em}
#status .note {border-left: .3em solid #b8860b; padding: .6em 1em}
.sound .absent {font-weight: bold}
h3 {margin: 0}
.sound .block {border: none !important} /* in a group Gradio draws them black */
#whole {align-self: flex-end}
footer .divider {display: none} /* there is a single link */
body:not(.dark) .block {--neutral-400: var(--neutral-600)} /* of players' controls and times: 2.5:1 */
"""

# Players are named for screen readers by what is written above them; Gradio gives them no name.
HEAD = """
<script>
new MutationObserver(() => {
  for (const player of document.querySelectorAll("audio:not([aria-label])")) {
    const label = player.closest(".block")?.querySelector("[data-testid=block-label]");
    if (label) player.setAttribute("aria-label", label.textContent.trim());
  }
}).observe(document.documentElement, { childList: true, subtree: true });
</script>
"""


def theme() -> Any:
    """A gradio theme that fetches nothing; text at 4.5:1 and more, as WCAG 2.2 (1.4.3) asks."""
    import gradio as gr

    base = gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return base.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        block_label_text_color="*neutral_700",
        input_placeholder_color="*neutral_500",
    )
