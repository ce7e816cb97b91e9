"""The question stream of the demo model: kinds, drawing, the held-out rule and scoring.

A kind draws (key, question, answer). Two rules keep a reserved list (held-out or development)
out of the training stream:
  * no question of it stands in a training question, whole or as a part, whatever the case,
    the spaces or the end punctuation;
  * for kinds with numbers (`KEYED`) its key, e.g. ("add", 3, 4), is not drawn in any wording.
For kinds that ask facts the fact itself is of course trained, in other words.
`normalize` is the only normalization that scoring applies.
"""

import random
import re

import qa_tables as t

KEYED = {"add", "subtract", "count", "sort", "compare"}


def normalize(text):
    """Lower case, single spaces, no punctuation at the ends."""
    return re.sub(r"\s+", " ", text).strip().strip(".!?,;: ").lower()


def _pick(rng, wordings, **fields):
    return rng.choice(wordings).format(**fields)


def draw_add(rng):
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    if rng.random() < 0.5:
        a, b = a % 11, b % 11
    q = _pick(rng, t.ADD_WORDINGS, a=a, b=b, p=rng.choice(t.PLURAL_NOUNS), m=rng.choice(t.NAMES))
    return ("add", a, b), q, str(a + b)


def draw_subtract(rng):
    a = rng.randint(0, 20)
    b = rng.randint(0, a)
    q = _pick(rng, t.SUB_WORDINGS, a=a, b=b, p=rng.choice(t.PLURAL_NOUNS), m=rng.choice(t.NAMES))
    return ("subtract", a, b), q, str(a - b)


def draw_count(rng):
    n = rng.randint(1, 8)
    words = [rng.choice(t.NOUNS) for _ in range(n)]
    if rng.random() < 0.25:
        words = [words[0]] * n
    return ("count", *words), _pick(rng, t.COUNT_WORDINGS, l=", ".join(words)), str(n)


def draw_sort(rng):
    top = 9 if rng.random() < 0.6 else 20
    numbers = rng.sample(range(top + 1), 3)
    q = _pick(rng, t.SORT_WORDINGS, l=", ".join(map(str, numbers)))
    return ("sort", *numbers), q, ", ".join(map(str, sorted(numbers)))


def draw_compare(rng):
    a, b = rng.sample(range(31), 2)
    which, wording = rng.choice(t.COMPARE_WORDINGS)
    return ("compare", a, b), wording.format(a=a, b=b), str(max(a, b) if which == "max" else min(a, b))


def draw_spell(rng):
    word = rng.choice(t.SPELL_WORDS)
    return ("spell", word), _pick(rng, t.SPELL_WORDINGS, x=word), " ".join(word)


def draw_letters(rng):
    word = rng.choice(t.SPELL_WORDS)
    if rng.random() < 0.5:
        return ("first", word), _pick(rng, t.FIRST_LETTER, x=word), word[0]
    return ("last", word), _pick(rng, t.LAST_LETTER, x=word), word[-1]


def draw_convert(rng):
    small, one, many, factor, top = rng.choice(t.UNITS)
    n = rng.randint(1, top)
    q = _pick(rng, t.UNIT_WORDINGS, s=small, n=n, b=one if n == 1 else many)
    return ("convert", small, one, n), q, str(n * factor)


def draw_opposite(rng):
    pair = rng.choice(t.OPPOSITES)
    x, y = pair if rng.random() < 0.5 else pair[::-1]
    return ("opposite", x), _pick(rng, t.OPPOSITE_WORDINGS, x=x), y


def draw_order(rng):
    kind, names = rng.choice([("day", t.DAYS), ("month", t.MONTHS), ("letter", t.LETTERS)])
    i = rng.randrange(len(names))
    wrap = kind != "letter"
    if rng.random() < 0.5:
        if not wrap and i + 1 == len(names):
            i -= 1
        return ("after", names[i]), _pick(rng, t.AFTER_WORDINGS, k=kind, x=names[i]), names[(i + 1) % len(names)]
    if not wrap and i == 0:
        i = 1
    return ("before", names[i]), _pick(rng, t.BEFORE_WORDINGS, k=kind, x=names[i]), names[i - 1]


def draw_animals(rng):
    relation = rng.choice(sorted(t.ANIMALS))
    wordings, table = t.ANIMALS[relation]
    x = rng.choice(sorted(table))
    q = _pick(rng, wordings, x=x)
    q = re.sub(r"\b([Aa]) (?=[aeo])", r"\1n ", q)
    return (relation, x), q, table[x]


def draw_colours(rng):
    x = rng.choice(sorted(t.COLOURS))
    return ("colour", x), _pick(rng, t.COLOUR_WORDINGS, x=x), t.COLOURS[x]


def draw_capitals(rng):
    x = rng.choice(sorted(t.CAPITALS))
    return ("capital", x), _pick(rng, t.CAPITAL_WORDINGS, x=x), t.CAPITALS[x]


def draw_authors(rng):
    x = rng.choice(sorted(t.AUTHORS))
    return ("author", x), _pick(rng, t.AUTHOR_WORDINGS, x=x), t.AUTHORS[x]


def draw_facts(rng):
    answer, wordings = rng.choice(t.FACTS)
    return ("fact", wordings[0]), rng.choice(wordings), answer


def draw_plurals(rng):
    x = rng.choice(sorted(t.PLURALS))
    return ("plural", x), _pick(rng, t.PLURAL_WORDINGS, x=x), t.PLURALS[x]


def draw_number_words(rng):
    n = rng.randrange(21)
    if rng.random() < 0.5:
        return ("digits", n), _pick(rng, t.WORD_TO_DIGIT, x=t.NUMBER_WORDS[n]), str(n)
    return ("words", n), _pick(rng, t.DIGIT_TO_WORD, x=n), t.NUMBER_WORDS[n]


def draw_identity(rng):
    answer, wordings = rng.choice(t.IDENTITY)
    return ("identity", answer), rng.choice(wordings), answer


# kind -> (draw, weight in training, questions in the held-out list of 100)
KINDS = {
    "add": (draw_add, 18, 10), "subtract": (draw_subtract, 16, 8), "count": (draw_count, 8, 7),
    "sort": (draw_sort, 10, 8), "compare": (draw_compare, 8, 5), "spell": (draw_spell, 11, 8),
    "letters": (draw_letters, 8, 4), "convert": (draw_convert, 10, 7), "opposite": (draw_opposite, 6, 7),
    "order": (draw_order, 12, 7), "animals": (draw_animals, 6, 7), "colours": (draw_colours, 2, 4),
    "capitals": (draw_capitals, 2.5, 5), "authors": (draw_authors, 1.5, 2), "facts": (draw_facts, 4, 4),
    "plurals": (draw_plurals, 3, 3), "number words": (draw_number_words, 3, 2), "identity": (draw_identity, 2.5, 2),
}
assert sum(k[2] for k in KINDS.values()) == 100


class Reserved:
    """What training may not draw: the questions of lists, and the keys of their number kinds."""

    def __init__(self, rows=()):
        self.questions = {normalize(r["question"]) for r in rows}
        self.keys = {tuple(r["key"]) for r in rows if r["kind"] in KEYED}

    def blocks(self, key, question):
        """True if training may not show `question`, or anything that contains a reserved one."""
        if key in self.keys:
            return True
        text = normalize(question)
        return any(q in text for q in self.questions)


def draw_list(rng, per_kind, reserved):
    """A list of distinct questions; `per_kind`: kind -> how many. Nothing of `reserved` is in it."""
    rows, seen_questions, seen_keys = [], set(), set()
    for kind, count in per_kind.items():
        made, tries = 0, 0
        while made < count:
            tries += 1
            key, question, answer = KINDS[kind][0](rng)
            if reserved.blocks(key, question) or normalize(question) in seen_questions:
                continue
            if key in seen_keys and (kind in KEYED or tries < 500):  # spread over subjects first
                continue
            seen_questions.add(normalize(question))
            seen_keys.add(key)
            rows.append({"kind": kind, "question": question, "answer": answer, "key": list(key)})
            made += 1
    return rows


_NAMES = list(KINDS)
_WEIGHTS = [KINDS[k][1] for k in _NAMES]


def draw_question(rng, reserved, plain=0.75):
    """One training question. Part of them is roughened: case, end mark, polite words."""
    while True:
        kind = rng.choices(_NAMES, _WEIGHTS)[0]
        key, question, answer = KINDS[kind][0](rng)
        if rng.random() >= plain:
            question = _roughen(rng, question)
        if not reserved.blocks(key, question):
            return question, answer


# kind -> (weight, longest question that is short enough)
DRILL = {"add": (10, 24), "subtract": (10, 24), "sort": (6, 36), "compare": (5, 36), "convert": (3, 36),
         "order": (9, 40), "letters": (4, 40), "count": (5, 56)}


def draw_drill(rng, reserved):
    """A short question of a kind that takes practice: dense in numbers, few words."""
    while True:
        kind = rng.choices(list(DRILL), [weight for weight, _ in DRILL.values()])[0]
        key, question, answer = KINDS[kind][0](rng)
        if len(question) <= DRILL[kind][1] and not reserved.blocks(key, question):
            return question, answer


def _roughen(rng, question):
    roll = rng.random()
    if roll < 0.3:
        return question[0].lower() + question[1:]
    if roll < 0.55 and question[-1] in ".?" and not question.endswith("=?"):
        return question[:-1]
    if roll < 0.75:
        return question[0].lower() + question[1:].rstrip(".?")
    return rng.choice(["Hello! ", "Please: ", "A question: ", "Tell me: ", "Hi. "]) + question
