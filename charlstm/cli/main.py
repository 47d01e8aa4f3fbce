"""The command line: its commands and their help, and how the program ends.

What a command does is imported when it runs, so that help needs no NumPy.
"""

import dataclasses
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

import charlstm
from charlstm.cli.help import HelpGroup
from charlstm.cli.mpi import launched_ranks, run_on_ranks
from charlstm.cli.options import request_options, setting_options
from charlstm.cli.requests import (
    ConvertRequest,
    ExportRequest,
    PlayRequest,
    PlotRequest,
    ReportRequest,
    SampleRequest,
    ScoreRequest,
    TrainRequest,
    is_model,
)
from charlstm.cli.signals import StoppedError
from charlstm.config.kinds import flag_of
from charlstm.config.settings import ADVISED, DATA_SETTINGS, LIMITS
from charlstm.errors import CharlstmError, UsageError

if TYPE_CHECKING:
    from charlstm.network.ranks import Ranks

_Request = TypeVar("_Request", SampleRequest, PlayRequest, ScoreRequest, ConvertRequest, ExportRequest, ReportRequest)


def run() -> None:
    """Run the command line and exit: 0 fine, 1 the data or the run, 2 usage, 128 + n after signal n."""
    _open_standard_streams()
    if launched_ranks() > 1:
        sys.exit(run_on_ranks(_run))
    code, message = _run()
    if message:
        from charlstm.cli.output import say_error

        say_error(message)
    sys.exit(code)


def _run(ranks: "Ranks | None" = None) -> tuple[int, str]:
    """Run the command line; return the exit code, and the message of an error."""
    try:
        result = cli.main(standalone_mode=False, obj=ranks)
        sys.stdout.flush()
        return (result if isinstance(result, int) else 0), ""
    except (BrokenPipeError, SystemExit):  # the reader has closed the pipe; click raises SystemExit then
        _drop_output()
        return 0, ""
    except (click.Abort, KeyboardInterrupt):
        return 130, ""
    except StoppedError as stopped:
        return 128 + stopped.number, ""
    except click.ClickException as error:
        return error.exit_code, f"{error.format_message().removesuffix('.')}{_help_hint(error)}"
    except CharlstmError as error:
        return error.exit_code, _with_flag(error)
    except MemoryError:
        return 1, "not enough memory; try a smaller --hidden-size, --batch-size or --seq-len"
    except OSError as error:  # files have their own messages: this is standard output
        _drop_output()
        return 1, f"standard output: {error.strerror or error}"


@click.group(
    cls=HelpGroup,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(charlstm.__version__, message="charlstm %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train a character-level language model, and generate text with it.

    Examples:
    charlstm train corpus.txt    # two minutes; writes model.npz
    charlstm sample model.npz    # text on standard output
    charlstm help train          # all options of a command
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif ctx.obj is not None and ctx.invoked_subcommand not in ("train", "help"):
        raise UsageError(f"only train runs under mpiexec; start {ctx.invoked_subcommand} without it")


@cli.command(
    context_settings={"token_normalize_func": lambda name: "output" if name == "out" else name}
)  # the old name
@click.argument("corpus", nargs=-1, required=True)
@request_options(TrainRequest)
@setting_options()
def train(request: TrainRequest, config: dict[str, Any] | None, **flags: Any) -> int:
    """Train a model on one or more texts, read in order.

    A text is a file, a directory, `-` for standard input, or `@tweets`, a bundled corpus. Compressed files and archives
    are unpacked; .html and .docx files are read as text; tables and JSON need --field or --raw. docs/corpora.md has the
    details. Ctrl-C saves the run and stops it; --resume continues it. Under mpiexec, several processes or machines
    train one model (docs/mpi.md).

    Without -c, the settings whose default is auto are chosen to suit the corpus and the time limit; `charlstm plan`
    shows their values.

    Examples:
    charlstm train corpus.txt
    charlstm train corpus.txt --time 10m --hidden-size 512 --dropout 0.2
    charlstm train letters/ --include '*.md' --include '*.txt'
    charlstm train posts.csv --field text --strip-urls
    charlstm train @tweets -c tweets -o tweets.npz
    charlstm train corpus.txt --init-from @english
    charlstm train corpus.txt --resume
    mpiexec -n 8 charlstm train corpus.txt
    """
    from charlstm.cli.train import run_training

    return run_training(request, config, _given(flags), click.get_current_context().obj)


@cli.command()
@click.argument("corpus", nargs=-1, required=True)
@setting_options(*DATA_SETTINGS, *LIMITS, "num_layers", *ADVISED, "threads", "kernel")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(corpus: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Describe a corpus, suggest settings, and estimate the cost.

    Training time, memory and the size of the model are estimated; the speed is measured on this machine. Without
    -c, `charlstm train` chooses settings the same way.

    Examples:
    charlstm plan corpus.txt
    charlstm plan corpus.txt --time 20m
    charlstm plan corpus.txt --time 20m --hidden-size 512
    charlstm plan @tweets --json
    """
    from charlstm.cli.plan import print_plan

    print_plan(corpus, _given(flags), as_json)


@cli.command()
@click.argument("model", required=False)
@request_options(SampleRequest)
def sample(request: SampleRequest, model: str | None) -> None:
    """Generate text with a trained model, by default model.npz.

    Examples:
    charlstm sample model.npz
    charlstm sample --ckpt model.npz
    charlstm sample -n 2000 -t 0.6 --temperature-at-start 1 --prime "It was "
    charlstm sample --top-p 0.95 --min-p 0.02 --stop "\\n\\n" --num 5
    charlstm sample --num 20 --max-chars 140 --stop "\\n" -o tweets.txt --force
    charlstm sample --num 3 --lines 4 --separator "\\n"
    charlstm sample --top-k 10 --typical 0.9 --lines 3
    charlstm sample -t 0 --repetition-penalty 1 --repetition-free 8
    charlstm sample --best-of 16 --stop "." --keep-stop
    charlstm sample --beam 8 -n 60
    charlstm sample --pattern "[A-Z][a-z]+ [a-z ]{10,40}\\."
    charlstm sample --no-copy 20 --corpus corpus.txt --cite
    charlstm sample --prime-file other.txt --encoding cp1252 --hide-prime
    charlstm sample --prime-file other.txt --each-line -n 40
    charlstm sample --no-copy 20 --corpus posts.csv --field text
    charlstm sample --prime-file page.html --raw --unknown skip
    charlstm sample --num 64 --kernel numba -o many.txt
    charlstm sample --prime "Çà était" --unknown nearest
    charlstm sample --num 64 --json --probs -o texts.jsonl
    printf "It was" | charlstm sample --prime - --seed 1
    """
    from charlstm.cli.sample import write_samples

    write_samples(_with_model(request, model))


@cli.command()
@click.argument("model", required=False)
@request_options(PlayRequest)
def play(request: PlayRequest, model: str | None) -> None:
    """Take turns writing a story with a model.

    Type an opening; the model continues it and waits for your next line. :undo removes the last turn, :again rewrites
    it, and :help lists the other commands. Input can also be piped in.

    Examples:
    charlstm play model.npz -n 300 -t 0.6
    printf 'It was \\n:again\\n' | charlstm play --ckpt model.npz --seed 1
    """
    from charlstm.cli.play import play_story

    play_story(_with_model(request, model))


@cli.command()
@click.argument("files", metavar="[MODEL] FILE...", nargs=-1, required=True)
@request_options(ScoreRequest)
def score(request: ScoreRequest) -> None:
    """Measure how well a model predicts a text.

    Prints the loss in nats and bits per character (lower is better) and the perplexity per character. The recurrent
    state starts at zero and is not reset between lines or files; the first character is not scored. If the model was
    trained with --documents, the state is reset for each document, and the end of a document is scored like a
    character. Characters outside the vocabulary are counted and skipped, or scored as one symbol by a model trained
    with --min-count. `-` reads standard input. Several files are scored as one text.

    Examples:
    charlstm score model.npz other.txt
    charlstm score --ckpt model.npz --json - < other.txt
    charlstm score other.txt --by line --sort --min-chars 20
    charlstm score other.txt --highlight --exact
    charlstm score other.txt --highlight --color always
    charlstm score other.txt --kernel numba --adapt
    charlstm score other.txt --encoding cp1252 --baselines corpus.txt
    charlstm score posts.csv --field text
    charlstm score letters/ --include '*.txt' --raw
    """
    from charlstm.cli.score import print_score

    first, *texts = request.files
    _check_order(texts)
    if is_model(first):
        if not texts:
            raise UsageError(f"score needs a text after the model, as in `charlstm score {first} other.txt`")
        request = _with_model(dataclasses.replace(request, files=tuple(texts)), first)
    print_score(request)


@cli.command()
@click.argument("program")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(program: str, as_json: bool) -> int:
    """Check an LSTM that you wrote yourself, and name the likely bug.

    PROGRAM is a Python file that defines vocab_size, params (a dict of arrays), zero_state() and
    loss_and_grads(params, x, y, state), which returns loss, grads and the new state. Any layout of the parameters will
    do. docs/check.md shows how to adapt a program in a few lines. The file is run, so check only code that you trust.

    Exit code 0 means that all checks passed, 1 that one failed, and 2 that the file
    cannot be read or does not define a required name.

    Examples:
    charlstm check mine.py
    charlstm check mine.py --json
    """
    from charlstm.cli.check import print_check

    return print_check(program, as_json)


@cli.command()
@click.argument("checkpoint", metavar="[MODEL]", default="model.npz")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(checkpoint: str, as_json: bool) -> None:
    """Show a model's size, vocabulary, settings and training history.

    MODEL defaults to model.npz.

    Examples:
    charlstm info model.npz
    """
    from charlstm.cli.info import print_info

    print_info(checkpoint, as_json)


@cli.command()
@click.argument("model", required=False)
@request_options(ConvertRequest)
def convert(request: ConvertRequest, model: str | None) -> None:
    """Convert a model to a smaller file, or from safetensors.

    The file holds the best weights but no training state, and works anywhere a model file does. --int8 hardly changes
    the loss; `charlstm score` shows by how much. Without --half or --int8, the weights are stored as float32.

    MODEL can also be a .safetensors file that `charlstm export` wrote (needs charlstm[interop]).

    Examples:
    charlstm convert model.npz -o small.npz --int8
    charlstm convert model.npz -o model-half.npz --half
    charlstm convert model.safetensors -o restored.npz
    """
    from charlstm.cli.convert import convert_model
    from charlstm.export.tensors import SUFFIX

    if model is not None and model.endswith(SUFFIX):
        request = dataclasses.replace(request, checkpoint=model)
    else:
        request = _with_model(request, model)
    convert_model(request)


@cli.command()
@click.argument("model", required=False)
@request_options(ExportRequest)
def export(request: ExportRequest, model: str | None) -> None:
    """Export a model as a web page, or as weights for PyTorch.

    The page is one file that works offline: open it in a browser, email it or put it online. Type an opening and the
    model continues it. Characters are coloured by how much they surprised the model; select one to see the most likely
    alternatives.

    Examples:
    charlstm export model.npz -o model.html
    charlstm export model.npz -o romeo.html --title Romeo --prime "ROMEO:" --half
    charlstm export model.npz --to safetensors -o model.safetensors
    """
    from charlstm.cli.export import export_model

    export_model(_with_model(request, model))


@cli.command()
@click.argument("files", metavar="[MODEL] [TEXT]...", nargs=-1)
@request_options(ReportRequest)
def report(request: ReportRequest) -> None:
    """Write an HTML report on a model.

    The report shows the learning curve, samples at three temperatures, the characters of TEXT that surprise the model,
    and the units that track quotation marks, indentation, position in the line and similar features. If TEXT is the
    training corpus, the report uses its validation part and adds baselines. Without TEXT, it uses text generated by the
    model.

    Examples:
    charlstm report model.npz corpus.txt -o report.html
    charlstm report -o report.html --title "My posts" --force
    """
    from charlstm.cli.report import write_report

    _check_order(request.files[1:])
    if request.files and is_model(request.files[0]):
        first, *texts = request.files
        request = _with_model(dataclasses.replace(request, files=tuple(texts)), first)
    write_report(request)


@cli.command()
@click.argument("runs", metavar="MODEL|LOG...", nargs=-1, required=True)
@request_options(PlotRequest)
def plot(request: PlotRequest) -> None:
    """Plot the learning curves of one or more runs as SVG.

    A run is given by its model file, or by the file that train --log wrote. Validation loss is a solid line, training
    loss a dashed one.

    Examples:
    charlstm plot model.npz -o curves.svg
    charlstm plot small.npz large.npz --x epochs -o curves.svg --force
    charlstm plot run.jsonl --x time -o time.svg
    """
    from charlstm.cli.report import plot_curves

    plot_curves(request)


@cli.command("help")
@click.argument("command", required=False)
@click.pass_context
def show_help(ctx: click.Context, command: str | None) -> None:
    """Show help for a command.

    Examples:
    charlstm help train
    """
    context = ctx.find_root()
    if command is not None:
        name, found, _ = cli.resolve_command(context, [command])
        assert found is not None
        context = found.context_class(found, context, name)
    click.echo(context.get_help())


def _with_model(request: _Request, path: str | None) -> _Request:
    """Return a request for the model file that was given as an argument, if one was."""
    if path is None:
        return request
    ctx = click.get_current_context()
    if not is_model(path):
        kinds = ".npz or .safetensors" if ctx.info_name == "convert" else ".npz"
        raise UsageError(
            f"{ctx.info_name} takes a model file ({kinds}), not {path}; if it is a model without that extension, "
            "use --ckpt"
        )
    if ctx.get_parameter_source("checkpoint") is not ParameterSource.DEFAULT:
        raise UsageError(f"the model is given twice, as {path} and as --ckpt {request.checkpoint}; give it once")
    return dataclasses.replace(request, checkpoint=path)


def _check_order(texts: Sequence[str]) -> None:
    """Refuse a model among texts."""
    if misplaced := next(filter(is_model, texts), None):
        command = click.get_current_context().info_name
        raise UsageError(f"name one model, before the texts, as in `charlstm {command} {misplaced} other.txt`")


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _open_standard_streams() -> None:
    """Make standard input, output and error UTF-8, whatever the locale, and reopen closed ones.

    A file opened later would otherwise get the number of a closed stream, and be written to in its place.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number; writing to it fails, as intended
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    for stream, errors in ((sys.stdout, "surrogatepass"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")


def _drop_output() -> None:
    """Discard the rest of the output, which would fail again when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _with_flag(error: CharlstmError) -> str:
    """Return the message of an error, with the flag of its argument."""
    argument = error.argument if isinstance(error, UsageError) else None
    return f"{flag_of(argument)}{str(error).removeprefix(argument)}" if argument else str(error)


def _help_hint(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f" (see {shlex.join(ctx.command_path.split())} --help)" if ctx else ""
