"""A program under test: what it must define, and calls to it that leave no trace.

The program's own arrays are written before each call and restored at the end, so that it makes no difference whether
`loss_and_grads` reads its argument, a global variable or the attributes of an object.
"""

import contextlib
import copy
import io
import random
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.arrays import Floats, Grads, Params
from charlstm.errors import UsageError, suggest
from charlstm.text.batches import Window

REQUIRED = {
    "vocab_size": "the number of distinct characters, an integer of at least 2",
    "params": "a dict of arrays of float32 or float64",
    "zero_state": "a function without arguments that returns the state before the first character",
    "loss_and_grads": "a function of params, x, y, state that returns loss, grads, state",
}
OPTIONAL = {
    "batch_size": "an integer B: x and y are [B] times as wide, [T, B]",
    "layout": "a dict with the layout of each parameter",
    "windows": "a function of ids that yields x and y of each window",
    "update": "a function of params, grads, n that changes the parameters",
}
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_PACKAGE = str(Path(__file__).parents[1])


class Finding(Exception):  # noqa: N818  # it is what a check looks for
    """A defect that ends a check.

    Args:
        measured: what was seen.
        cause: the likely cause, a sentence; "" where `measured` says it all.
    """

    def __init__(self, measured: str, cause: str = "") -> None:
        super().__init__(measured)
        self.measured = measured
        self.cause = cause


@dataclass(frozen=True)
class Output:
    """What `loss_and_grads` has returned."""

    loss: float
    grads: Grads
    state: Any
    is_float32: bool  # whether the loss or a gradient is


@dataclass(eq=False)
class Program:
    """A program under test.

    Args:
        namespace: its names and their values.
        label: the program in error messages.
        path: its file; "" without one.

    Raises:
        UsageError: a name is missing, or its value is of the wrong type.
    """

    namespace: Mapping[str, Any]
    label: str
    path: str = ""
    vocab_size: int = field(init=False)  # V
    params: dict[str, Floats] = field(init=False)  # the initial values (copies)
    batch_size: int | None = field(init=False)  # B; None: x and y are [T]

    def __post_init__(self) -> None:
        for name in REQUIRED:
            if name not in self.namespace:
                hint = suggest(name, [key for key in self.namespace if not key.startswith("_")])
                raise UsageError(f"{self.label} does not define {name}: {REQUIRED[name]}{hint}")
        self.vocab_size = self._integer("vocab_size", 2)
        self.batch_size = None if self._optional("batch_size") is None else self._integer("batch_size", 1)
        self._own = self.namespace["params"]  # the dict that is passed on
        if not isinstance(self._own, dict) or not self._own:
            raise self._wrong("params", f"got {_kind(self._own)}")
        self._arrays = {str(name): self._as_array(name) for name in self._own}
        self.params = {name: array.copy() for name, array in self._arrays.items()}
        for name in ("zero_state", "loss_and_grads", "windows", "update"):
            if name in self.namespace and not callable(self.namespace[name]) and self.namespace[name] is not None:
                raise self._wrong(name, f"got {_kind(self.namespace[name])}")

    @property
    def streams(self) -> int:
        """B, 1 where x and y are [T]."""
        return self.batch_size or 1

    @property
    def layout(self) -> Mapping[str, str] | None:
        """The layout that the program gives for its parameters."""
        layout = self._optional("layout")
        if layout is not None and not (
            isinstance(layout, Mapping) and all(isinstance(text, str) for pair in layout.items() for text in pair)
        ):
            raise self._wrong("layout", f"got {_kind(layout)}")
        return layout

    @property
    def windows(self) -> Callable[..., Any] | None:
        """The program's `windows`."""
        windows: Callable[..., Any] | None = self._optional("windows")
        return windows

    @property
    def update(self) -> Callable[..., Any] | None:
        """The program's `update`."""
        update: Callable[..., Any] | None = self._optional("update")
        return update

    def zero_state(self) -> Any:
        """Return the state before the first character.

        Raises:
            Finding: the program has crashed.
        """
        return self.call(self.namespace["zero_state"])

    def run(self, window: Window, state: Any, params: Params, seed: int = 0) -> Output:
        """Return the loss of a window, the gradients, and the state after it.

        Args:
            window: ids x and y, [T] or [T, B] as the program expects.
            state: before the window; not changed.
            params: the values of the program's parameters.
            seed: of the global random states.

        Raises:
            Finding: the program has crashed, has changed its parameters, or has returned something else.
        """
        self._write(params)
        x, y = (np.array(ids, np.intp) for ids in window)
        result = self.call(self.namespace["loss_and_grads"], self._own, x, y, copy.deepcopy(state), seed=seed)
        for name, array in self._arrays.items():
            if self._own.get(name) is not array or not np.array_equal(array, params[name], equal_nan=True):
                raise Finding(
                    f"loss_and_grads changes params[{name!r}]", "Move the update of the parameters out of it."
                )
        return self._output(result)

    def apply_update(self, params: Params, grads: Params, n: int) -> dict[str, Floats]:
        """Return the parameters after the program's own update number n, from 1.

        Raises:
            Finding: the program has crashed.
        """
        assert self.update is not None
        self._write(params)
        result = self.call(self.update, self._own, {name: grad.copy() for name, grad in grads.items()}, n)
        updated = result if isinstance(result, dict) and result.keys() == params.keys() else self._own
        try:
            return {name: np.array(updated[name], params[name].dtype).reshape(params[name].shape) for name in params}
        except (KeyError, TypeError, ValueError):
            raise Finding("update changes the names or the shapes of the parameters") from None
        finally:
            self._own.update(self._arrays)

    def restore(self) -> None:
        """Give the program its initial parameters back."""
        self._own.update(self._arrays)
        self._write(self.params)

    def call(self, function: Callable[..., Any], *arguments: Any, seed: int = 0) -> Any:
        """Call a function of the program, quietly and with the global random states seeded.

        Raises:
            Finding: it has crashed.
        """
        with isolated(seed):
            try:
                return function(*arguments)
            except (Exception, SystemExit) as error:
                raise Finding(describe_crash(error, self.path)) from None

    def _write(self, params: Params) -> None:
        for name, array in self._arrays.items():
            self._own[name] = array
            array[...] = params[name]

    def _output(self, result: Any) -> Output:
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise Finding(f"loss_and_grads returns {_kind(result)}", "Return loss, grads, state.")
        loss, grads, state = result
        number = _as_number(loss)
        grads, is_float32 = self._checked_grads(grads)
        return Output(number, grads, state, is_float32 or getattr(loss, "dtype", None) == np.float32)

    def _checked_grads(self, grads: Any) -> tuple[Grads, bool]:
        if not isinstance(grads, Mapping):
            raise Finding(f"grads is {_kind(grads)}", "Return a dict with a gradient for each name in params.")
        missing = [name for name in self.params if name not in grads]
        if missing:
            raise Finding(f"grads has no {', '.join(missing)}", "Return a gradient for each name in params.")
        checked: Grads = {}
        for name, param in self.params.items():
            try:
                grad = np.asarray(grads[name], np.float64)
            except (TypeError, ValueError):
                raise Finding(f"grads[{name!r}] is {_kind(grads[name])}, not an array of numbers") from None
            if grad.shape != param.shape:
                raise Finding(
                    f"grads[{name!r}] has the shape {grad.shape}, params[{name!r}] {param.shape}",
                    "A gradient has the shape of its parameter; is one of them transposed, or a sum missing?",
                )
            checked[name] = grad.copy()
        return checked, any(getattr(grads[name], "dtype", None) == np.float32 for name in self.params)

    def _integer(self, name: str, least: int) -> int:
        value = self.namespace[name]
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise self._wrong(name, f"got {value!r:.60}", OPTIONAL.get(name) and f"an integer of at least {least}")
        return int(value)

    def _optional(self, name: str) -> Any:
        return self.namespace.get(name)

    def _as_array(self, name: Any) -> Floats:
        value = self._own[name]
        if not isinstance(name, str):
            raise self._wrong("params", f"its key {name!r:.60} is not a string")
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            raise self._wrong("params", f"params[{name!r}] is {_kind(value)}")
        if not value.size or not np.isfinite(value).all():
            raise self._wrong(
                "params", f"params[{name!r}] {'has numbers that are not finite' if value.size else 'is empty'}"
            )
        return value if value.flags.writeable else value.copy()

    def _wrong(self, name: str, got: str, expected: str | None = None) -> UsageError:
        return UsageError(f"{self.label}: {name} must be {expected or REQUIRED.get(name) or OPTIONAL[name]}; {got}")


@contextlib.contextmanager
def isolated(seed: int = 0) -> Iterator[None]:
    """Hide what a program prints and warns of, and seed the global random states, which are restored at the end."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def describe_crash(error: BaseException, path: str = "") -> str:
    """Return where in a program an error was raised, with the line and the message."""
    message = traceback.format_exception_only(error)[-1].strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_foreign(frame.filename, path)]
    if isinstance(error, SyntaxError) and error.lineno and (error.filename == path or not frames):
        where, line = f"{error.filename or path}, line {error.lineno}", error.text
    elif frames:
        where, line = f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}", frames[-1].line
    else:
        return message
    return "\n".join([f"{where}:", *([f"    {line.strip()}"] if line else []), message])


def arrays_of(state: Any) -> list[Floats]:
    """Return the arrays of a state, however it is nested, in order."""
    if isinstance(state, Mapping):
        return [array for value in state.values() for array in arrays_of(value)]
    if isinstance(state, Sequence) and not isinstance(state, str | bytes):
        return [array for value in state for array in arrays_of(value)]
    try:
        return [np.asarray(state, np.float64)]
    except (TypeError, ValueError):
        return []


def state_like(state: Any, arrays: Sequence[Floats]) -> Any:
    """Return a state of the same structure with other arrays."""
    left = iter(arrays)

    def rebuild(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: rebuild(value) for name, value in part.items()}
        if isinstance(part, tuple) and hasattr(part, "_fields"):
            return type(part)(*map(rebuild, part))
        if isinstance(part, list | tuple):
            return type(part)(map(rebuild, part))
        return np.asarray(next(left), getattr(part, "dtype", np.float64)).reshape(np.shape(part))

    return rebuild(state)


def _is_foreign(filename: str, path: str) -> bool:
    """Return whether a frame is in the user's code rather than in a library."""
    return filename == path or not (filename.startswith((*_LIBRARIES, _PACKAGE, "<frozen")))


def _as_number(loss: Any) -> float:
    try:
        array = np.asarray(loss, np.float64)
    except (TypeError, ValueError):
        raise Finding(f"the loss is {_kind(loss)}", "Return a number.") from None
    if array.size != 1:
        raise Finding(f"the loss is an array of shape {array.shape}", "Return the sum or the mean of the losses.")
    return float(array.reshape(()))


def _kind(value: Any) -> str:
    """Return what a value is, in words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
