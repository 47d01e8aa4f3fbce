"""What a text should be like: one frozen request, from the command line to the generator."""

import sys
from dataclasses import dataclass

from charlstm.config.kinds import check_settings, integer, name, number, setting, switch

_TEMPERATURE, _MASS = number(0, sys.float_info.max), number(0, 1, above=True)


@dataclass(frozen=True)
class SamplingParams:
    """How characters are chosen, which texts are allowed, and where they end.

    The distribution is narrowed in this order: repetition penalty, `no_copy` and `pattern` on the logits, temperature,
    then `top_k`, `typical`, `top_p` and `min_p`.
    """

    length: int = setting(500, integer(0, 10**12), "Characters to generate, at most.", short="-n")
    temperature: float = setting(
        0.8, _TEMPERATURE, "Lower is safer, higher is wilder; 0 always takes the most likely character.", short="-t"
    )
    temperature_at_start: float | None = setting(
        None, _TEMPERATURE, "Temperature for the first character of each word and line."
    )
    top_k: int = setting(0, integer(0, 10**9), "Sample from the N most likely characters. 0 turns it off.")
    typical: float = setting(1.0, _MASS, "Locally typical sampling with this probability mass. 1 turns it off.")
    top_p: float = setting(
        1.0, _MASS, "Sample from the most likely characters that have this probability mass. 1 turns it off."
    )
    min_p: float = setting(
        0.0, number(0, 1), "Drop characters below X times the top probability. 0 turns it off. Try 0.02."
    )
    repetition_penalty: float = setting(
        0.0, number(0, 1000), "Penalty in nats for each character that extends a repeat. Try 1 if texts loop."
    )
    repetition_free: int = setting(16, integer(1, 2000), "Length of repeats that cost nothing.")
    stop: tuple[str, ...] = setting(
        (), name("TEXT"), "Stop before this text (\\n is a newline). May be repeated.", multiple=True
    )
    keep_stop: bool = switch("Include the stop text.")
    lines: int = setting(0, integer(0, 10**12), "Stop after N lines. 0 turns it off.")
    pattern: str | None = setting(None, name("REGEX"), "Generate a text that matches this regular expression.")
    no_copy: int = setting(
        0, integer(0, 10**6), "Never complete N characters in a row that occur in --corpus. 0 turns it off. Try 20."
    )

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        check_settings(self)
