"""Small Python functions for the question stream: what they do in words, and their code.

Each entry: (name, what it does, argument list, body lines). `code_turn` draws one as a chat
turn; `code_document` as a plain file, with or without a docstring.
"""

FUNCTIONS = [
    ("add", "returns the sum of two numbers", "a, b", "return a + b"),
    ("subtract", "returns the difference of two numbers", "a, b", "return a - b"),
    ("multiply", "returns the product of two numbers", "a, b", "return a * b"),
    ("divide", "divides two numbers", "a, b", "if b == 0:\n    return None\nreturn a / b"),
    ("square", "returns the square of a number", "x", "return x * x"),
    ("cube", "returns the cube of a number", "x", "return x * x * x"),
    ("double", "doubles a number", "x", "return 2 * x"),
    ("half", "halves a number", "x", "return x / 2"),
    ("negate", "negates a number", "x", "return -x"),
    ("absolute", "returns the absolute value of a number", "x", "if x < 0:\n    return -x\nreturn x"),
    ("is_even", "tells if a number is even", "n", "return n % 2 == 0"),
    ("is_odd", "tells if a number is odd", "n", "return n % 2 == 1"),
    ("is_positive", "tells if a number is positive", "x", "return x > 0"),
    ("larger", "returns the larger of two numbers", "a, b", "if a > b:\n    return a\nreturn b"),
    ("smaller", "returns the smaller of two numbers", "a, b", "if a < b:\n    return a\nreturn b"),
    ("total", "adds up a list", "items", "result = 0\nfor item in items:\n    result += item\nreturn result"),
    ("product", "multiplies the numbers of a list", "items", "result = 1\nfor item in items:\n    result *= item\nreturn result"),
    ("mean", "returns the mean of a list", "items", "return sum(items) / len(items)"),
    ("largest", "finds the largest item of a list", "items", "best = items[0]\nfor item in items:\n    if item > best:\n        best = item\nreturn best"),
    ("smallest", "finds the smallest item of a list", "items", "best = items[0]\nfor item in items:\n    if item < best:\n        best = item\nreturn best"),
    ("count", "counts how often a value is in a list", "items, value", "n = 0\nfor item in items:\n    if item == value:\n        n += 1\nreturn n"),
    ("contains", "tells if a value is in a list", "items, value", "for item in items:\n    if item == value:\n        return True\nreturn False"),
    ("first", "returns the first item of a list", "items", "return items[0]"),
    ("last", "returns the last item of a list", "items", "return items[-1]"),
    ("length", "returns the length of a list", "items", "return len(items)"),
    ("is_empty", "tells if a list is empty", "items", "return len(items) == 0"),
    ("reverse", "reverses a list", "items", "return items[::-1]"),
    ("reverse_text", "reverses a string", "text", "return text[::-1]"),
    ("upper", "turns a string into capitals", "text", "return text.upper()"),
    ("lower", "turns a string into small letters", "text", "return text.lower()"),
    ("is_palindrome", "tells if a string is a palindrome", "text", "return text == text[::-1]"),
    ("count_words", "counts the words of a text", "text", "return len(text.split())"),
    ("count_vowels", "counts the vowels of a text", "text", "n = 0\nfor c in text:\n    if c in 'aeiou':\n        n += 1\nreturn n"),
    ("join", "joins words with spaces", "words", "return ' '.join(words)"),
    ("sort", "sorts a list", "items", "return sorted(items)"),
    ("evens", "returns the even numbers of a list", "items", "return [x for x in items if x % 2 == 0]"),
    ("odds", "returns the odd numbers of a list", "items", "return [x for x in items if x % 2 == 1]"),
    ("squares", "returns the squares of a list", "items", "return [x * x for x in items]"),
    ("factorial", "returns the factorial of a number", "n", "if n <= 1:\n    return 1\nreturn n * factorial(n - 1)"),
    ("fibonacci", "returns a Fibonacci number", "n", "a, b = 0, 1\nfor _ in range(n):\n    a, b = b, a + b\nreturn a"),
    ("gcd", "returns the greatest common divisor of two numbers", "a, b", "while b:\n    a, b = b, a % b\nreturn a"),
    ("is_prime", "tells if a number is prime", "n", "if n < 2:\n    return False\nfor d in range(2, n):\n    if n % d == 0:\n        return False\nreturn True"),
    ("sum_to", "adds the numbers from one to n", "n", "return n * (n + 1) // 2"),
    ("power", "raises a number to a power", "x, n", "result = 1\nfor _ in range(n):\n    result *= x\nreturn result"),
    ("greet", "greets a person", "name", "return 'Hello, ' + name"),
    ("swap", "swaps two values", "a, b", "return b, a"),
    ("unique", "removes doubles from a list", "items", "result = []\nfor item in items:\n    if item not in result:\n        result.append(item)\nreturn result"),
    ("read_lines", "reads the lines of a file", "path", "with open(path) as f:\n    return f.readlines()"),
    ("write_text", "writes a text to a file", "path, text", "with open(path, 'w') as f:\n    f.write(text)"),
    ("clamp", "keeps a number between two limits", "x, low, high", "return max(low, min(x, high))"),
]

WORDINGS = [
    "Write a Python function that {x}.", "Write a function that {x}.", "Give me a Python function that {x}.",
    "Show me a function that {x}.", "Write Python code that {x}.", "In Python, write a function that {x}.",
    "I need a function that {x}.", "Can you write a function that {x}?",
]


def function_text(name, what, args, body, docstring):
    lines = [f"def {name}({args}):"]
    if docstring:
        lines.append(f'    """{what[0].upper() + what[1:]}."""')
    lines += ["    " + line for line in body.split("\n")]
    return "\n".join(lines)


def code_turn(rng):
    """One chat turn: a request in words, the function as the answer."""
    name, what, args, body = rng.choice(FUNCTIONS)
    return rng.choice(WORDINGS).format(x=what), function_text(name, what, args, body, False)


def code_document(rng):
    """A few functions with docstrings, as they stand in a file."""
    picks = rng.sample(FUNCTIONS, rng.randint(1, 3))
    return "\n\n\n".join(function_text(*f, docstring=True) for f in picks) + "\n"
