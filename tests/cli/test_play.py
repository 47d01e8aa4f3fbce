"""`charlstm play`: turns, the commands between them, and mistakes that the story survives."""

import numpy as np
import pytest

from charlstm import SamplingParams


@pytest.fixture
def play(trained, tmp_path, here):
    """Type lines; return what was printed and what was reported."""
    trained.save(tmp_path / "model.npz")

    def run(*lines, length=20, **options):
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        typed = "".join(f"{line}\n" for line in lines)
        done = here("play", "--seed", 1, "-n", length, *flags, input=typed)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture
def turns(play):
    """The texts of two turns after "3 times "."""
    printed, _ = play("3 times ", "")
    assert (len(printed), printed[20], printed[41]) == (42, "\n", "\n")
    return printed[:20], printed[21:41]


def continuation(trained, story, drawn):
    """Return the 20 characters that continue a story, after some random numbers of seed 1 have been drawn."""
    rng = np.random.default_rng(1)
    rng.random(drawn)
    sampler = trained.model.sampler(SamplingParams(length=20))
    return "".join(sampler.stream(trained.model.read(story), rng))


# ---- the story


def test_story_is_what_was_typed_and_generated(turns, play):
    printed, _ = play("3 times ", "", ":story")
    assert printed.endswith("\n3 times " + "".join(turns) + "\n")


def test_turns_are_those_of_one_long_text(turns, trained):
    assert "".join(turns) == trained.model.generate("3 times ", length=40, seed=1)


def test_typed_text_joins_the_story(turns, play, trained):
    printed, _ = play("3 times ", "4 is ")
    assert printed[21:41] == continuation(trained, "3 times " + turns[0] + "4 is ", drawn=20)


def test_same_seed_and_input_give_same_story(play):
    assert play("3 times ", "", ":again") == play("3 times ", "", ":again")


def test_quit_ends_the_story(turns, play):
    assert play("3 times ", ":quit", "")[0] == turns[0] + "\n"


def test_backslash_colon_starts_a_line_with_a_colon(play):
    printed, reported = play("\\:quit", "1")
    assert "COLON" in reported  # which the model does not know
    assert len(printed) == 21


def test_escaped_newline_is_a_newline(play):
    assert play("3\\n4", ":story")[0][21:24] == "3\n4"


# ---- turns


def test_undo_removes_last_turn(play):
    printed, reported = play("3 times ", ":undo", ":story")
    assert printed.endswith("\n\n")
    assert reported == "removed; the story is empty\n"


def test_story_continues_from_before_an_undone_turn(turns, play, trained):
    printed, _ = play("3 times ", "", ":undo", "")
    assert printed[42:62] == continuation(trained, "3 times " + turns[0], drawn=40)


def test_again_rewrites_last_turn(turns, play, trained):
    printed, _ = play("3 times ", ":again", ":story")
    again = continuation(trained, "3 times ", drawn=20)
    assert again != turns[0]
    assert printed == f"{turns[0]}\n{again}\n3 times {again}\n"


def test_undo_without_a_turn_is_reported(play):
    assert play(":undo")[1] == "Error: there are no turns yet\n"


def test_state_returns_to_a_bookmark(turns, play):
    printed, _ = play("3 times ", ":state save here", "", "", ":state load here", ":story")
    assert printed.endswith("\n3 times " + turns[0] + "\n")


# ---- commands


def test_length_sets_characters_per_turn(play):
    assert len(play(":length 7", "3")[0]) == 8


def test_temp_sets_temperature(play):
    assert play(":temp 0", "3 times ", "")[0] == play("3 times ", "", temperature=0)[0]


def test_stop_ends_turns_after_text(play):
    assert play(":stop is", "3 times ", length=200)[0].endswith("is\n")


def test_empty_stop_turns_it_off(play):
    assert play(":stop is", ":stop", "3 times ", length=200)[0] == play("3 times ", length=200)[0]


def test_save_writes_the_story(turns, play, tmp_path):
    assert play("3 times ", ":save story.txt")[1] == "saved to story.txt\n"
    assert (tmp_path / "story.txt").read_bytes() == ("3 times " + turns[0]).encode()


def test_save_keeps_existing_files(play, tmp_path):
    (tmp_path / "story.txt").write_text("old")
    assert play("3 times ", ":save story.txt")[1] == "Error: story.txt: File exists\n"
    assert (tmp_path / "story.txt").read_text() == "old"


def test_help_lists_every_command(play):
    reported = play(":help")[1]
    for name in ("again", "undo", "temp", "length", "stop", "story", "save", "state", "help", "quit"):
        assert f":{name} " in reported


# ---- mistakes


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (":temp hot", "hot is not a finite number >= 0"),
        (":temp", "an empty value is not a finite number >= 0"),
        (":length 0", "0 is not an integer from 1"),
        (":stop ☃", "'☃' can never match: not in the model's vocabulary"),
        (":state load nowhere", ":state save NAME or :state load NAME; saved: none"),
        (":state", ":state save NAME"),
        (":state save", ":state save NAME"),
        ("☃", "not in the model's vocabulary: '☃' U+2603 SNOWMAN"),
        (":what", "unknown command :what; :help lists the commands"),
        (":save", ":save needs a file name"),
        (":save nowhere/story.txt", "nowhere/story.txt: No such file"),
    ],
)
def test_mistake_is_reported_and_changes_nothing(line, error, turns, play):
    printed, reported = play("3 times ", line, "", ":story")
    assert reported.startswith("Error: ")
    assert error in reported
    assert reported.count("\n") == 1
    assert printed == f"{turns[0]}\n{turns[1]}\n3 times {turns[0]}{turns[1]}\n"
