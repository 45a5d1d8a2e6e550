"""What goes wrong, said in one line; with --debug, where."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
from typing import Any

DEBUG = "QSEP_DEBUG"  # an environment variable, so that a run's other processes know it too
ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
LEFT_BY_SIGNAL = {128 + number for number in ENDING}  # exit codes


def one_line(error: BaseException) -> str:
    """For people: no line breaks; of an error that nobody foresaw, its kind and how to find its place."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "a file"
        return f"{where}: {error.strerror}: free some, or choose another folder"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    if isinstance(error, MemoryError):
        return "out of memory: free some, or take a smaller model"
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "torchaudio"):
        return "this needs PyTorch: pip install 'qsep[torch]'"
    kind = type(error).__name__
    return f"{kind}{f': {text}' if text else ''} (--debug shows where)"


def say_error(error: BaseException, about: str = "") -> None:
    """On standard error. about: the file, item or step, where the error does not name it."""
    text = one_line(error)
    if about and about not in text:
        text = f"{about}: {text}"
    print(f"qsep: error: {text}", file=sys.stderr)
    show_traceback(error)


def show_traceback(error: BaseException) -> None:
    """With --debug."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)


def usage_line(error: Any) -> str:
    """A mistake in the command line, as click found it, as the other errors read: what, and the way out."""
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    command = error.ctx.command_path if error.ctx else "qsep"
    return f"{text}: see {command} --help"


def take_switches(arguments: list[str]) -> list[str]:
    """The command line without --debug and --verbose, wherever they stand before a --; they take effect."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" in arguments[:end]:
        os.environ[DEBUG] = "1"
    if "--verbose" in arguments[:end]:
        logging.getLogger("qsep").setLevel(logging.INFO)
    switches = ("--debug", "--verbose")
    return [word for word in arguments[:end] if word not in switches] + arguments[end:]
