"""Fuzzing: mutated checkpoints, configurations and corpora, and random command lines.

Each function returns the number of its trials, and raises AssertionError at the first broken promise.
"""

import bz2
import contextlib
import copy
import gzip
import io
import json
import lzma
import os
import random
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from faults import small_runs

from charlstm import CharlstmError, Config, Corpus, Run, load_run, read_corpus, train
from charlstm.cli.info import print_info
from charlstm.cli.main import cli
from charlstm.config.presets import load_values
from charlstm.storage.npz import write_npz

_JSON_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 10**400, 1e300, 1e999, 0.5,
    "", "x", "9" * 5000, [], [1], {}, {"a": 1},
)  # fmt: skip
_CONFIGURATIONS = (
    b"model:\n  hidden_size: 64\n  dropout: 0.2\ntrain:\n  steps: 1e3\n  schedule: cosine\n# a comment\n",
    b"train: {learning_rate: .01, epochs: 3}\n",
    b"- a\n- &b [1, *b]\n",
    b"model: !!python/object/apply:os.system [x]\n",
)
_YAML_PIECES = (
    b"!!python/name:os.system", b"&a ", b"*a", b"<<: ", b"{", b"[" * 50, b"1" * 500, b"\t", b"---\n", b"? ", b"|\n",
    b"'", b".nan", b"1:30",
)  # fmt: skip
_WORDS = (
    "0", "1", "2", "-1", "1.5", "nan", "inf", "1e999", "", " ", "x", "é", "a b", "--", "-", "9" * 400, "true",
    "[a-c]+", "(", "\\n", "4x", "@tweets", "@no", "model.npz", "corpus.txt", ".", "none.txt",
)  # fmt: skip
_TAILS = {  # of command lines: they limit the work
    "train": "corpus.txt --steps 1 --evals 1 --hidden-size 2 --num-layers 1 --force -q",
    "plan": "corpus.txt --steps 1",
    "sample": "-n 3 --num 1 --best-of 1 --beam 0",
    "score": "corpus.txt",
    "info": "",
}
_NOT_TRIED = {"--threads", "--output", "-o", "--log", "--batch-size", "--seq-len", "--eval-chars", "--help", "-h"}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with some of them changed, removed, repeated or inserted."""
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, length = rng.randrange(len(mutated) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and mutated:
            mutated[at % len(mutated)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            mutated[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del mutated[at : at + length]
        elif kind == 3:
            mutated[at:at] = rng.randbytes(length)
        elif kind == 4:
            mutated[at:at] = mutated[at : at + 64]
        else:
            mutated[at : at + length] = rng.choice((b"\0", b"\xff", b"9", b"-", b"[", b'"')) * length
    return bytes(mutated)


# ---- checkpoints


def mutate_checkpoints(folder: Path, trials: int, seed: int = 0) -> int:
    """Load mutated files. They are rejected, or hold the same values; never others."""
    rng, path = random.Random(seed), folder / "mutated.npz"
    originals = []
    for run in small_runs():
        run.save(path)
        originals.append((path.read_bytes(), _contents(run)))
    for _ in range(trials):
        data, contents = rng.choice(originals)
        path.write_bytes(mutate(data, rng))
        try:
            run = load_run(path)
        except CharlstmError:
            continue
        assert _contents(run) == contents, "other values"
    return trials


def _contents(run: Run) -> dict[str, object]:
    """Return everything in a run, as values that can be compared."""
    vocab, training = run.model.vocab, run.training
    contents: dict[str, object] = {name: array.tobytes() for name, array in run.model.network.params.items()}
    contents["vocab"] = (vocab.code_points.tobytes(), vocab.counts.tobytes())
    contents["rest"] = (run.config, run.fingerprint, run.best, run.history)
    if training:
        for kind, params in training.arrays().items():
            contents |= {f"{kind}.{name}": array.tobytes() for name, array in params.items()}
        contents["state"] = (training.state.h.tobytes(), training.state.c.tobytes())
        contents["training"] = training.header()
    return contents


def mutate_members(folder: Path, trials: int, seed: int = 0) -> int:
    """Load files with mutated members and matching checksums. They are rejected, or usable."""
    rng, path = random.Random(seed), folder / "members.npz"
    originals = []
    for run in small_runs():
        run.save(path)
        with zipfile.ZipFile(path) as archive:
            originals.append({name: archive.read(name) for name in archive.namelist()})
    for _ in range(trials):
        members = dict(rng.choice(originals))
        name = rng.choice((*members, "header.npy", "header.npy", "header.npy"))
        if name == "header.npy":
            members[name] = _as_npy(_mutate_json(json.loads(members[name][128:]), rng))
        else:
            members[name] = mutate(members[name], rng)
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                archive.writestr(zipfile.ZipInfo(member), data)
        with contextlib.suppress(CharlstmError):
            run = load_run(path)
            run.save(path)
            _use(run, path)
    return trials


def _use(run: Run, path: Path) -> None:
    """Do with a run what its user could: show it, sample, score, resume."""
    vocab = run.model.vocab
    text = vocab.decode(np.arange(240) % len(vocab))
    corpus = Corpus(vocab, vocab.encode(text), run.fingerprint)
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        print_info(str(path), json=False)
        print_info(str(path), json=True)
        run.model.generate(length=2, seed=0)
        run.model.score(corpus)
        if run.training and run.config.train.batch_size * run.config.train.seq_len < 1000:
            run.config = run.config.replace(threads=1)
            run.use_corpus(corpus)
            for _ in train(run):
                run.save(path)
                load_run(path)
                break


def _as_npy(header: object) -> bytes:
    """Return the member that holds a header."""
    file = io.BytesIO()
    write_npz(file, [("header", np.frombuffer(json.dumps(header).encode(), np.uint8))])
    with zipfile.ZipFile(file) as archive:
        return archive.read("header.npy")


def _mutate_json(document: object, rng: random.Random) -> object:
    """Return a JSON document with a value somewhere in it changed, removed or added."""
    document = copy.deepcopy(document)
    place: Any = document
    while isinstance(place, dict | list) and place:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
            kind = rng.randrange(4)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, dict):
                place[rng.choice(("x", "step", "hidden_size"))] = rng.choice(_JSON_VALUES)
            else:
                place[key] = rng.choice(_JSON_VALUES)
            break
        place = place[key]
    return document


# ---- configurations, corpora, command lines


def mutate_settings(folder: Path, trials: int, seed: int = 0) -> int:
    """Load mutated YAML. It gives settings or one error, and runs nothing, in less than a second."""
    rng, path = random.Random(seed), folder / "settings.yaml"
    slowest = 0.0
    for _ in range(trials):
        data = rng.choice(_CONFIGURATIONS)
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data = data[:at] + rng.choice(_YAML_PIECES) + data[at:]
        path.write_bytes(mutate(data, rng))
        started = time.perf_counter()
        with contextlib.suppress(CharlstmError):
            Config().replace(**load_values(str(path)))
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 1, slowest
    return trials


def mutate_corpora(folder: Path, trials: int, seed: int = 0) -> int:
    """Read mutated texts, archives, tables, JSON and markup. Texts are read as Python reads them, or give one error."""
    rng = random.Random(seed)
    text = "It was a bright cold day,\r\nçà et là 🌙\u2028 – e\u0301\r".encode()
    files = {"a.txt": text, "a.gz": gzip.compress(text), "a.bz2": bz2.compress(text), "a.xz": lzma.compress(text)}
    files |= _other_corpora(text)
    for _ in range(trials):
        name = rng.choice(("a.txt", *files))
        (folder / name).write_bytes(mutate(files[name], rng))
        encoding = rng.choice(
            ("auto", "auto", "utf-8", "utf-8", "utf-16", "cp1252", "shift_jis", "utf-7", "idna", "punycode")
        )
        with contextlib.suppress(CharlstmError):
            field = "text" if name in _WITH_FIELDS else None
            corpus = read_corpus(str(folder / name), encoding, field=field)
            if name == "a.txt" and encoding != "auto":
                expected = (folder / name).read_bytes().decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
                assert corpus.vocab.decode(corpus.ids) == expected.removeprefix("\ufeff"), encoding
    return trials


_WITH_FIELDS = ("a.csv", "a.jsonl", "a.json")


def _other_corpora(text: bytes) -> dict[str, bytes]:
    """Return corpora of other kinds."""
    a_zip, a_tar, a_docx = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(a_zip, "w", zipfile.ZIP_DEFLATED) as archive, tarfile.open(fileobj=a_tar, mode="w") as tape:
        for name in ("a.txt", "é/b.txt", "l" * 120):
            archive.writestr(name, text)
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tape.addfile(member, io.BytesIO(text))
    word = "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"
    with zipfile.ZipFile(a_docx, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {word}><w:p><w:t>text</w:t><w:tab/></w:p></w:document>")
    return {
        "a.zip": a_zip.getvalue(),
        "a.tar": a_tar.getvalue(),
        "a.tgz": gzip.compress(a_tar.getvalue()),
        "a.docx": a_docx.getvalue(),
        "a.csv": b'id,text\n1,"a ""b"" c"\n2,"x\ny"\n',
        "a.jsonl": b'{"text": "\\ud83d\\ude42"}\n{"text": [1, 2.5e3, null, true]}\n',
        "a.json": b'[{"text": "\\ud83d\\ude42"}, {"text": [1, 2.5e3, null, true]}]',
        "tweets.js": b'window.YTD.tweets.part0 = [{"tweet": {"full_text": "text"}}]',
        "outbox.json": b'{"orderedItems": [{"object": {"content": "<p>text</p>"}}]}',
        "a.html": b"<html><head><title>x</title><body><p>a &amp; b<br/><!-- c --><![CDATA[x]]><pre> y </pre>",
    }


def random_command_lines(folder: Path, trials: int, seed: int = 0) -> int:
    """Give commands random flags and values. They succeed, or give one error."""
    rng, here, stdin = random.Random(seed), os.getcwd(), sys.stdin
    small_runs()[0].save(folder / "model.npz")
    (folder / "corpus.txt").write_text("abcd\n" * 50)
    os.chdir(folder)
    try:
        with open(os.devnull, "r+") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            sys.stdin = null
            for _ in range(trials):
                command = _random_command_line(rng)
                with contextlib.suppress(CharlstmError, click.ClickException, click.exceptions.Exit):
                    cli.main(command, standalone_mode=False)
    finally:
        sys.stdin = stdin
        os.chdir(here)
    return trials


def _random_command_line(rng: random.Random) -> list[str]:
    name = rng.choice(("sample", "sample", "score", "info", "train"))
    name = "plan" if rng.random() < 0.01 else name  # it measures, which takes time
    flags = [flag for param in cli.commands[name].params for flag in param.opts]
    words: list[str] = []
    for _ in range(rng.randrange(5)):
        flag = rng.choice(flags)
        if flag.startswith("-") and flag not in _NOT_TRIED:
            words += [flag] + [rng.choice(_WORDS)] * (rng.random() < 0.7)
    return [name, *words, *_TAILS[name].split()]
