"""What a text should be like: one frozen request, from the command line to the generator."""

import sys
from dataclasses import dataclass, field

from charlstm.config.kinds import check_settings, integer, name, number, setting, switch

DEFAULT_TEMPERATURE = 0.9  # with top_p; docs/sampling.md has the measurements
DEFAULT_LENGTH = 500  # of a text that nothing else ends
_ENDLESS_LENGTH = 10_000  # of a text that should end itself
_ENDLESS_LINE = 1_000  # per line
_TEMPERATURE, _MASS = number(0, sys.float_info.max), number(0, 1, above=True)


@dataclass(frozen=True)
class SamplingParams:
    """How characters are chosen, which texts are allowed, and where they end.

    The distribution is narrowed in this order: repetition penalty, `no_copy` and `pattern` on the logits, temperature,
    then `top_k`, `typical`, `top_p` and `min_p`.
    """

    length: int | None = setting(
        None,
        integer(0, 10**12),
        "Maximum number of characters to generate. Defaults to 500. With --stop, --lines or a model trained with "
        "--documents, the default is 10,000 or 1,000 per line, whichever is more.",
        short="-n",
        group="Length",
    )
    temperature: float = setting(
        DEFAULT_TEMPERATURE,
        _TEMPERATURE,
        "Lower is safer, higher is wilder; 0 always picks the most likely character.",
        short="-t",
        group="Sampling",
    )
    temperature_at_start: float | None = setting(
        None,
        _TEMPERATURE,
        "Temperature for the first character of each word and line. Defaults to --temperature.",
        group="Sampling",
    )
    top_k: int = setting(
        0, integer(0, 10**9), "Sample only from the N most likely characters. 0 turns it off.", group="Sampling"
    )
    typical: float = setting(
        1.0, _MASS, "Locally typical sampling with this probability mass. 1 turns it off.", group="Sampling"
    )
    top_p: float = setting(
        0.95,
        _MASS,
        "Nucleus sampling: keep the most likely characters, up to this probability mass. 1 turns it off.",
        group="Sampling",
    )
    min_p: float = setting(
        0.0,
        number(0, 1),
        "Drop characters below X times the top probability. 0 turns it off. Try 0.02.",
        group="Sampling",
    )
    repetition_penalty: float = setting(
        0.0,
        number(0, 1000),
        "Penalty in nats for each character that extends a repeat. Try 1 if the output loops.",
        group="Constraints",
    )
    repetition_free: int = setting(
        16, integer(1, 2000), "Do not penalise repeats up to this length.", group="Constraints"
    )
    stop: tuple[str, ...] = setting(
        (),
        name("TEXT"),
        "Stop before this string (\\n is a newline). Can be given more than once.",
        multiple=True,
        group="Length",
    )
    keep_stop: bool = switch("Keep the stop string in the output.", group="Length")
    lines: int = setting(0, integer(0, 10**12), "Stop after N lines. 0 turns it off.", group="Length")
    pattern: str | None = setting(
        None, name("REGEX"), "Generate text that fully matches this regular expression.", group="Constraints"
    )
    no_copy: int = setting(
        0,
        integer(0, 10**6),
        "Never copy N characters in a row from --corpus. 0 turns it off. Try 20.",
        group="Constraints",
    )
    documents: bool = field(default=False, kw_only=True)  # whether texts are documents, which the model ends

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        check_settings(self)

    @property
    def has_end(self) -> bool:
        """Whether the model, a stop string or a number of lines should end the text."""
        return bool((self.documents and self.pattern is None) or self.stop or self.lines)

    @property
    def ends_itself(self) -> bool:
        """Whether the text has an end, and no length was given."""
        return self.length is None and self.has_end

    @property
    def max_length(self) -> int:
        """Maximum number of characters, also for a text that should end itself but never does."""
        if self.length is not None:
            return self.length
        return max(_ENDLESS_LENGTH, _ENDLESS_LINE * self.lines) if self.ends_itself else DEFAULT_LENGTH
