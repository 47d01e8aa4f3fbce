"""The commands: what they take, and how they end. What they do is imported when they run, so that help is quick."""

import io
import os
import shlex
import sys
from typing import Any

import click

import charlstm
from charlstm.cli.options import kind_option, refuse_combinations, setting_options, some_setting_options
from charlstm.cli.signals import StoppedError
from charlstm.config import ENCODINGS, LIMITS, SEEDS
from charlstm.errors import CharlstmError
from charlstm.settings import choice, integer, name, number

_checkpoint = kind_option(
    "--ckpt", "checkpoint", kind=name(), default="model.npz", show_default=True, help="A model that train has made."
)


_any_number, _share = number(0, sys.float_info.max), number(0, 1, above=True)


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def run() -> None:
    """Run the command line and exit: 0 fine, 1 the data or the run, 2 usage, 128 + n after signal n."""
    _open_standard_streams()
    try:
        result = cli.main(standalone_mode=False)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except (
        BrokenPipeError,
        SystemExit,
    ):  # the reader, such as head, has had enough; SystemExit is click's way to say so
        _drop_output()
        code = 0
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except StoppedError as stopped:
        code = 128 + stopped.number
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = 2
    except click.ClickException as error:
        code = _fail(f"{error.format_message()}{_help_hint(error)}", error.exit_code)
    except CharlstmError as error:
        code = _fail(str(error), error.exit_code)
    except MemoryError:
        code = _fail("there is not enough memory; try a smaller hidden_size, batch_size or seq_len", 1)
    except OSError as error:  # files have messages of their own: this is standard output
        _drop_output()
        code = _fail(f"standard output: {error.strerror or error}", 1)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(charlstm.__version__, message="charlstm %(version)s")
def cli() -> None:
    """Learn to write like a text, one character at a time.

    \b
    charlstm train corpus.txt             # two minutes; makes model.npz
    charlstm sample --ckpt model.npz      # text on standard output
    """


@cli.command()
@click.argument("corpus", nargs=-1, required=True)
@kind_option(
    "-o", "--out", kind=name(), default="model.npz", show_default=True, help="The model, and all of its state."
)
@click.option("--resume", is_flag=True, help="Go on where the run that made --out has stopped, exactly.")
@click.option("--force", is_flag=True, help="Overwrite --out. With --resume: go on although the text is another one.")
@kind_option("--log", kind=name(), help="Append a line of JSON at each evaluation.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@setting_options
def train(
    corpus: tuple[str, ...],
    out: str,
    resume: bool,
    force: bool,
    log: str | None,
    quiet: bool,
    config: dict[str, Any] | None,
    **flags: Any,
) -> int:
    """Train a model on the texts CORPUS, read one after another.

    `-` is standard input, `@tweets` the corpus that comes along; .gz, .bz2 and .xz are unpacked. Ctrl-C stops the run
    and saves it; --resume takes it up again.

    \b
    charlstm train corpus.txt
    charlstm train corpus.txt --time 10m --hidden-size 512 --dropout 0.2
    charlstm train @tweets -c tweets -o tweets.npz
    charlstm train corpus.txt --resume

    A flag goes before the configuration (-c), which goes before the default. Without -c, some settings are chosen to
    suit the text and the time; `charlstm plan` shows which. Settings:
    """
    from charlstm.cli.training import run_training

    given = {name: value for name, value in flags.items() if value is not None}
    return run_training(corpus, out, config, given, resume=resume, force=force, log=log, quiet=quiet)


@cli.command()
@click.argument("corpus", nargs=-1, required=True)
@some_setting_options("encoding", *LIMITS)
@_json
def plan(corpus: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Say what a text is like, which settings suit it, and what training will cost.

    Speed is measured on this machine. `charlstm train` without -c chooses the same settings by itself.

    \b
    charlstm plan corpus.txt
    charlstm plan corpus.txt --time 20m
    charlstm plan @tweets --json
    """
    from charlstm.cli.planning import print_plan

    print_plan(corpus, {name: value for name, value in flags.items() if value is not None}, as_json)


@cli.command()
@_checkpoint
@kind_option("-n", "--length", kind=integer(0, 10**12), default=500, show_default=True, help="Characters to write.")
@kind_option("--seed", kind=SEEDS, help="The same seed writes the same text. Without it, each text is another.")
@kind_option(
    "-t",
    "--temperature",
    kind=_any_number,
    default=0.8,
    show_default=True,
    help="1 writes as the model learnt; lower is safer, higher wilder; 0 takes the likeliest, always.",
)
@kind_option("--temperature-at-start", kind=_any_number, help="That of the first character of words and lines.")
@kind_option("--top-k", kind=integer(0, 10**9), default=0, help="Choose among the K likeliest characters only.")
@kind_option(
    "--typical", kind=_share, default=1.0, help="Choose among those of usual surprise, with this mass together."
)
@kind_option("--top-p", kind=_share, default=1.0, help="Choose among the likeliest, up to this mass.")
@kind_option("--min-p", kind=number(0, 1), default=0.0, help="Choose among those this likely, if the likeliest is 1.")
@kind_option(
    "--repetition-penalty",
    kind=number(0, 1000),
    default=0.0,
    help="Nats that each character costs by which a repeated run gets longer. Try 1.",
)
@kind_option(
    "--repetition-free",
    kind=integer(1, 2000),
    default=16,
    show_default=True,
    help="Runs that may be repeated at no cost.",
)
@kind_option(
    "--stop", kind=name(), multiple=True, metavar="TEXT", help="End before this text (\\n: a line end); repeatable."
)
@click.option("--keep-stop", is_flag=True, help="End after it.")
@kind_option("--lines", kind=integer(0, 10**12), default=0, help="End after so many lines.")
@kind_option("--pattern", kind=name(), metavar="REGEX", help="Write what matches a regular expression, all of it.")
@kind_option("--no-copy", kind=integer(0, 10**6), default=0, help="Complete no run of N characters of the --corpus.")
@kind_option("--corpus", kind=name(), help="The text that was trained on, for --no-copy and --cite.")
@click.option(
    "--cite", is_flag=True, help="Say which run of the --corpus is the longest in a text, and where it stands."
)
@kind_option(
    "--num", kind=integer(1, 10**9), default=1, help="Write so many texts, with seeds that follow one another."
)
@kind_option("--best-of", kind=integer(1, 10**6), default=1, help="Of so many texts, write the likeliest only.")
@kind_option(
    "--beam", kind=integer(0, 10**4), default=0, help="Search for the likeliest text among so many beginnings."
)
@click.option("--prime", metavar="TEXT", default="", help="Start with this text; - reads it from standard input.")
@kind_option("--prime-file", kind=name(), help="Start with the text in a file.")
@click.option("--hide-prime", is_flag=True, help="Do not write it.")
@kind_option(
    "--unknown",
    kind=choice("error", "skip", "nearest"),
    default="error",
    show_default=True,
    help="What becomes of characters of the prime that the model does not know; nearest: e for é.",
)
@kind_option(
    "--encoding",
    kind=ENCODINGS,
    help="Encoding of the --corpus and the --prime-file; the one of the training text unless given.",
)
@kind_option("-o", "--output", kind=name(), help="Write into a file.")
@_json
@click.option("--probs", is_flag=True, help="With --json, the probability, rank and entropy of each character.")
def sample(checkpoint: str, as_json: bool, **flags: Any) -> None:
    """Write texts.

    \b
    charlstm sample --ckpt model.npz
    charlstm sample -n 2000 -t 0.6 --temperature-at-start 1 --prime "It was "
    charlstm sample --top-p 0.95 --min-p 0.02 --stop "\\n\\n" --num 5
    charlstm sample --top-k 10 --typical 0.9 --lines 3
    charlstm sample -t 0 --repetition-penalty 1 --repetition-free 8
    charlstm sample --best-of 16 --stop "." --keep-stop
    charlstm sample --beam 8 -n 60
    charlstm sample --pattern "[A-Z][a-z]+ [a-z ]{10,40}\\."
    charlstm sample --no-copy 20 --corpus corpus.txt --cite
    charlstm sample --prime-file other.txt --encoding cp1252 --hide-prime --unknown nearest
    charlstm sample --num 64 --json --probs -o texts.jsonl
    printf "It was" | charlstm sample --prime - --seed 1
    """
    from charlstm.cli.writing import write_samples

    refuse_combinations({"as_json": as_json, **flags})
    of_choice = ("temperature", "temperature_at_start", "top_k", "typical", "top_p", "min_p")
    of_rules = ("repetition_penalty", "repetition_free", "keep_stop", "lines")
    write_samples(
        checkpoint,
        choice={name: flags.pop(name) for name in of_choice},
        rules={name: flags.pop(name) for name in of_rules},
        json=as_json,
        **flags,
    )


@cli.command()
@_checkpoint
@kind_option("-n", "--length", kind=integer(1, 10**9), default=200, show_default=True, help="Characters of a piece.")
@kind_option("-t", "--temperature", kind=_any_number, default=0.8, show_default=True, help="As in sample.")
@kind_option("--seed", kind=SEEDS, help="The same seed and lines, the same story.")
def play(checkpoint: str, **flags: Any) -> None:
    """Write a story in turns with a model.

    Type how it begins; the model goes on, and waits for you. :undo takes its last piece back, :again writes it anew,
    :help shows what else there is. Lines can come through a pipe, too.

    \b
    charlstm play --ckpt model.npz -n 300 -t 0.6
    printf 'It was \\n:again\\n' | charlstm play --ckpt model.npz --seed 1
    """
    from charlstm.cli.playing import play

    play(checkpoint, **flags)


@cli.command()
@_checkpoint
@click.argument("text", metavar="FILE...", nargs=-1, required=True)
@kind_option("--encoding", kind=ENCODINGS, help="Encoding of the text; the one of the training text unless given.")
@kind_option(
    "--yardsticks",
    kind=name(),
    metavar="CORPUS",
    help="Say too what simpler models reach (letter frequencies, 6-grams, xz) that have learnt from this text.",
)
@kind_option("--by", kind=choice("file", "line", "document"), help="Score the parts too; empty lines part documents.")
@click.option("--sort", is_flag=True, help="With --by, the worst predicted first: the odd ones.")
@click.option("--highlight", is_flag=True, help="Write the text instead, with what surprised the model in colours.")
@click.option("--exact", is_flag=True, help="Read the text in one stream, which is slow, instead of up to 64.")
@_json
def score(checkpoint: str, text: tuple[str, ...], yardsticks: str | None, as_json: bool, **flags: Any) -> None:
    """Say how well a model predicts a text.

    Prints nats and bits per character (less is better) and the perplexity.
    The state starts at zero and is carried over the whole text; the first character only starts it. Characters that the
    model does not know are left out and counted. `-` is standard input; several files are read as one text. A long text
    is read in up to 64 parts at the same time, each from 128 characters before it, which makes hardly a difference;
    --exact reads it as one.

    \b
    charlstm score --ckpt model.npz other.txt
    charlstm score --json - < other.txt
    charlstm score other.txt --by line --sort
    charlstm score other.txt --highlight --exact
    charlstm score other.txt --encoding cp1252 --yardsticks corpus.txt
    """
    from charlstm.cli.scoring import print_score

    print_score(checkpoint, text, learnt_from=yardsticks, json=as_json, **flags)


@cli.command()
@click.argument("checkpoint", metavar="[FILE]", default="model.npz")
@_json
def info(checkpoint: str, as_json: bool) -> None:
    """Say what is inside a model.

    Prints its size, characters and settings, and how its training went.

    \b
    charlstm info model.npz
    """
    from charlstm.cli.reading import print_info

    print_info(checkpoint, as_json)


def _open_standard_streams() -> None:
    """Make standard input, output and error UTF-8, whatever the locale; give closed streams a place to go.

    A file opened later would otherwise get the number of a closed stream, and be written to as if it were that.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number; writing to it fails, as it should
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    for stream, errors in ((sys.stdout, "surrogatepass"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")


def _drop_output() -> None:
    """Let what is still buffered go nowhere, instead of failing once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fail(message: str, code: int) -> int:
    from charlstm.cli.display import printable, say

    line = printable(" ".join(message.split()))
    say(f"Error: {line if len(line) <= 1000 else line[:1000] + '...'}")
    return code


def _help_hint(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f" (see {shlex.join(ctx.command_path.split())} --help)" if ctx else ""
