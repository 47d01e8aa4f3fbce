"""Faults, kills and mutations, counted. As a program (`make reliability`), does many and writes docs/reliability.md.

Each function returns how many times it tried, and raises AssertionError at the first promise that is broken.
"""

import builtins
import contextlib
import copy
import errno
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from charlstm import (
    CharlstmError,
    Checkpoint,
    Config,
    Corpus,
    corpus_from_text,
    evaluate,
    generate,
    load,
    read_corpus,
    save,
    start,
    train,
)
from charlstm.cli.main import cli
from charlstm.cli.reading import print_info
from charlstm.config import load_values
from charlstm.npz import write_npz

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(400))
FAULTS = {
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "input/output error": lambda: OSError(errno.EIO, "Input/output error"),
    "Ctrl-C": KeyboardInterrupt,
    "no memory": MemoryError,
}
VARIANTS = {
    "adam, one core": "--threads 1",
    "two cores": "--threads 2 --batch-size 8",
    "averaging": "--average 0.9",
    "early stopping": "--patience 50 --learning-rate 0.05",
    "rmsprop, step": "--optimizer rmsprop --schedule step",
    "sgd, momentum, plateau": "--optimizer sgd --momentum 0.9 --learning-rate 0.5 --schedule plateau",
    "epochs, linear, dropout": "--schedule linear --dropout 0.2 --num-layers 2",
    "two files": "second.txt",
}
_QUICK = ["--hidden-size", "12", "--seq-len", "10", "--evals", "40", "--steps", "800", "-q"]


def small_runs() -> tuple[Checkpoint, Checkpoint]:
    """Return a finished run, and one that is not."""
    corpus = corpus_from_text("abcd\n" * 50)
    config = Config().replace(hidden_size=3, batch_size=2, seq_len=5, steps=4, average=0.5, no_copy_index=4)
    done, half = start(config, corpus), start(config, corpus)
    for _ in train(done, corpus):
        pass
    for report in train(half, corpus):
        if report.step == 2:
            break
    return done, half


# ---- faults while saving


class Faults:
    """Lets the n-th of all writes, flushes, syncs, renames and openings fail, once or from there on."""

    def __init__(self, n: int, fault: str, *, for_good: bool) -> None:
        self.calls, self._n, self._fault, self._for_good = 0, n, fault, for_good

    def call(self, function, *arguments, **options):
        """Call a function, or fail."""
        self.calls += 1
        if self.calls == self._n or (self._for_good and self.calls > self._n):
            raise FAULTS[self._fault]()
        return function(*arguments, **options)

    @contextlib.contextmanager
    def injected(self) -> Iterator[None]:
        """Put itself between the package and the system."""
        real = {"fsync": os.fsync, "replace": os.replace, "open": os.open}
        real_open = builtins.open

        def opened(path, mode="r", *arguments, **options):
            file = self.call(real_open, path, mode, *arguments, **options)
            return _Faulty(file, self) if "b" in mode and ("w" in mode or "x" in mode) else file

        try:
            for name, function in real.items():
                setattr(os, name, lambda *a, function=function, **k: self.call(function, *a, **k))
            builtins.open = opened
            yield
        finally:
            builtins.open = real_open
            for name, function in real.items():
                setattr(os, name, function)


class _Faulty(io.RawIOBase):
    def __init__(self, file, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data):
        return self._faults.call(self._file.write, data)

    def flush(self):
        if not self._file.closed:
            self._faults.call(self._file.flush)

    def close(self):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def fileno(self):
        return self._file.fileno()

    def seek(self, *arguments):
        return self._file.seek(*arguments)

    def tell(self):
        return self._file.tell()

    def seekable(self):
        return True


def fault_sweep(folder: Path, step: int = 1) -> int:
    """Let every call of a save fail in turn, or each so many; the old or the new file is there, and nothing else."""
    old, new = small_runs()
    save(new, folder / "new.npz")
    save(old, folder / "model.npz")
    wanted = {(folder / name).read_bytes() for name in ("new.npz", "model.npz")}
    (folder / "new.npz").unlink()
    tries = 0
    for fault in FAULTS:
        for for_good in (False, True):
            n = 1 - step
            while True:
                n += step
                tries += 1
                save(old, folder / "model.npz")
                faults, told = Faults(n, fault, for_good=for_good), False
                with faults.injected():
                    try:
                        save(new, folder / "model.npz")
                    except (CharlstmError, KeyboardInterrupt, MemoryError):
                        told = True
                assert (folder / "model.npz").read_bytes() in wanted
                assert os.listdir(folder) == ["model.npz"], os.listdir(folder)
                assert told == (faults.calls >= n), f"{fault} at call {n} was not told"
                if faults.calls < n:
                    break
    return tries


# ---- kills


def _command(flags: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "charlstm", "train", "corpus.txt", *flags.split(), *_QUICK, *more]


def kill_loop(folder: Path, flags: str, kills: int, number: int, seed: int = 0) -> int:
    """Stop a training at random moments until it has been so many times; it ends like one that was left alone."""
    rng = random.Random(seed)
    for name in ("corpus.txt", "second.txt"):
        (folder / name).write_text(TEXT)
    subprocess.run(_command(flags, "-o", "whole.npz"), cwd=folder, check=True)
    done = 0
    while True:
        resume = ["--resume"] if (folder / "model.npz").exists() else []
        with subprocess.Popen(_command(flags, *resume), cwd=folder, stderr=subprocess.PIPE) as process:
            if done < kills:
                time.sleep(rng.uniform(0.2, 0.9))
                process.send_signal(number)
            said = process.communicate()[1]
        done += process.returncode != 0
        assert b"Traceback" not in said, said.decode()
        assert process.returncode in (0, -number, 128 + number), said.decode()
        if (folder / "model.npz").exists():
            run = load(folder / "model.npz")
            if run.progress is None:
                if done < kills:  # too quick: begin again
                    _the_same(folder)
                    (folder / "model.npz").unlink()
                    continue
                break
    _the_same(folder)
    return done


def _the_same(folder: Path) -> None:
    assert (folder / "model.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    assert not list(folder.glob(".*.tmp"))


# ---- mutations


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with some changed, removed, repeated or put in."""
    some = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, length = rng.randrange(len(some) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and some:
            some[at % len(some)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            some[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del some[at : at + length]
        elif kind == 3:
            some[at:at] = rng.randbytes(length)
        elif kind == 4:
            some[at:at] = some[at : at + 64]
        else:
            some[at : at + length] = rng.choice((b"\0", b"\xff", b"9", b"-", b"[", b'"')) * length
    return bytes(some)


def _contents(run: Checkpoint) -> dict[str, object]:
    arrays: dict[str, object] = {name: array.tobytes() for name, array in run.model.params.items()}
    arrays["vocab"] = (run.vocab.code_points.tobytes(), run.vocab.counts.tobytes())
    arrays["rest"] = (run.config, run.corpus, run.best, run.history, run.copies and run.copies.words.tobytes())
    if run.progress:
        for kind, params in run.progress.arrays().items():
            arrays |= {f"{kind}.{name}": array.tobytes() for name, array in params.items()}
        arrays["state"] = (run.progress.state.h.tobytes(), run.progress.state.c.tobytes())
        arrays["progress"] = (run.progress.step, run.progress.rescues, str(run.progress.rng.bit_generator.state))
    return arrays


def mutate_checkpoints(folder: Path, tries: int, seed: int = 0) -> int:
    """Load mutated files: refused, or the same values; never others."""
    rng, path = random.Random(seed), folder / "mutated.npz"
    originals = []
    for run in small_runs():
        save(run, path)
        originals.append((path.read_bytes(), _contents(run)))
    for _ in range(tries):
        data, contents = rng.choice(originals)
        path.write_bytes(mutated(data, rng))
        try:
            run = load(path)
        except CharlstmError:
            continue
        assert _contents(run) == contents, "other values"
    return tries


def mutate_members(folder: Path, tries: int, seed: int = 0) -> int:
    """Load files whose members were changed, with checksums that fit: refused, or of use."""
    rng, path = random.Random(seed), folder / "members.npz"
    originals = []
    for run in small_runs():
        save(run, path)
        with zipfile.ZipFile(path) as archive:
            originals.append({name: archive.read(name) for name in archive.namelist()})
    for _ in range(tries):
        members = dict(rng.choice(originals))
        name = rng.choice((*members, "header.npy", "header.npy", "header.npy"))
        if name == "header.npy":
            members[name] = _as_npy(_other_header(json.loads(members[name][128:]), rng))
        else:
            members[name] = mutated(members[name], rng)
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                archive.writestr(zipfile.ZipInfo(member), data)
        try:
            run = load(path)
            save(run, path)
            _use(run, path)
        except CharlstmError:
            continue
    return tries


def _use(run: Checkpoint, path: Path) -> None:
    """Do with a model what its user could: look at it, write, score, go on."""
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        print_info(str(path), json=False)
        print_info(str(path), json=True)
        "".join(generate(run.model, run.vocab, 2, "", np.random.default_rng(0)))
        text = run.vocab.decode(np.arange(12) % len(run.vocab))
        evaluate(run.model, run.vocab.encode(text))
        if run.progress and run.config.train.batch_size * run.config.train.seq_len < 1000:
            corpus = Corpus(run.vocab, run.vocab.encode(text * 20), run.corpus["sha256"])
            for _ in train(replace(run, config=run.config.replace(threads=1)), corpus):
                save(run, path)
                load(path)
                break


def _as_npy(header: object) -> bytes:
    file = io.BytesIO()
    write_npz(file, [("header", np.frombuffer(json.dumps(header).encode(), np.uint8))])
    with zipfile.ZipFile(file) as archive:
        return archive.read("header.npy")


_VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    2**70,
    10**400,
    1e300,
    1e999,
    0.5,
    "",
    "x",
    "9" * 5000,
    [],
    [1],
    {},
    {"a": 1},
)


def _other_header(header: object, rng: random.Random) -> object:
    """Return a header with a value somewhere in it changed, removed or added."""
    header = copy.deepcopy(header)
    place = header
    while isinstance(place, dict | list) and place:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
            kind = rng.randrange(4)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, dict):
                place[rng.choice(("x", "step", "hidden_size"))] = rng.choice(_VALUES)
            else:
                place[key] = rng.choice(_VALUES)
            break
        place = place[key]
    return header


def mutate_settings(folder: Path, tries: int, seed: int = 0) -> int:
    """Load mutated YAML: settings, or one error; nothing executed, and in under a second."""
    rng, path = random.Random(seed), folder / "settings.yaml"
    originals = [b"model:\n  hidden_size: 64\n  dropout: 0.2\ntrain:\n  steps: 1e3\n  schedule: cosine\n# a remark\n"]
    originals += [
        b"train: {learning_rate: .01, epochs: 3}\n",
        b"- a\n- &b [1, *b]\n",
        b"model: !!python/object/apply:os.system [x]\n",
    ]
    pieces = (
        b"!!python/name:os.system",
        b"&a ",
        b"*a",
        b"<<: ",
        b"{",
        b"[" * 50,
        b"1" * 500,
        b"\t",
        b"---\n",
        b"? ",
        b"|\n",
        b"'",
        b".nan",
        b"1:30",
    )
    slowest = 0.0
    for _ in range(tries):
        data = rng.choice(originals)
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data = data[:at] + rng.choice(pieces) + data[at:]
        path.write_bytes(mutated(data, rng))
        begun = time.perf_counter()
        with contextlib.suppress(CharlstmError):
            Config().replace(**load_values(str(path)))
        slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < 1, slowest
    return tries


def mutate_corpora(folder: Path, tries: int, seed: int = 0) -> int:
    """Read mutated texts, compressed ones too: a text, or one error."""
    import bz2
    import gzip
    import lzma

    rng = random.Random(seed)
    text = "It was a bright cold day,\r\nçà et là 🌙\u2028 – e\u0301\r".encode()
    files = {"a.txt": text, "a.gz": gzip.compress(text), "a.bz2": bz2.compress(text), "a.xz": lzma.compress(text)}
    for _ in range(tries):
        name = rng.choice(("a.txt", *files))
        (folder / name).write_bytes(mutated(files[name], rng))
        encoding = rng.choice(("utf-8", "utf-8", "utf-16", "cp1252", "shift_jis", "utf-7", "idna", "punycode"))
        with contextlib.suppress(CharlstmError):
            corpus = read_corpus(str(folder / name), encoding)
            if name == "a.txt":
                expected = (folder / name).read_bytes().decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
                assert corpus.vocab.decode(corpus.ids) == expected.removeprefix("\ufeff"), encoding
    return tries


_WORDS = (
    "0",
    "1",
    "2",
    "-1",
    "1.5",
    "nan",
    "inf",
    "1e999",
    "",
    " ",
    "x",
    "é",
    "a b",
    "--",
    "-",
    "9" * 400,
    "true",
    "[a-c]+",
    "(",
    "\\n",
    "4x",
    "@tweets",
    "@no",
    "model.npz",
    "corpus.txt",
    ".",
    "none.txt",
)


def random_command_lines(folder: Path, tries: int, seed: int = 0) -> int:
    """Give commands random options and values: done, or one error."""
    rng, here = random.Random(seed), os.getcwd()
    save(small_runs()[0], folder / "model.npz")
    (folder / "corpus.txt").write_text("abcd\n" * 50)
    ends = {
        "train": [
            "corpus.txt",
            "--steps",
            "1",
            "--evals",
            "1",
            "--hidden-size",
            "2",
            "--num-layers",
            "1",
            "--force",
            "-q",
        ],
        "plan": ["corpus.txt", "--steps", "1"],
        "sample": ["-n", "3", "--num", "1", "--best-of", "1", "--beam", "0"],
        "score": ["corpus.txt"],
        "info": [],
    }
    big = {"--threads", "--out", "--output", "-o", "--log", "--batch-size", "--seq-len", "--eval-chars", "--help", "-h"}
    os.chdir(folder)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for _ in range(tries):
                name = rng.choice(("sample", "sample", "score", "info", "train"))
                name = "plan" if rng.random() < 0.01 else name  # which measures, and takes its time
                options = [option for param in cli.commands[name].params for option in param.opts]
                words: list[str] = []
                for _ in range(rng.randrange(5)):
                    option = rng.choice(options)
                    if option.startswith("-") and option not in big:
                        words += [option] + [rng.choice(_WORDS)] * (rng.random() < 0.7)
                with contextlib.suppress(CharlstmError, click.ClickException, click.exceptions.Exit):
                    cli.main([name, *words, *ends[name]], standalone_mode=False)
    finally:
        os.chdir(here)
    return tries


# ---- the page


def _rows(scale: float) -> Iterator[tuple]:
    """Yield what is promised, and a function of a folder with its arguments that tries it; the longest first."""

    def n(tries: int) -> int:
        return max(int(tries * scale), 1)

    yield "a mutated checkpoint is refused, or has the same values", mutate_checkpoints, n(1_000_000)
    yield (
        "a checkpoint with mutated members whose checksums fit is refused, or can be looked at, written with, scored "
        "with and gone on with",
        mutate_members,
        n(100_000),
    )
    yield "a mutated configuration gives settings or one error, in under a second", mutate_settings, n(100_000)
    yield "a mutated text, compressed or not, is read as Python reads it, or refused", mutate_corpora, n(100_000)
    yield "random command lines do something or give one error", random_command_lines, n(20_000)
    yield (
        "a save of which every write, flush, sync, rename and opening fails in turn, once and for good, leaves the old "
        "or the new file, whole, nothing else, and is told",
        fault_sweep,
    )
    for name in ("SIGKILL", "SIGTERM", "SIGINT"):
        promise = f"a training stopped by {name} at random moments ends with the bytes of one left alone"
        yield promise, kill_loop, "", n(50), getattr(signal, name)
    for variant, flags in VARIANTS.items():
        yield f"... by SIGKILL: {variant}", kill_loop, flags, n(10), signal.SIGKILL


def _tried(job: tuple) -> tuple[str, float, float]:
    """Do one; return its row of the table, its seconds, and the most memory of this process so far, in MB."""
    promise, function, *arguments = job
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        tries = function(Path(folder), *arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return f"| {promise} | `{function.__name__}` | {tries:,} | 0 |", time.perf_counter() - begun, peak


def main() -> None:
    """Try everything often, on all cores, and write the page."""
    for name in ("SIGINT", "SIGHUP"):  # a shell's background jobs and nohup ignore them, and so would what they start
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    jobs = list(_rows(float(sys.argv[1]) if sys.argv[1:] else 1.0))
    rows, most = [], 0.0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for row, seconds, peak in pool.map(_tried, jobs):
            print(f"{row} {seconds:.0f} s", flush=True)
            rows.append(row)
            most = max(most, peak)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->")
    after = rest.partition("<!-- end -->")[2]
    table = "\n".join(["| promise | test | tries | lost |", "|---|---|---|---|", *rows])
    memory = f"No process that tried had more than {most:.0f} MB."
    PAGE.write_text(f"{before}<!-- table -->\n{table}\n\n{memory}\n<!-- end -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
