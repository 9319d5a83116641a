"""The code that two people tell each other: `42-acorn-basil-cobra`.

Three words of the list are the 24 bits that an attacker has to guess. The number in front follows from them: a word
that was misheard is noticed where it is typed, before it counts as a guess. Any two words differ in three letters at
least, and in their first four.
"""

from __future__ import annotations

import difflib
import hashlib
import re

from fountain.errors import UsageError

__all__ = ["CODE_OCTETS", "WORDS", "draw_code", "parse_code"]

CODE_OCTETS = 3  # A word for each.
_NUMBER_MIN, _NUMBER_COUNT = 10, 90
_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015_.,]+")

_WORDS = """
acorn album almond alpine amber anchor angle animal anthem apron arctic artist atlas autumn badge bamboo banana
banjo barrel basil basket beacon beaver bottle bravo bronze butter cabin cactus camera canyon cargo carpet
castle celery cello chapel cherry circus clover cobra coffee comet copper cotton cousin cowboy daisy dancer
desert doctor donkey dragon elbow empire engine fabric farmer fiddle flute fossil friday galaxy gallon garden
garlic geyser giant ginger glider goblet grape guitar harbor hawk helmet horizon hotel hydrant iceberg igloo
impala indigo insect island ivory jaguar jasmine jewel jigsaw journal juggler juniper kayak kennel ketchup
kitchen knight koala ladder lagoon lantern laptop lasagna laundry lemon leopard library lilac lizard lobster
locket lotus luggage machine magnet maple meadow melody mermaid meteor mirror mitten monsoon mosaic muffin
museum mustard napkin nebula needle nephew nickel ninja nomad nutmeg obelisk october olive omelet onion opera
orange orchid ostrich outpost oxygen pajama palace pancake parrot peanut pebble pelican penguin pickle picnic
pigeon pillow pirate plumber pony popcorn potato prairie pretzel prism pudding pumpkin puppet puzzle pyramid
python quarter queen quilt quiver rabbit radar raisin raven ribbon robot rubber runway saffron sailor sandal
saturn scarf school scooter seagull sheriff shuttle signal silver skyline slipper snorkel snowman soccer soldier
spinach sponge stadium sugar summit sunset surfer swallow taxi teacup temple tennis theater thimble thunder
topaz tornado tractor trumpet tulip turbine turtle tuxedo ukulele unicorn utensil vacuum valley vanilla vase
venus viking village vinegar violin volcano voyage vulture waffle walnut warrior wasabi water whale whistle
window wombat yacht yeti yogurt yonder zenith zigzag
"""
WORDS = tuple(_WORDS.split())  # One for each octet.


def draw_code(octets: bytes) -> str:
    """The code that CODE_OCTETS random octets stand for."""
    words = [WORDS[octet] for octet in octets]
    return "-".join([str(_number_of(words)), *words])


def parse_code(typed: str) -> str:
    """The code that somebody typed, in whatever case, with spaces or dashes.

    Raises:
        UsageError: it is none; a word that is not on the list is named, with the one that may be meant.
    """
    words = [word for word in _SEPARATORS.split(typed.strip().lower()) if word]
    number, words = (words[0], words[1:]) if words and words[0].isdecimal() else ("", words)
    for word in words:
        if word not in WORDS:
            alike = sorted(difflib.get_close_matches(word, WORDS, n=2, cutoff=0.6))
            hint = f"Did you mean {' or '.join(alike)}?" if alike else "Ask for that word once more."
            raise UsageError(f"{word[:20]!r} is no word of any code.", hint, field="pair")
    if len(words) != CODE_OCTETS or not number:
        raise UsageError(
            "A code is a number and three words.", "Type all of it, as fountain-serve shows it: 12-one-two-three.",
            field="pair",
        )  # fmt: skip
    if number != str(_number_of(words)):
        raise UsageError(
            f"The number {number[:9]} and these words do not belong together.",
            "One of them was misheard: compare all four with what fountain-serve shows.",
            field="pair",
        )
    return "-".join([number, *words])


def _number_of(words: list[str]) -> int:
    octets = hashlib.blake2s("-".join(words).encode(), digest_size=8).digest()
    return _NUMBER_MIN + int.from_bytes(octets, "big") % _NUMBER_COUNT
