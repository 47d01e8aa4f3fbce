"""`charlstm report` and `charlstm plot`: HTML reports and plots of learning curves."""

from collections.abc import Sequence

from charlstm.cli.files import model_name, open_output
from charlstm.cli.inputs import QUIET, check_stdin_once, load_checkpoint, read_texts, reading_of
from charlstm.cli.log import is_log, read_log
from charlstm.cli.output import format_size, say
from charlstm.cli.requests import PlotRequest, ReportRequest
from charlstm.errors import CharlstmError, UsageError
from charlstm.export.curves import draw_curves
from charlstm.export.report import READ_CHARS, make_report
from charlstm.storage.run import Evaluation, Run
from charlstm.text.baselines import MAX_CHARS, baseline_losses

_AXES = {"chars": "chars", "epochs": "epoch", "steps": "step", "time": "elapsed_s"}  # fields of an evaluation


@QUIET
def write_report(request: ReportRequest) -> None:
    """Write the report on a model."""
    check_stdin_once(*request.files)
    run = load_checkpoint(request.checkpoint)
    with open_output(request.output or "", force=request.force, inputs=[request.checkpoint, *request.files]) as file:
        text, baselines = _read(run, request.files) if request.files else ("", {})
        if text and not any(c in run.model.vocab.characters for c in text):
            raise CharlstmError("none of the characters of the text are in the model's vocabulary")
        page = make_report(run, request.title or model_name(request.checkpoint), text, baselines).encode()
        file.write(page)
    say(f"Wrote {request.output} ({format_size(len(page))})")


def plot_curves(request: PlotRequest) -> None:
    """Plot the learning curves of runs, from model files or logs."""
    runs: dict[str, Sequence[Evaluation]] = {}
    for path in request.runs:
        history = _read_history(path, request.axis)
        if not history:
            raise CharlstmError(f"{path} has no evaluations to plot")
        runs[path if model_name(path) in runs else model_name(path)] = history
    with open_output(request.output or "", force=request.force, inputs=request.runs) as file:
        file.write(draw_curves(runs, _AXES[request.axis]).encode())
    say(f"Wrote {request.output}")


def _read_history(path: str, axis: str) -> Sequence[Evaluation]:
    if is_log(path):
        return read_log(path)
    history = load_checkpoint(path).history
    if axis == "time":
        raise UsageError(f"{path} does not record time; name a file that train --log wrote, or use another --x")
    return history


def _read(run: Run, files: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Return the text to show and, if it is the corpus of the run, the baselines on its validation part."""
    corpus = read_texts(files, reading_of(run))
    if corpus.fingerprint == run.fingerprint:
        dataset = corpus.prepare(run.config.data)
        if len(dataset.val_ids) > 1:
            losses = baseline_losses(dataset.train_ids, dataset.val_ids[: MAX_CHARS // 10], dataset.vocab)
            return dataset.vocab.decode(dataset.val_ids[1 : 2 * READ_CHARS], "\n"), losses
    return corpus.vocab.decode(corpus.ids[: 2 * READ_CHARS], "\n"), {}
