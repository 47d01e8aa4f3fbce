"""Write sums as text, the classic exam of an LSTM: `01011101+01110100=011010001`, or `093+116=209`.

Two files: one to train on, and one of other sums to ask for. The first has 10,000 different sums of two numbers from
0 to 127, ten times in ten orders, so that no order can be learnt by heart; its last tenth, which validates, has sums
that are in neither. a+b and b+a are always in the same part. Needs nothing but Python.
"""

import argparse
import itertools
import random
from pathlib import Path

LARGEST = 127
TO_TRAIN, TO_VALIDATE = 5_050, 500  # pairs; nearly all can be written in two orders
ROUNDS = 10


def line(a: int, b: int, *, decimal: bool) -> str:
    """Return a sum as a line of text."""
    return f"{a:03}+{b:03}={a + b:03}\n" if decimal else f"{a:08b}+{b:08b}={a + b:09b}\n"


def texts(seed: int, *, decimal: bool) -> tuple[str, str]:
    """Return the text to train on, and the text of the sums to ask for."""
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
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decimal", action="store_true", help="write the numbers in decimal")
    parser.add_argument("--seed", type=int, default=1, help="the same seed writes the same files")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where to write")
    arguments = parser.parse_args()
    name = "addition-decimal" if arguments.decimal else "addition"
    for suffix, text in zip(("", "-exam"), texts(arguments.seed, decimal=arguments.decimal), strict=True):
        path = arguments.folder / f"{name}{suffix}.txt"
        path.write_text(text, encoding="ascii", newline="\n")
        print(f"{path}: {text.count(chr(10)):,} sums")


if __name__ == "__main__":
    main()
