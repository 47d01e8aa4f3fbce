"""A program for mpiexec, or for one process without it: trains with the library, and writes what each step returned.

    ranks_program.py OUTPUT DTYPE SETTINGS

SETTINGS is a JSON object. OUTPUT gets the losses of the steps, the gradient norms and the validation losses, as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from helpers import TEXT

from charlstm import Config, corpus_from_text, train
from charlstm.cli.mpi import launched_ranks
from charlstm.network.char_lstm import init_network
from charlstm.network.ranks import Ranks
from charlstm.optim import Optimizer
from charlstm.storage.run import Run, TrainingState
from charlstm.training.loop import new_run

BASE = {
    "hidden_size": 20,
    "num_layers": 2,
    "batch_size": 8,
    "seq_len": 10,
    "steps": 20,
    "evals": 2,
    "learning_rate": 0.005,
    "eval_chars": 0,
    "dropout": 0.2,
    "input_dropout": 0.1,
    "dropconnect": 0.2,
    "state_reset_prob": 0.1,
    "threads": 1,
    "kernel": "numpy",
    "seed": 3,
}


def start_run(dtype: str, **settings: Any) -> Run:
    """Return a run whose weights have a data type."""
    config = Config().replace(**(BASE | settings))
    run = new_run(config, corpus_from_text(TEXT, documents=config.data.documents).prepare(config.data))
    if dtype == "float64":
        assert run.training is not None
        rng = np.random.default_rng(5)
        vocab = run.model.vocab
        network = init_network(config.model, len(vocab), rng, np.float64, vocab.boundary_id)
        batch_size = run.training.state.h.shape[1]
        run.training = TrainingState(
            network, Optimizer(network.params, config.train), network.zero_state(batch_size), rng
        )
    return run


def main() -> None:
    """Train, as one rank or alone."""
    output, dtype, settings = sys.argv[1:]
    ranks = None
    if launched_ranks() > 1:
        from mpi4py import MPI

        ranks = Ranks(MPI.COMM_WORLD)
    reports = list(train(start_run(dtype, **json.loads(settings)), ranks=ranks))
    if ranks is None or ranks.rank == 0:
        results = {
            "losses": [report.loss for report in reports],
            "norms": [report.grad_norm for report in reports],
            "validation": [report.evaluation.val_loss for report in reports if report.evaluation],
            "seconds": time.process_time(),
        }
        Path(output).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
