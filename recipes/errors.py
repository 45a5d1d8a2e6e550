"""Errors as one line on standard error; with --debug, or QSEP_DEBUG=1, also the traceback."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable

from qsep.separation import NEEDS_TORCH, TORCH_EXTRA
from qsep.separation.out_of_memory import is_out_of_memory

DEBUG = "QSEP_DEBUG"  # an environment variable, so that worker processes inherit it


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; of an unexpected one also its type and a hint."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        file = error.filename or "a file, or standard output"
        return f"{file}: {error.strerror}: free some, or choose another folder"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    if is_out_of_memory(error):
        return "out of memory: close other programs, or choose a smaller model"
    if isinstance(error, ModuleNotFoundError) and error.name in TORCH_EXTRA:
        return f"this {NEEDS_TORCH}"
    kind = type(error).__name__
    return f"{kind}{f': {text}' if text else ''} (--debug shows the traceback)"


def print_error(error: BaseException, about: str = "") -> None:
    """Print an error on standard error. about: the file, item or step, added if the message lacks it."""
    text = one_line(error)
    if about and about not in text:
        text = f"{about}: {text}"
    print(f"qsep: error: {text}", file=sys.stderr)
    show_traceback(error)


def show_warnings() -> None:
    """Let warnings appear on standard error in the style of errors."""
    logging.basicConfig(format="qsep: %(message)s", level=logging.WARNING, stream=sys.stderr)


def run_script(main: Callable[[], object]) -> None:
    """Run a script's main function; a bad argument or file is one line, with exit code 2."""
    try:
        main()
    except (ValueError, OSError) as error:
        print_error(error)
        sys.exit(2)


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an error if --debug is given."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
