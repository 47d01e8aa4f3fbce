"""`charlstm play`: a story that the user and a model write in turns."""

import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from charlstm.cli.display import say
from charlstm.cli.reading import QUIET, loaded, unescaped
from charlstm.errors import UsageError
from charlstm.filters import Choice
from charlstm.sampling import Rules, Start, begin, generate
from charlstm.settings import integer, number
from charlstm.vocab import UnknownCharactersError

_HELP = """What you type is added to the story, and the model goes on; Enter alone lets it go on. \\n is a line end,
\\: at the beginning a colon.
:again        write the last piece anew        :undo           take the last piece back
:temp X       temperature                      :length N       characters of a piece
:stop TEXT    end pieces at this; without, off :story          show it all
:save FILE    save it                          :state save|load NAME   keep this place, or go back to it
:help         this (Ctrl-C ends a piece)       :quit           end (Ctrl-D too)"""
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class _Turn:
    """What was typed, what was written then, and the place after it."""

    typed: str
    written: str
    start: Start


class _Story:
    """A story in turns, of which any number can be taken back: the network's state at each place is kept."""

    def __init__(self, path: str, seed: int | None, length: int, temperature: float) -> None:
        self._run = loaded(path)
        self._rng = np.random.default_rng(seed)
        self._length, self._temperature, self._rules = length, temperature, Rules()
        self._turns = [_Turn("", "", begin(self._run.model, self._run.vocab))]
        self._kept: dict[str, list[_Turn]] = {}

    def go_on(self, typed: str) -> None:
        """Add what was typed, write, and show what was written."""
        model, vocab = self._run.model, self._run.vocab
        place = self._turns[-1].start.after(model, vocab.encode(typed))
        written = ""
        with suppress(KeyboardInterrupt):  # which ends a piece
            for piece in generate(model, vocab, self._length, place, self._rng, Choice(self._temperature), self._rules):
                written += piece
                sys.stdout.write(piece)
                sys.stdout.flush()
        sys.stdout.write("\n")
        self._turns.append(_Turn(typed, written, place.after(model, vocab.encode(written))))

    def command(self, name: str, value: str) -> None:
        """Do what a line that begins with : asks for."""
        if name == "again":
            self.go_on(self._taken_back().typed)
        elif name == "undo":
            self._taken_back()
            text = self._text()
            say(f"taken back; the story ends: {'...' if len(text) > _SHOWN_CHARS else ''}{text[-_SHOWN_CHARS:]!r}")
        elif name == "temp":
            self._temperature = number(0, sys.float_info.max).parse(value)
        elif name == "length":
            self._length = integer(1, 10**9).parse(value)
        elif name == "stop":
            self._rules = Rules(stop=(unescaped(value),) if value else (), keep_stop=True)
        elif name == "story":
            sys.stdout.write(self._text() + "\n")
        elif name == "save":
            self._save(value)
        elif name == "state":
            self._keep(*value.split(maxsplit=1))
        elif name == "help":
            say(_HELP)
        else:
            raise ValueError(f"there is no :{name}; :help shows what there is")

    def _taken_back(self) -> _Turn:
        if len(self._turns) == 1:
            raise ValueError("nothing is written yet")
        return self._turns.pop()

    def _text(self) -> str:
        return "".join(turn.typed + turn.written for turn in self._turns)

    def _save(self, path: str) -> None:
        if not path:
            raise ValueError(":save FILE: name a file")
        text = self._text().encode("utf-8", "surrogatepass")
        try:
            with open(path, "xb") as file:
                file.write(text)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from None
        say(f"saved in {path}")

    def _keep(self, verb: str = "", name: str = "") -> None:
        if verb == "save" and name:
            self._kept[name] = list(self._turns)
        elif verb == "load" and name in self._kept:
            self._turns = list(self._kept[name])
        else:
            raise ValueError(f":state save NAME, or load one of: {', '.join(self._kept) or 'none yet'}")


@QUIET
def play(path: str, *, seed: int | None, length: int, temperature: float) -> None:
    """Read lines from standard input until it ends; go on with each, or do what it asks for."""
    if sys.stdin is None:
        raise UsageError("play reads from standard input, which is closed")
    story = _Story(path, seed, length, temperature)
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
            say(":quit or Ctrl-D ends; :save FILE saves the story first")
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
                story.go_on(unescaped(line.removeprefix("\\") if line.startswith("\\:") else line))
        except (ValueError, UnknownCharactersError) as error:
            say(f"Error: {error}")
        except KeyboardInterrupt:  # outside a piece, which it ends
            say("interrupted; the story is as it was")
