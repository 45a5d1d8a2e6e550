"""Errors as one line on standard error; with --debug also the traceback."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
from typing import Any

from qsep.separation import NEEDS_TORCH

DEBUG = "QSEP_DEBUG"  # an environment variable, so that worker processes inherit it
ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
LEFT_BY_SIGNAL = {128 + number for number in ENDING}  # exit codes


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; of an unexpected one also its type and a hint."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        file = error.filename or "a file"
        return f"{file}: {error.strerror}: free some, or choose another folder"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or choose a smaller model"
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "torchaudio"):
        return f"this {NEEDS_TORCH}"
    kind = type(error).__name__
    return f"{kind}{f': {text}' if text else ''} (--debug shows the traceback)"


def say_error(error: BaseException, about: str = "") -> None:
    """Print an error on standard error. about: the file, item or step, added if the message lacks it."""
    text = one_line(error)
    if about and about not in text:
        text = f"{about}: {text}"
    print(f"qsep: error: {text}", file=sys.stderr)
    show_traceback(error)


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an error if --debug is given."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)


def usage_line(error: Any) -> str:
    """A usage error of click in the style of the other errors: what is wrong, and where to look."""
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    command = error.ctx.command_path if error.ctx else "qsep"
    return f"{text}: see {command} --help"


def take_switches(arguments: list[str]) -> list[str]:
    """Apply --debug and --verbose, at any position before a "--", and return the other arguments."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" in arguments[:end]:
        os.environ[DEBUG] = "1"
    if "--verbose" in arguments[:end]:
        logging.getLogger("qsep").setLevel(logging.INFO)
    switches = ("--debug", "--verbose")
    return [word for word in arguments[:end] if word not in switches] + arguments[end:]
