"""`charlstm play`: a story that a user and a model write in turns."""

import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charlstm.cli.inputs import QUIET, clean_typed, load_checkpoint, unescape
from charlstm.cli.output import say
from charlstm.cli.requests import PlayRequest
from charlstm.config.kinds import settings_of
from charlstm.errors import UsageError, quote
from charlstm.network.cores import blas_threads
from charlstm.sampling.generate import Prefix, StopDetector
from charlstm.sampling.params import SamplingParams
from charlstm.text.vocab import UnknownCharactersError

_HELP = """Your text is added to the story, and the model continues it; press Enter on an empty line to let it
continue. \\n is a newline; start a line with \\: for a literal colon. Ctrl-C ends the model's turn.
:again        rewrite the last turn            :undo           remove the last turn
:temp X       set the temperature              :length N       set the characters per turn
:stop TEXT    end each turn after this text    :story          show the whole story
:save FILE    save the story                   :state save|load NAME   bookmark this point, or return to it
:help         show this message                :quit           leave (or Ctrl-D)"""
_SHOWN_CHARS = 60
_KINDS = {setting.name: setting.kind for setting in settings_of(PlayRequest)}


@dataclass(frozen=True)
class _Turn:
    """What was typed, what the model wrote, and the prefix after both."""

    typed: str
    written: str
    prefix: Prefix


class _Story:
    """A story in turns. Any number of them can be undone: each keeps the state of the network."""

    def __init__(self, request: PlayRequest) -> None:
        run = load_checkpoint(request.checkpoint)
        model, self._data = run.model, run.config.data
        self._model, self._rng = model, np.random.default_rng(request.seed)
        self._params = SamplingParams(length=request.length, temperature=request.temperature, keep_stop=True)
        self._turns = [_Turn("", "", model.read())]
        self._kept: dict[str, list[_Turn]] = {}

    def add_turn(self, typed: str) -> None:
        """Add what was typed, and write and show the continuation."""
        typed = clean_typed(typed, self._data)
        prefix = self._turns[-1].prefix.extend(typed)
        written, detector = "", StopDetector(self._params)
        with blas_threads(1), suppress(KeyboardInterrupt):  # which ends the turn
            for piece in self._model.sampler(self._params).stream(prefix, self._rng, detector):
                written += piece
                sys.stdout.write(piece)
                sys.stdout.flush()
        sys.stdout.write("\n")
        if detector.at_boundary:
            say("the document ends here; what follows begins a new one")
            self._turns.append(_Turn(typed, written + "\n", self._model.read()))
        else:
            self._turns.append(_Turn(typed, written, prefix.extend(written)))

    def command(self, name: str, value: str) -> None:
        """Run a command: a line that starts with a colon."""
        if name == "again":
            self.add_turn(self._undo().typed)
        elif name == "undo":
            self._undo()
            text = self._text()
            shown = f"{'...' if len(text) > _SHOWN_CHARS else ''}{quote(text[-_SHOWN_CHARS:])}"
            say(f"removed; the story {f'now ends with {shown}' if text else 'is empty'}")
        elif name == "temp":
            self._set(temperature=_KINDS["temperature"].parse(value))
        elif name == "length":
            self._set(length=_KINDS["length"].parse(value))
        elif name == "stop":
            self._set(stop=(clean_typed(unescape(value), self._data),) if value else ())
        elif name == "story":
            sys.stdout.write(self._text() + "\n")
        elif name == "save":
            self._save(value)
        elif name == "state":
            self._keep(*value.split(maxsplit=1))
        elif name == "help":
            say(_HELP)
        else:
            raise ValueError(f"unknown command :{name}; :help lists the commands")

    def _set(self, **changes: Any) -> None:
        """Change sampling parameters, if the model can use them."""
        params = replace(self._params, **changes)
        self._model.sampler(params)
        self._params = params

    def _undo(self) -> _Turn:
        if len(self._turns) == 1:
            raise ValueError("there are no turns yet")
        return self._turns.pop()

    def _text(self) -> str:
        return "".join(turn.typed + turn.written for turn in self._turns)

    def _save(self, path: str) -> None:
        if not path:
            raise ValueError(":save needs a file name")
        text = self._text().encode("utf-8", "surrogatepass")
        try:
            with open(path, "xb") as file:
                file.write(text)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from None
        say(f"saved to {path}")

    def _keep(self, verb: str = "", name: str = "") -> None:
        if verb == "save" and name:
            self._kept[name] = list(self._turns)
        elif verb == "load" and name in self._kept:
            self._turns = list(self._kept[name])
        else:
            raise ValueError(f"use :state save NAME or :state load NAME; saved: {', '.join(self._kept) or 'none'}")


@QUIET
def play_story(request: PlayRequest) -> None:
    """Read lines from standard input until it ends, and continue the story with each, or run it as a command."""
    if sys.stdin is None:
        raise UsageError("play reads standard input, which is closed")
    story = _Story(request)
    interactive = sys.stdin.isatty()
    if interactive:
        with suppress(ImportError):
            import readline  # noqa: F401  # gives input() a history
        say(_HELP)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        try:
            line = input("> " if interactive else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            if not interactive:
                return
            say("")
            say("leave with :quit or Ctrl-D; save the story with :save FILE")
            continue
        except UnicodeDecodeError:
            raise UsageError("standard input is not UTF-8") from None
        try:
            if line.startswith(":"):
                name, _, value = line[1:].partition(" ")
                if name == "quit":
                    return
                story.command(name, value.strip())
            else:
                story.add_turn(unescape(line.removeprefix("\\") if line.startswith("\\:") else line))
        except (ValueError, UnknownCharactersError, UsageError) as error:
            say(f"Error: {error}")
        except KeyboardInterrupt:  # outside a turn
            say("interrupted; the story is unchanged")
