"""qsep.queries.reading.grammar: the expression of each sentence in a table, and the algebra of degrees."""

import numpy as np
import pytest

from qsep.queries.reading.expression import (
    Atom,
    Complement,
    Difference,
    Everything,
    Expression,
    Union,
    evaluate,
    spelled,
)
from qsep.queries.reading.grammar import parse

BOOK = {
    "bow and arrow",
    "bongos and congas",
    "salt and pepper shakers",
    "country guitar, no amp",
    "hi-hat",
}

# Query and expression: + union, - difference, * everything, "!" complement.
ROWS = """
a dog                                        | a dog
A Dog Barking.                               | a dog barking
  the   siren!                               | the siren
"a cello"                                    | a cello
please isolate the violin                    | the violin
Please, isolate the violin, thanks           | the violin
could you please extract the violin          | the violin
can you give me the piano?                   | the piano
would you pull out the bass part please      | the bass part
I want to hear only the flute                | the flute
i'd like to hear the flute                   | the flute
I only want the flute                        | the flute
let me hear the rain                         | the rain
the sound of rain                            | rain
sound of a cello                             | a cello
a recording of footsteps                     | footsteps
all the sounds of birds                      | birds
noise made by machines                       | machines
sfx: door slam                               | door slam
there is a dog                               | a dog
just the drums                               | the drums
nothing but the drums                        | the drums
only drums                                   | drums
drums only                                   | drums
solo piano                                   | piano
piano solo                                   | piano
the piano on its own                         | the piano
rain, nothing else                           | rain
only the rain and nothing else               | the rain
the guitar in the background                 | the guitar
the cat in this recording                    | the cat
extract speech from this recording           | speech
separate the choir from the rest             | the choir
just the drums without anything else         | the drums
what sounds like a helicopter                | a helicopter
a dog and a cat                              | a dog + a cat
a dog or a cat                               | a dog + a cat
either a dog or a cat                        | a dog + a cat
both the violin and the cello                | the violin + the cello
rain, wind and thunder                       | rain + wind + thunder
rain, wind, and thunder                      | rain + wind + thunder
dogs, cats & birds                           | dogs + cats + birds
violin/cello                                 | violin + cello
rain + wind                                  | rain + wind
rain; wind                                   | rain + wind
rain as well as wind                         | rain + wind
the violin together with the viola           | the violin + the viola
the sound of a door and of footsteps         | a door + footsteps
please isolate the dog and the cat           | the dog + the cat
isolate the dog and also the cat             | the dog + the cat
bow and arrow                                | bow and arrow
the sound of bow and arrow                   | bow and arrow
a dog, bow and arrow and rain                | a dog + bow and arrow + rain
rain and bongos and congas                   | rain + bongos and congas
salt and pepper shakers and a dog            | salt and pepper shakers + a dog
country guitar, no amp                       | country guitar, no amp
hi-hat                                       | hi-hat
everything                                   | *
all sounds                                   | *
the whole recording                          | *
nothing                                      | !*
silence                                      | !*
everything but the voice                     | !the voice
Everything except the voice                  | !the voice
all except the drums                         | !the drums
all but the drums                            | !the drums
all the sounds apart from speech             | !speech
everything other than a siren                | !a siren
anything but drums                           | !drums
the mix minus the guitar                     | !the guitar
I want everything except the singer          | !the singer
the rest without the piano                   | !the piano
everything except the drums and the bass     | !(the drums + the bass)
everything but bow and arrow                 | !bow and arrow
no drums                                     | !drums
no drums, no bass                            | !(drums + bass)
no drums or bass                             | !(drums + bass)
neither rain nor wind                        | !(rain + wind)
without the piano                            | !the piano
not a dog                                    | !a dog
non-speech                                   | !speech
remove the siren                             | !the siren
please remove the siren                      | !the siren
could you please get rid of the siren        | !the siren
take out the dog                             | !the dog
take the dog out                             | !the dog
filter out the hum                           | !the hum
mute the vocals                              | !the vocals
I don't want to hear the siren               | !the siren
do not include the siren                     | !the siren
the drums removed                            | !the drums
drum-free                                    | !drum
remove rain and wind                         | !(rain + wind)
remove everything except the guitar          | the guitar
remove all but the guitar                    | the guitar
instrumental                                 | !vocals
the instrumental version                     | !vocals
karaoke                                      | !vocals
acapella                                     | vocals
a cappella version                           | vocals
vocals only                                  | vocals
music without the piano                      | music - the piano
music but not the piano                      | music - the piano
music except for the piano                   | music - the piano
the strings minus the cello                  | the strings - the cello
animals other than dogs                      | animals - dogs
drums with no cymbals                        | drums - cymbals
drums no vocals                              | drums - vocals
dogs only, no cats                           | dogs - cats
rain, wind and no thunder                    | (rain + wind) - thunder
a crowd without clapping or laughter         | a crowd - (clapping + laughter)
not the dog but the cat                      | the cat - the dog
mute the vocals and keep the piano           | the piano - the vocals
everything except music without the piano    | !(music - the piano)
all of them                                  | all of them
take that                                    | take that
a man with a deep voice                      | a man with a deep voice
nothing else matters                         | nothing else matters
"""
TABLE = [tuple(part.strip() for part in row.split("|")) for row in ROWS.strip().splitlines()]


def short(expression: Expression, inside: bool = False) -> str:
    match expression:
        case Atom(text):
            return text
        case Everything():
            return "*"
        case Union(parts):
            joined = " + ".join(short(part, True) for part in parts)
            return f"({joined})" if inside else joined
        case Complement(part):
            return f"!{short(part, True)}"
        case Difference(part, without):
            joined = f"{short(part, True)} - {short(without, True)}"
            return f"({joined})" if inside else joined


@pytest.mark.parametrize(("text", "expected"), TABLE, ids=[text for text, _ in TABLE])
def test_sentences_are_read(text: str, expected: str) -> None:
    assert short(parse(text, BOOK.__contains__)) == expected


def test_a_union_keeps_how_it_was_written_and_what_its_parts_may_share() -> None:
    read = parse("acoustic and electric guitar", BOOK.__contains__)
    assert isinstance(read, Union)
    assert read.whole == "acoustic and electric guitar"
    assert read.shared == (Atom("acoustic guitar"), Atom("electric guitar"))


DEGREES = {"a": [1.0, 0.25, 0.0], "b": [0.0, 0.5, 1.0]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [1, 0.25, 0]),
        ("a and b", [1, 0.5, 1]),
        ("everything but b", [1, 0.5, 0]),
        ("a without b", [1, 0.25, 0]),
        ("b without a", [0, 0.5, 1]),
        ("everything", [1, 1, 1]),
        ("nothing", [0, 0, 0]),
        ("everything but a and b", [0, 0.5, 0]),
    ],
)
def test_degrees_follow_fuzzy_sets(text: str, expected: list[float]) -> None:
    actual = evaluate(
        parse(text, DEGREES.__contains__), lambda name: np.array(DEGREES[name], np.float32), 3
    )
    np.testing.assert_array_equal(actual, np.array(expected, np.float32))


def test_structure_is_spelled_in_words() -> None:
    read = parse("music without the piano and the violin", BOOK.__contains__)
    assert spelled(read, str.upper) == "MUSIC without (THE PIANO + THE VIOLIN)"
    assert spelled(Complement(read), str) == (
        "everything but (music without (the piano + the violin))"
    )
