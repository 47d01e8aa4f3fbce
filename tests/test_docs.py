"""The pages say what is true: they are compared with the program, or run. As a program, writes docs/cli.md."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import charlstm
from charlstm.cli.main import cli

ROOT = Path(__file__).parent.parent
CLI_PAGE = ROOT / "docs" / "cli.md"


def cli_page() -> str:
    lines = ["# The command line", "", "Made from `--help` by `make docs`.", ""]
    for name in ("", *sorted(cli.commands)):
        result = CliRunner().invoke(cli, [name, "--help"] if name else ["--help"], "charlstm", terminal_width=100)
        lines += [
            f"## charlstm {name}".strip(),
            "",
            "```",
            result.output.replace("Usage: cli", "Usage: charlstm").strip(),
            "```",
            "",
        ]
    return "\n".join(lines)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_of_commands_is_what_help_says():
    assert CLI_PAGE.read_text(encoding="utf-8") == cli_page(), "run `make docs`"


def test_modules_import_only_what_stands_before_them():
    table = re.findall(r"^\| `(\w+)` \|", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE)
    package = ROOT / "charlstm"
    modules = {path.stem if path.parent == package else path.parent.name for path in package.rglob("*.py")}
    assert sorted(table) == sorted(modules - {"__init__", "__main__", "charlstm"})
    for path in package.rglob("*.py"):
        name = path.stem if path.parent == package else path.parent.name
        if name in ("__init__", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for imported in imported_modules(node):
                assert imported == name or table.index(imported) < table.index(name), f"{path} imports {imported}"


def imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("charlstm."):
        return [node.module.split(".")[1]]
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("charlstm.")]
    return []


def test_the_core_does_no_io():
    core = ("vocab", "batches", "yardsticks", "copying", "layers", "model", "optim", "training", "advice", "sampling")
    for name in core:
        tree = ast.parse((ROOT / "charlstm" / f"{name}.py").read_text(encoding="utf-8"))
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"print", "open", "input", "exit"}, name
        text = ast.unparse(tree)
        assert "np.random.seed" not in text
        assert "sys." not in text


def test_every_public_name_is_there():
    for name in charlstm.__all__:
        assert getattr(charlstm, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = charlstm.nothing


def commands_of(page: str) -> list[str]:
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip().startswith("charlstm ")]


@pytest.mark.parametrize("page", ["README.md", "docs/sampling.md"])
def test_the_commands_of_the_pages_run(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name in ("corpus.txt", "other.txt", "war.txt", "peace.txt"):
        Path(name).write_text("It was a bright cold day, and the clocks were striking. THE END\n" * 60)
    Path("my.yaml").write_text("model:\n  hidden_size: 8\n")
    if page != "README.md":
        cli.main(["train", "corpus.txt", "--steps", "3", "--hidden-size", "8"], standalone_mode=False)
    for command in commands_of(page):
        words = shlex.split(command)[1:]
        if words[0] in ("plan", "train"):
            if "--time" in words:
                del words[words.index("--time") : words.index("--time") + 2]
            if words[0] == "plan":
                words += ["--steps", "3"]
            elif "--resume" not in words:
                words += ["--steps", "3", "--hidden-size", "8", "--force"]
        assert cli.main(words, standalone_mode=False) in (None, 0), command
    assert "It was " in capfd.readouterr().out


def examples_of_help(name):
    text = cli.commands[name].help or ""
    return [line.strip() for line in text.splitlines() if re.match(r"(charlstm|printf) ", line.strip())]


@pytest.mark.parametrize("name", ["sample", "play", "score"])
def test_every_option_has_an_example_in_help_and_on_the_pages(name):
    in_help = "\n".join(examples_of_help(name))
    on_pages = "\n".join(blocks("docs/sampling.md", "sh") + blocks("README.md", "sh"))
    for option in cli.commands[name].params:
        if flags := [flag for flag in option.opts if flag.startswith("-")]:
            found = re.compile("|".join(rf"{flag}\b" for flag in flags))
            assert found.search(in_help), flags
            assert found.search(on_pages), flags


@pytest.mark.parametrize("name", ["sample", "play", "score"])
def test_the_examples_of_help_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("corpus.txt", "other.txt"):
        Path(file).write_text("It was a bright cold day, and the clocks were striking. THE END\n" * 20)
    cli.main(["train", "corpus.txt", "--steps", "3", "--hidden-size", "8"], standalone_mode=False)
    examples = examples_of_help(name)
    assert examples
    for example in examples:
        if re.search(r" [|<] ", example):  # of a shell
            command = example.replace("charlstm ", f"{shlex.quote(sys.executable)} -m charlstm ")
            written = subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE).stdout
        else:
            words = shlex.split(example)[1:]
            result = CliRunner().invoke(cli, words, input="It was\n", catch_exceptions=False)
            assert result.exit_code == 0, (example, result.output)
            written = Path(words[words.index("-o") + 1]).read_bytes() if "-o" in words else result.stdout_bytes
        assert written, example


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("It was a bright cold day, and the clocks were striking.\n" * 60)
    for block in blocks("README.md", "python"):
        assert len([line for line in block.splitlines() if line.strip()]) <= 14
        exec(compile(block, "README.md", "exec"), {})
    assert len(capsys.readouterr().out) > 200


def test_the_corpus_is_what_its_page_says():
    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    text = (ROOT / "data" / "tweets.txt").read_text(encoding="utf-8")
    posts = text.splitlines()
    assert f"{len(posts):,} short posts" in page
    assert f"{len(text):,} characters" in page
    assert len(posts) == len(set(posts)) >= 1000
    assert len(text) >= 110_000
    assert max(map(len, posts)) <= 280


def test_each_promise_of_the_page_on_reliability_has_its_test():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    rows = re.findall(r"^\| (?!what happens|\*\*|---).*\| (`test_.*) \|$", page, re.MULTILINE)
    assert len(rows) > 50
    for row in page.partition("| what happens |")[2].splitlines():
        assert not re.match(r"\| (?!\*\*|---|what)", row) or re.search(r"`test_\w+` \|$", row), row
    for name in re.findall(r"`(test_\w+)`", "\n".join(rows)):
        assert f"def {name}(" in tests, name


def test_the_makefile_has_the_targets_that_its_menu_shows():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) - {"help"}
    menu = [
        "setup",
        "demo",
        "addition",
        "test",
        "test-all",
        "floors",
        "lint",
        "types",
        "format",
        "docs",
        "reliability",
        "bench",
        "speed",
        "smoke",
        "check",
        "clean",
    ]
    assert targets == set(menu)


if __name__ == "__main__":
    CLI_PAGE.write_text(cli_page(), encoding="utf-8")
    print(f"{CLI_PAGE.relative_to(ROOT)} written", file=sys.stderr)
