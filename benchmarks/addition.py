"""Ask a model for sums: the prime is `a+b=`, and its most likely continuation must be the sum."""

from typing import TextIO

import click
import harness

from charlstm import LanguageModel, load


def answer(model: LanguageModel, question: str, length: int) -> str:
    """Return the most likely characters after a question, up to the end of the line."""
    return model.generate(question, length=length, temperature=0, stop=("\n",))


@click.command()
@click.argument("checkpoint")
@click.argument("exam", type=click.File())
@click.option("--count", default=1000, show_default=True, help="Sums to ask for, at most.")
def main(checkpoint: str, exam: TextIO, count: int) -> None:
    """Ask the model CHECKPOINT for the sums in the file EXAM."""
    print(harness.describe_machine())
    model = load(checkpoint)
    wrong = []
    questions = [line.rstrip("\n") for line, _ in zip(exam, range(count), strict=False)]
    for sum in questions:
        question, _, right = sum.partition("=")
        given = answer(model, question + "=", len(right) + 1)
        if given != right:
            wrong.append(f"{question}={given}, not {right}")
    print(f"{len(questions) - len(wrong):,} of {len(questions):,} sums are right")
    print("\n".join(wrong[:10]))


if __name__ == "__main__":
    main()
