"""Ask a model for sums: `a+b=` is the prime, what it writes then, always the likeliest, must be the sum."""

from typing import TextIO

import click
import numpy as np

from charlstm import CharLSTM, Choice, Vocab, generate, load


def answer(model: CharLSTM, vocab: Vocab, question: str, length: int) -> str:
    text = "".join(generate(model, vocab, length, question, np.random.default_rng(0), Choice(0)))
    return text.partition("\n")[0]


@click.command()
@click.argument("checkpoint")
@click.argument("exam", type=click.File())
@click.option("--count", default=1000, show_default=True, help="How many sums to ask for.")
def main(checkpoint: str, exam: TextIO, count: int) -> None:
    """Ask the model CHECKPOINT for the sums in the file EXAM."""
    run = load(checkpoint)
    wrong = []
    questions = [line.rstrip("\n") for line, _ in zip(exam, range(count), strict=False)]
    for sum in questions:
        question, _, right = sum.partition("=")
        given = answer(run.model, run.vocab, question + "=", len(right) + 1)
        if given != right:
            wrong.append(f"{question}={given}, not {right}")
    print(f"{len(questions) - len(wrong):,} of {len(questions):,} sums are right")
    print("\n".join(wrong[:10]))


if __name__ == "__main__":
    main()
