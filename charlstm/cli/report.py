"""`charlstm report` and `charlstm plot`: HTML reports and plots of learning curves."""

from collections.abc import Sequence
from pathlib import Path

from charlstm.cli.inputs import QUIET, check_output, check_stdin_once, load_checkpoint, read_texts, reading_of
from charlstm.cli.output import say
from charlstm.cli.requests import PlotRequest, ReportRequest
from charlstm.cli.signals import as_exits
from charlstm.errors import CharlstmError
from charlstm.export.curves import draw_curves
from charlstm.export.report import make_report
from charlstm.storage.atomic import replace_file
from charlstm.storage.run import Run
from charlstm.text.baselines import MAX_CHARS, baseline_losses

_AXES = {"chars": "chars", "epochs": "epoch", "steps": "step"}  # fields of an evaluation


@QUIET
def write_report(request: ReportRequest) -> None:
    """Write the report on a model."""
    check_stdin_once(*request.files)
    with as_exits():
        run = load_checkpoint(request.checkpoint)
        check_output(request.output or "", force=request.force)
        text, baselines = _read(run, request.files) if request.files else ("", {})
        title = request.title or Path(request.checkpoint.removeprefix("@")).stem
        _write(make_report(run, title, text, baselines), request.output or "")


def plot_curves(request: PlotRequest) -> None:
    """Plot the learning curves of models."""
    with as_exits():
        check_output(request.output or "", force=request.force)
        runs = {}
        for path in request.models:
            history = load_checkpoint(path).history
            if not history:
                raise CharlstmError(f"{path} has no evaluations to plot")
            stem = Path(path.removeprefix("@")).stem
            runs[stem if stem not in runs else path] = history
        _write(draw_curves(runs, _AXES[request.axis]), request.output or "")


def _read(run: Run, files: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Return the text to show and, if it is the corpus of the run, the baselines on its validation part."""
    corpus = read_texts(files, reading_of(run))
    if corpus.fingerprint != run.fingerprint:
        return corpus.text, {}
    dataset = corpus.prepare(run.config.data)
    if len(dataset.val_ids) < 2:
        return corpus.text, {}
    losses = baseline_losses(dataset.train_ids, dataset.val_ids[: MAX_CHARS // 10], dataset.vocab)
    return dataset.vocab.decode(dataset.val_ids[1:], "\n"), losses


def _write(page: str, output: str) -> None:
    try:
        with replace_file(output) as file:
            file.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise CharlstmError(f"{output} could not be saved: {error.strerror or error}") from error
    say(f"Wrote {output} ({len(page.encode('utf-8', 'replace')) / 1e6:,.1f} MB)")
