"""How the prompt's plain words steer the motion.

Belongs here: the words that are understood, what each changes, and the amplitudes that come out.
Does not belong here: motion itself; sentences, grammar or a model of language. What is not understood changes nothing,
and `understood` says what was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

_LEAST, _MOST = 0.0, 2.0  # cues multiply; beyond twice the usual, a warped portrait comes apart


@dataclass(frozen=True)
class MotionStyle:
    """Amplitudes; 1 is an ordinary speaker at ease.

    Attributes:
        head: drift of the pose.
        nods: nods and beats on accents.
        brows: raised brows on accents.
        gaze: looks away from the camera.
        mouth: opening of the jaw.
        blinks: share of the usual number.
        smile_talking_relax, smile_resting_relax: `smile_relax` while speaking and in long pauses.
        understood: names of the cues found in the prompt, in the order of the table.

    Raises:
        ValueError: a negative or too large amplitude, or a smile outside [0, 1].
    """

    head: float = 1.0
    nods: float = 1.0
    brows: float = 1.0
    gaze: float = 1.0
    mouth: float = 1.0
    blinks: float = 1.0
    smile_talking_relax: float = 0.8
    smile_resting_relax: float = 0.35
    understood: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        amplitudes = (self.head, self.nods, self.brows, self.gaze, self.mouth, self.blinks)
        smiles = (self.smile_talking_relax, self.smile_resting_relax)
        if not all(_LEAST <= value <= _MOST for value in amplitudes) or not all(0 <= value <= 1 for value in smiles):
            raise ValueError(f"amplitudes lie in [{_LEAST}, {_MOST}] and smiles in [0, 1]; got {self}")


@dataclass(frozen=True)
class _Cue:
    """Words that mean one thing.

    Attributes:
        name: as it appears in `understood`.
        pattern: regular expression over lower-case text.
        factors: field of MotionStyle -> factor.
        smile: (talking, resting) relax, where the cue says something of the smile.
        unless: name of the cue that a "not" in front turns it into; without one, a negated cue is dropped.
    """

    name: str
    pattern: str
    factors: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    smile: tuple[float, float] | None = None
    unless: str | None = None


_CUES: tuple[_Cue, ...] = (
    _Cue(
        "calm",
        r"calm(?:ly)?|relaxed|gentle|gently|soft(?:ly)?|quiet(?:ly)?|soothing|serene|slow(?:ly)?|subtle|composed",
        {"head": 0.65, "nods": 0.6, "brows": 0.6, "gaze": 0.8, "mouth": 0.95},
        unless="energetic",
    ),
    _Cue(
        "energetic",
        r"energetic(?:ally)?|lively|excited(?:ly)?|enthusiastic(?:ally)?|animated|dynamic(?:ally)?|passionate(?:ly)?|vivid(?:ly)?",
        {"head": 1.3, "nods": 1.5, "brows": 1.3, "mouth": 1.08},
        unless="calm",
    ),
    _Cue(
        "expressive",
        r"expressive(?:ly)?|dramatic(?:ally)?|emotional(?:ly)?|theatrical(?:ly)?",
        {"head": 1.15, "nods": 1.25, "brows": 1.5, "mouth": 1.05},
        unless="calm",
    ),
    _Cue(
        "serious",
        r"serious(?:ly)?|solemn(?:ly)?|stern(?:ly)?|formal(?:ly)?|grave(?:ly)?|neutral|news ?(?:anchor|reader)"
        r"|professional(?:ly)?",
        {"head": 0.85, "brows": 0.7},
        smile=(1.0, 0.85),
        unless="smiling",
    ),
    _Cue(
        "smiling",
        r"smil(?:e|es|ing|ingly)|grin(?:s|ning)?|laugh(?:s|ing)?|happy|happily|cheerful(?:ly)?|joyful(?:ly)?",
        {"brows": 1.1},
        smile=(0.45, 0.05),
        unless="serious",
    ),
    _Cue(
        "friendly",
        r"friendly|warm(?:ly)?|kind(?:ly)?|welcoming|sympathetic",
        {"nods": 1.1, "brows": 1.15},
        smile=(0.6, 0.15),
        unless="serious",
    ),
    _Cue(
        "still",
        r"(?:stay|stays|staying|sit|sits|sitting|stand|stands|standing|keep|keeps|keeping|hold|holds|holding|perfectly"
        r"|completely|almost|nearly|very)(?: \w+){0,2}? still|still head|head still|motionless|immobile|frozen"
        r"|static (?:head|pose|shot)|still(?=$|[,.;])",
        {"head": 0.2, "nods": 0.2, "brows": 0.6, "gaze": 0.5},
    ),
    _Cue("nodding", r"nod(?:s|ding)?", {"nods": 1.5}, unless="not nodding"),
    _Cue("not nodding", r"(?!)", {"nods": 0.0}),
    _Cue(
        "looking at camera",
        r"(?:look|looks|looking|gaze|gazes|gazing|stare|stares|staring|speak|speaks|speaking|talk|talks|talking|facing)"
        r"(?: \w+){0,2}? (?:at|into|to|towards?|in) (?:the )?(?:camera|lens|viewer|audience)|facing (?:the )?camera"
        r"|eye contact",
        {"gaze": 0.35},
        unless="looking away",
    ),
    _Cue(
        "looking away",
        r"look(?:s|ing)? (?:away|around|aside|down|up)|thoughtful(?:ly)?|pensive(?:ly)?|shy|shyly|avoids? eye contact",
        {"gaze": 1.8},
        unless="looking at camera",
    ),
    _Cue("tired", r"tired|sleepy|weary|exhausted", {"head": 0.8, "nods": 0.7, "brows": 0.6, "blinks": 1.3}),
    _Cue("shouting", r"shout(?:s|ing)?|yell(?:s|ing)?|loud(?:ly)?|scream(?:s|ing)?", {"mouth": 1.15}),
    _Cue("whispering", r"whisper(?:s|ing)?|mumbl(?:e|es|ing)|murmur(?:s|ing)?", {"mouth": 0.8, "head": 0.8}),
)

_NEGATION = re.compile(r"\b(?:not|no|never|without|don't|doesn't|isn't|aren't|stop|avoid)(?: \w+){0,1} $")
_WORD = re.compile(r"[\w']+")
_SMALL_WORDS = re.compile(
    "(?:an?|the|th(?:is|at)|and|or|but|while|with|of|in|on|at|to|for|from|into|by|as|is|are|be|its?"
    "|s?he|they|his|her|their|him|them|who|very)$"
)
_LONGEST_PROMPT = 4000  # characters; the rest of a longer text is not read


def style_from_prompt(prompt: str) -> MotionStyle:
    """The style that a prompt's words ask for; the default where none is understood.

    Each cue counts once, however often it is said; factors of several multiply; of several smiles the mean holds.
    A "not", "no" or "without" directly before a cue turns it round, or drops it where there is no opposite.
    """
    text = _plain(prompt)
    names = set()
    for cue, start, _ in _found(text):
        name = cue.unless if _NEGATION.search(text[:start]) else cue.name
        if name is not None:
            names.add(name)
    cues = [cue for cue in _CUES if cue.name in names]
    return _combine(cues)


def words_ignored(prompt: str) -> tuple[str, ...]:
    """Words of a prompt that change nothing, once each, in their order; articles and the like are not listed."""
    text = _plain(prompt)
    kept = list(text)
    for cue, start, end in _found(text):
        negation = _NEGATION.search(text[:start])
        if negation is not None and cue.unless is None:
            continue  # a negated cue without an opposite does nothing either
        first = start if negation is None else negation.start()
        kept[first:end] = " " * (end - first)
    words = (word.strip("'") for word in _WORD.findall("".join(kept)))
    return tuple(dict.fromkeys(word for word in words if word and not _SMALL_WORDS.match(word)))


def _plain(prompt: str) -> str:
    return re.sub(r"\s+", " ", prompt[:_LONGEST_PROMPT].lower().replace("\u2019", "'"))


def _found(text: str) -> Iterator[tuple[_Cue, int, int]]:
    """Every cue in a text, with where it starts and ends."""
    for cue in _CUES:
        for match in re.finditer(rf"\b(?:{cue.pattern})\b|(?:{cue.pattern})(?=$)", text):
            yield cue, match.start(), match.end()


def _combine(cues: list[_Cue]) -> MotionStyle:
    amplitudes = dict.fromkeys(("head", "nods", "brows", "gaze", "mouth", "blinks"), 1.0)
    for cue in cues:
        for name, factor in cue.factors.items():
            amplitudes[name] = min(_MOST, amplitudes[name] * factor)
    usual = MotionStyle()
    smiles = [cue.smile for cue in cues if cue.smile is not None]
    talking, resting = usual.smile_talking_relax, usual.smile_resting_relax
    if smiles:
        talking = sum(smile[0] for smile in smiles) / len(smiles)
        resting = sum(smile[1] for smile in smiles) / len(smiles)
    return replace(
        usual,
        head=amplitudes["head"],
        nods=amplitudes["nods"],
        brows=amplitudes["brows"],
        gaze=amplitudes["gaze"],
        mouth=amplitudes["mouth"],
        blinks=amplitudes["blinks"],
        smile_talking_relax=talking,
        smile_resting_relax=resting,
        understood=tuple(cue.name for cue in cues),
    )
