"""The documentation is true: it is generated, compared with the program, or run."""

import gzip
import json
import lzma
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from generate import CLI_PAGE, cli_page, man_page
from helpers import ROOT

from charlstm.cli.main import cli

INSTALLED = str(Path(sys.executable).parent / "charlstm")
SENTENCE = "It was a bright cold day, and the clocks were striking. THE END\n"


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced code blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def commands_of(page: str) -> list[str]:
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip().startswith("charlstm ")]


def examples_of_help(name: str) -> list[str]:
    text = cli.commands[name].help or ""
    return [line.strip() for line in text.splitlines() if re.match(r"(charlstm|printf) ", line.strip())]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the examples mention."""
    monkeypatch.chdir(tmp_path)
    for name in ("corpus.txt", "other.txt", "war.txt", "peace.txt"):
        Path(name).write_text(SENTENCE * 30)
    Path("my.yaml").write_text("model:\n  hidden_size: 8\n")
    write_corpora()
    return tmp_path


def write_corpora() -> None:
    """Write the files that docs/corpora.md mentions."""
    posts = [{"text": SENTENCE, "user": {"name": "Winston Smith"}} for _ in range(30)]
    Path("letters").mkdir()
    Path("letters/1.txt").write_text(SENTENCE * 20)
    Path("letters/2.md").write_text(f"café {SENTENCE}" * 20, encoding="cp1252")
    Path("posts.csv").write_text("id,text\n" + f'1,"{SENTENCE}"\n' * 30)
    Path("posts.jsonl").write_text("".join(f"{json.dumps(post)}\n" for post in posts))
    Path("page.html").write_text(f"<p>{SENTENCE}</p>" * 30)
    Path("tweets.js").write_text(f"window.YTD.tweets.part0 = {json.dumps([{'tweet': {'full_text': SENTENCE}}] * 30)}")
    Path("outbox.json").write_text(json.dumps({"orderedItems": [{"object": {"content": f"<p>{SENTENCE}</p>"}}] * 30}))
    Path("corpus.txt.gz").write_bytes(gzip.compress(SENTENCE.encode() * 30))
    Path("dump.txt.xz").write_bytes(lzma.compress(SENTENCE.encode() * 30))
    shutil.make_archive("letters", "zip", "letters")
    shutil.make_archive("letters", "gztar", "letters")
    with zipfile.ZipFile("letter.docx", "w") as archive:
        paragraph = f"<w:p><w:r><w:t>{SENTENCE}</w:t></w:r></w:p>"
        namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        archive.writestr("word/document.xml", f"<w:document xmlns:w='{namespace}'>{paragraph}</w:document>")


def train_tiny_model() -> None:
    cli.main(
        ["train", "corpus.txt", "--steps", "30", "--hidden-size", "8", "--threads", "1", "--log", "run.jsonl"],
        standalone_mode=False,
    )


def test_cli_page_matches_help():
    assert CLI_PAGE.read_text(encoding="utf-8") == cli_page(), "run `make docs`"


@pytest.mark.parametrize("name", ["", *sorted(cli.commands)])
def test_man_page_has_every_flag_and_example(name):
    page = man_page(name).replace("\\-", "-").replace("\\e", "\\")
    command = cli.commands[name] if name else cli
    for flag in (flag for option in command.params for flag in option.opts if flag.startswith("-")):
        assert flag in page
    for example in re.findall(r"^ *((?:charlstm|printf) .*)$", command.help or "", re.MULTILINE):
        assert example in page
    assert not re.search(r"^[.'](?!TH|SH|nf|fi)", page, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_readme_documents_completion_that_works(shell):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"_CHARLSTM_COMPLETE={shell}_source charlstm" in readme
    script = subprocess.run(
        [INSTALLED], env=os.environ | {"_CHARLSTM_COMPLETE": f"{shell}_source"}, capture_output=True
    )
    assert (script.returncode, script.stderr) == (0, b"")
    assert b"_CHARLSTM_COMPLETE" in script.stdout


def test_completion_offers_commands_and_flags():
    def complete(*words):
        words_env = {
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_CHARLSTM_COMPLETE": "bash_complete",
        }
        return subprocess.run([INSTALLED], env=os.environ | words_env, capture_output=True, text=True).stdout.split()

    assert complete("charlstm", "tr") == ["plain,train"]
    assert complete("charlstm", "sample", "--temp") == ["plain,--temperature", "plain,--temperature-at-start"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["README.md", "docs/sampling.md", "docs/documents.md", "docs/corpora.md", "docs/sharing.md"]
)
def test_commands_of_pages_run(page, workplace, capfd):
    if page in ("docs/sampling.md", "docs/sharing.md", "docs/english.md"):
        train_tiny_model()
    for command in commands_of(page):
        words = shlex.split(command)[1:]
        if words[0] in ("plan", "train"):
            if "--time" in words:
                del words[words.index("--time") : words.index("--time") + 2]
            if words[0] == "plan":
                words += ["--steps", "3"]
            elif "--resume" not in words:
                size = [] if "@english" in words else ["--hidden-size", "8"]
                words += ["--steps", "3", *size, "--threads", "1", "--force"]
        assert cli.main(words, standalone_mode=False) in (None, 0), command
    assert re.search("It was |nats", capfd.readouterr().out)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="MPICH has no package for Windows")
def test_commands_of_the_mpi_page_run(workplace):
    Path("hosts.txt").write_text(f"{platform.node()}:2\n")
    commands = [line for line in "\n".join(blocks("docs/mpi.md", "sh")).splitlines() if line.strip()]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command.replace("-n 8", "-n 2"))
        train = words.index("charlstm")
        launcher = [str(Path(sys.executable).parent / "mpiexec"), *words[1:train]]
        small = ["--steps", "3"] if "--resume" not in words else ["--steps", "+3"]
        small += [] if "--resume" in words else ["--hidden-size", "8", "--threads", "1", "--force"]
        done = subprocess.run([*launcher, INSTALLED, *words[train + 1 :], *small], capture_output=True, text=True)
        assert (done.returncode, "is finished" in done.stderr) == (0, True), (command, done.stderr)


@pytest.mark.parametrize("name", ["sample", "play", "score"])
def test_every_option_has_an_example_in_help_and_docs(name):
    in_help = "\n".join(examples_of_help(name))
    on_pages = "\n".join(blocks("docs/sampling.md", "sh") + blocks("README.md", "sh"))
    for option in cli.commands[name].params:
        if flags := [flag for flag in option.opts if flag.startswith("-")]:
            found = re.compile("|".join(rf"{flag}\b" for flag in flags))
            assert found.search(in_help), flags
            assert found.search(on_pages), flags


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample", "play", "score", "convert", "export", "report", "plot"])
def test_examples_of_help_run(name, workplace):
    train_tiny_model()
    Path("small.npz").write_bytes(Path("model.npz").read_bytes())
    Path("large.npz").write_bytes(Path("model.npz").read_bytes())
    if name == "convert":
        Path("small.npz").unlink()
        cli.main(["export", "--to", "safetensors", "-o", "model.safetensors"], standalone_mode=False)
    examples = examples_of_help(name)
    assert examples
    for example in examples:
        if re.search(r" [|<] ", example):  # needs a shell
            command = example.replace("charlstm ", f"{shlex.quote(sys.executable)} -m charlstm ")
            written = subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE).stdout
        else:
            words = shlex.split(example)[1:]
            result = CliRunner().invoke(cli, words, input="It was\n", catch_exceptions=False)
            assert result.exit_code == 0, (example, result.output)
            written = Path(words[words.index("-o") + 1]).read_bytes() if "-o" in words else result.stdout_bytes
        assert written, example


def test_python_of_documents_page_runs(workplace, capsys):
    (block,) = blocks("docs/documents.md", "python")
    exec(compile(block.replace('time="2m"', "steps=30, hidden_size=16, threads=1"), "documents.md", "exec"), {})
    assert capsys.readouterr().out.count("Score(") == 30


def test_python_of_readme_runs(workplace, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {}
    for block in blocks("README.md", "python"):
        assert len([line for line in block.splitlines() if line.strip()]) <= 14
        exec(compile(block.replace('time="2m"', "steps=30, hidden_size=16, threads=1"), "README.md", "exec"), names)
    assert len(capsys.readouterr().out) > 200
    assert Path("loss.png").stat().st_size > 1000
    assert Path("model.npz").exists()


def test_corpus_is_as_its_page_says():
    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    text = (ROOT / "data" / "tweets.txt").read_text(encoding="utf-8")
    posts = text.splitlines()
    assert f"{len(posts):,} short posts" in page
    assert f"{len(text):,} characters" in page
    assert len(posts) == len(set(posts)) >= 1000
    assert len(text) >= 110_000
    assert max(map(len, posts)) <= 280


def test_every_promise_of_the_reliability_page_names_its_test():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = [row for row in page.partition("| event |")[2].splitlines() if re.match(r"\| (?!\*\*|---)", row)]
    assert len(rows) > 50
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert names, row
        for name in names:
            assert f"def {name}(" in tests, name


def test_makefile_targets_are_documented():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    documented = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert documented == set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
