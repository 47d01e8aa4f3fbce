"""Write sums as text, a classic test for an LSTM: `01011101+01110100=011010001`, or `093+116=209`.

There are two files: a training text, and an exam of other sums. The training text has 10,000 distinct sums of two
numbers from 0 to 127. It repeats them ten times in ten orders, so that no order can be memorised. Its last tenth, for
validation, has sums that occur neither before it nor in the exam. a+b and b+a are always in the same part. Needs
nothing but Python.
"""

import argparse
import itertools
import random
from pathlib import Path

LARGEST = 127
TO_TRAIN, TO_VALIDATE = 5_050, 500  # pairs; most give two sums, a+b and b+a
ROUNDS = 10


def line(a: int, b: int, *, decimal: bool) -> str:
    """Return a sum as a line of text."""
    return f"{a:03}+{b:03}={a + b:03}\n" if decimal else f"{a:08b}+{b:08b}={a + b:09b}\n"


def texts(seed: int, *, decimal: bool) -> tuple[str, str]:
    """Return the training text, with its validation part at the end, and the exam."""
    rng = random.Random(seed)
    pairs = list(itertools.combinations_with_replacement(range(LARGEST + 1), 2))
    rng.shuffle(pairs)
    parts = pairs[:TO_TRAIN], pairs[TO_TRAIN:][:TO_VALIDATE], pairs[TO_TRAIN + TO_VALIDATE :]
    training, validating, exam = (
        [line(*numbers, decimal=decimal) for a, b in part for numbers in sorted({(a, b), (b, a)})] for part in parts
    )
    rng.shuffle(exam)
    text = [sum for _ in range(ROUNDS) for sum in rng.sample(training, len(training))]
    text += rng.choices(validating, k=len(text) // 9 + 1)
    return "".join(text), "".join(exam)


def main() -> None:
    """Write the training text and the exam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decimal", action="store_true", help="write decimal numbers instead of binary")
    parser.add_argument("--seed", type=int, default=1, help="random seed; the same seed writes the same files")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="directory for the files")
    arguments = parser.parse_args()
    name = "addition-decimal" if arguments.decimal else "addition"
    for suffix, text in zip(("", "-exam"), texts(arguments.seed, decimal=arguments.decimal), strict=True):
        path = arguments.folder / f"{name}{suffix}.txt"
        path.write_text(text, encoding="ascii", newline="\n")
        print(f"{path}: {text.count(chr(10)):,} sums")


if __name__ == "__main__":
    main()
