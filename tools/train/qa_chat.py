"""Chat documents of the training stream: lists of (role, text) built from questions and talk."""

import qa_code
import qa_tables as t
from qa import draw_drill, draw_question

SYSTEM = [
    "You are a helpful assistant.", "You are the demo model of ruvllm.", "Answer in few words.",
    "You are a friendly assistant. Answer briefly.", "You are ruvllm.", "Be brief.",
]
NAME_IN = ["My name is {n}.", "I am {n}.", "I am called {n}.", "Hello, I am {n}.", "Call me {n}."]
NAME_ASK = ["What is my name?", "Who am I?", "Do you know my name?", "Tell me my name.", "How am I called?"]
FABLE_ASK = ["Tell me a story.", "Tell me a fable.", "Tell me an old story.", "Write a story.", "Do you know a story?"]
PROSE_ASK = [
    "Write a few lines of an old book.", "Write some old prose.", "Write a sentence like in an old novel.",
    "Continue: {s}", "Go on with this text: {s}", "What comes next? {s}",
]


DRILL_SHARE = 0.3  # of the documents: several short number questions in a row


def small_talk(rng):
    answer, questions = rng.choice(t.SMALL_TALK)
    return rng.choice(questions), answer


def name_turns(rng):
    name = rng.choice(t.NAMES)
    return [("user", rng.choice(NAME_IN).format(n=name)), ("assistant", f"Hello, {name}!"),
            ("user", rng.choice(NAME_ASK)), ("assistant", f"Your name is {name}.")]


def prose_turn(rng, passages):
    """`passages`: (fables, paragraphs), lists of training texts."""
    fables, paragraphs = passages
    if fables and rng.random() < 0.5:
        return rng.choice(FABLE_ASK), rng.choice(fables)
    paragraph = rng.choice(paragraphs)
    ask = rng.choice(PROSE_ASK)
    if "{s}" not in ask:
        return ask, paragraph
    words = paragraph.split(" ")
    cut = min(len(words) // 2, rng.randint(4, 12))
    return ask.format(s=" ".join(words[:cut])), " ".join(words[cut:])


def draw_chat(rng, reserved, passages):
    """One chat document: mostly one question, sometimes several turns or a system line."""
    if rng.random() < DRILL_SHARE:
        return [turn for _ in range(rng.randint(5, 9)) for turn in _pair(draw_drill(rng, reserved))]
    turns = []
    if rng.random() < 0.03:
        turns.append(("system", rng.choice(SYSTEM)))
    roll = rng.random()
    if roll < 0.015:
        turns += name_turns(rng)
    elif roll < 0.055:
        turns += _pair(small_talk(rng))
    elif roll < 0.095:
        turns += _pair(qa_code.code_turn(rng))
    elif roll < 0.105:
        turns += _pair(prose_turn(rng, passages))
    else:
        turns += _pair(draw_question(rng, reserved))
    while rng.random() < 0.2 and len(turns) < 9:
        turns += _pair(small_talk(rng) if rng.random() < 0.15 else draw_question(rng, reserved))
    return turns


def _pair(question_answer):
    return [("user", question_answer[0]), ("assistant", question_answer[1])]
