"""Errors that a user can correct, each with a message of one line; and signals to end."""

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any


class InputError(Exception):
    """Something given to the toolkit cannot be used: exit code 1.

    The message is one line: what was expected, what came, what to do.
    """


class UsageError(InputError):
    """A wrong argument or setting: exit code 2."""


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not in a table, with the nearest spelling.

    The other names are listed too, unless they would bury it.

    >>> str(unknown("model", "ResNet5", ["ResNet50", "SeNet50"]))
    "unknown model 'ResNet5'; did you mean 'ResNet50'? Known: ResNet50, SeNet50"
    """
    known = list(known)
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(str(given).casefold(), by_folded, n=1)
    hint = f"; did you mean '{by_folded[close[0]]}'?" if close else "."
    names = f" Known: {', '.join(known)}" if not close or len(known) < 30 else ""
    return UsageError(f"unknown {kind} '{given}'{hint}{names}")


def one_line(error: object, limit: int = 200) -> str:
    """Return the message of an error, however long, as one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]


@contextmanager
def as_input_error(
    what: str, *kinds: type[Exception], but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Make an InputError, "what: reason", of the errors of these kinds in the block."""
    try:
        yield
    except (InputError, *but):
        raise
    except kinds as error:
        reason = getattr(error, "strerror", None) or one_line(error, 300) or type(error).__name__
        raise InputError(f"{what}: {reason}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory, of the processor or a GPU, was used up.

    Each backend has its own kinds of error.
    """
    said = f"{type(error).__name__} {error}"
    return bool(re.search("out ?of ?memory|MemoryError|resource_?exhausted", said, re.I))


class Terminated(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C's: exit code 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextmanager
def handling(handler: Callable[[int, Any], None], *names: str) -> Iterator[None]:
    """Handle the signals of these names in the block, if it runs in the main thread.

    Those that the process ignores, as nohup and a shell's background jobs ask for, stay ignored.
    """
    before, hook, sys.unraisablehook = {}, sys.unraisablehook, _send_again
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name, None) for name in names):  # Windows has no SIGHUP
            if number and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier or signal.SIG_DFL)
        sys.unraisablehook = hook


def _send_again(found: Any, usual=sys.unraisablehook) -> None:
    """As `sys.unraisablehook`, send a signal again that came where Python cannot raise.

    That is within a `__del__` or a hook of the garbage collection; TensorFlow and JAX have both.
    """
    if isinstance(found.exc_value, KeyboardInterrupt):
        number = getattr(found.exc_value, "signal", signal.SIGINT)
        wake = getattr(signal, "pthread_kill", lambda _, number: signal.raise_signal(number))
        timer = threading.Timer(0.1, wake, [threading.main_thread().ident, number])
        timer.daemon = True
        timer.start()
    else:
        usual(found)
