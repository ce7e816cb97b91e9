"""Tables behind the question generator (qa.py): plain facts, word lists and wordings.

Everything here was written by hand for this project. A wording has {x} where its subject goes.
"""

CAPITALS = {
    "France": "Paris", "England": "London", "Germany": "Berlin", "Italy": "Rome",
    "Spain": "Madrid", "Portugal": "Lisbon", "Greece": "Athens", "Austria": "Vienna",
    "Russia": "Moscow", "Poland": "Warsaw", "Hungary": "Budapest", "Norway": "Oslo",
    "Sweden": "Stockholm", "Denmark": "Copenhagen", "Finland": "Helsinki", "Ireland": "Dublin",
    "Scotland": "Edinburgh", "Belgium": "Brussels", "Egypt": "Cairo", "Kenya": "Nairobi",
    "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Turkey": "Ankara",
    "Canada": "Ottawa", "Mexico": "Mexico City", "Cuba": "Havana", "Peru": "Lima",
    "Chile": "Santiago", "Australia": "Canberra",
}
CAPITAL_WORDINGS = [
    "What is the capital of {x}?", "Which city is the capital of {x}?", "Name the capital of {x}.",
    "Tell me the capital of {x}.", "What city is the capital of {x}?",
    "Do you know the capital of {x}?", "I forgot the capital of {x}. What is it?",
    "What is the capital city of {x}?", "Which town is the capital of {x}?",
]

OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("tall", "short"), ("fast", "slow"), ("happy", "sad"),
    ("good", "bad"), ("old", "young"), ("rich", "poor"), ("light", "dark"), ("day", "night"),
    ("up", "down"), ("left", "right"), ("open", "closed"), ("full", "empty"), ("wet", "dry"),
    ("strong", "weak"), ("early", "late"), ("first", "last"), ("begin", "end"), ("love", "hate"),
    ("war", "peace"), ("true", "false"), ("yes", "no"), ("in", "out"), ("high", "low"),
    ("near", "far"), ("thick", "thin"), ("wide", "narrow"), ("hard", "soft"), ("cheap", "dear"),
    ("loud", "quiet"), ("clean", "dirty"), ("sweet", "sour"), ("north", "south"), ("east", "west"),
    ("black", "white"), ("above", "below"), ("inside", "outside"), ("front", "back"),
    ("buy", "sell"), ("win", "lose"), ("push", "pull"), ("brave", "cowardly"), ("friend", "enemy"),
    ("always", "never"), ("life", "death"), ("wise", "foolish"), ("safe", "dangerous"),
]
OPPOSITE_WORDINGS = [
    "What is the opposite of {x}?", "Give the opposite of {x}.", "Name the opposite of {x}.",
    "Which word is the opposite of {x}?", "Tell me the opposite of {x}.",
    "What word means the opposite of {x}?", "What is the contrary of {x}?",
    "Say the opposite of {x}.", "If it is not {x}, what is the opposite?",
]

# relation -> (wordings, {subject: answer})
ANIMALS = {
    "sound": ([
        "What sound does a {x} make?", "What does a {x} say?", "Which sound does a {x} make?",
        "Tell me the sound of a {x}.", "How does a {x} sound?", "What noise does a {x} make?",
        "What is the sound of a {x}?", "If you hear a {x}, what sound is it?",
    ], {"dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "pig": "oink", "duck": "quack",
        "horse": "neigh", "lion": "roar", "snake": "hiss", "bee": "buzz", "mouse": "squeak",
        "frog": "croak", "crow": "caw", "wolf": "howl", "dove": "coo", "hen": "cluck"}),
    "young": ([
        "What is a young {x} called?", "What do you call a young {x}?", "What is a baby {x} called?",
        "What do you call a baby {x}?", "Name the young of a {x}.", "What is the young of a {x}?",
        "What is the child of a {x} called?", "Which word means a young {x}?",
    ], {"dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "pig": "piglet",
        "duck": "duckling", "horse": "foal", "lion": "cub", "goose": "gosling", "hen": "chick",
        "goat": "kid", "frog": "tadpole", "swan": "cygnet", "deer": "fawn", "bear": "cub",
        "eagle": "eaglet"}),
    "home": ([
        "Where does a {x} live?", "What is the home of a {x}?", "What is the home of a {x} called?",
        "Name the home of a {x}.", "In what does a {x} live?", "Where is a {x} at home?",
        "Where would you find a {x} at home?", "Which place is the home of a {x}?",
    ], {"dog": "kennel", "bee": "hive", "bird": "nest", "horse": "stable", "pig": "sty",
        "spider": "web", "rabbit": "burrow", "lion": "den", "fish": "water", "king": "palace",
        "monk": "monastery", "hen": "coop"}),
    "legs": ([
        "How many legs does a {x} have?", "How many legs has a {x}?", "What number of legs has a {x}?",
        "Count the legs of a {x}.", "A {x} walks on how many legs?", "Tell me how many legs a {x} has.",
        "On how many legs does a {x} walk?", "How many legs are there on a {x}?",
    ], {"dog": "4", "cat": "4", "cow": "4", "horse": "4", "spider": "8", "bee": "6", "ant": "6",
        "fly": "6", "man": "2", "bird": "2", "duck": "2", "hen": "2", "snake": "0", "fish": "0",
        "lion": "4", "beetle": "6"}),
}

COLOURS = {
    "snow": "white", "grass": "green", "the sky": "blue", "coal": "black", "blood": "red",
    "milk": "white", "a lemon": "yellow", "a tomato": "red", "a raven": "black", "a banana": "yellow",
    "an emerald": "green", "a ruby": "red", "chocolate": "brown", "a carrot": "orange",
    "the sea": "blue", "a leaf": "green", "the sun": "yellow", "gold": "yellow", "a rose": "red",
    "ash": "grey", "a crow": "black", "a swan": "white", "an orange": "orange", "salt": "white",
    "an elephant": "grey", "a frog": "green", "ink": "black", "a cherry": "red", "butter": "yellow",
    "a violet": "purple", "a sapphire": "blue", "a flamingo": "pink",
}
COLOUR_WORDINGS = [
    "What colour is {x}?", "Which colour is {x}?", "What is the colour of {x}?",
    "Tell me the colour of {x}.", "Name the colour of {x}.", "What colour has {x}?",
    "What color is {x}?", "Of what colour is {x}?", "Do you know what colour {x} is?",
    "If you look at {x}, what colour do you see?",
]

AUTHORS = {
    "Hamlet": "William Shakespeare", "Moby Dick": "Herman Melville",
    "War and Peace": "Leo Tolstoy", "David Copperfield": "Charles Dickens",
    "The Brothers Karamazov": "Fyodor Dostoevsky", "Alice in Wonderland": "Lewis Carroll",
    "The Wizard of Oz": "L. Frank Baum", "Macbeth": "William Shakespeare",
    "Oliver Twist": "Charles Dickens", "Romeo and Juliet": "William Shakespeare",
    "The Cherry Orchard": "Anton Chekhov", "Robinson Crusoe": "Daniel Defoe",
}
AUTHOR_WORDINGS = [
    "Who wrote {x}?", "Who is the author of {x}?", "Name the author of {x}.",
    "By whom is {x}?", "Which author wrote {x}?",
    "Who was the writer of {x}?", "{x} is by whom?",
]

# facts asked in other words: answer, wordings
FACTS = [
    ("7", ["How many days are in a week?", "How many days does a week have?", "A week has how many days?",
           "What is the number of days in a week?", "Tell me how many days a week has.", "How many days make a week?"]),
    ("12", ["How many months are in a year?", "How many months does a year have?", "A year has how many months?",
            "What is the number of months in a year?", "Tell me how many months a year has.", "How many months make a year?"]),
    ("24", ["How many hours are in a day?", "How many hours does a day have?", "A day has how many hours?",
            "What is the number of hours in a day?", "Tell me how many hours a day has.", "How many hours make a day?"]),
    ("60", ["How many minutes are in an hour?", "How many minutes does an hour have?", "An hour has how many minutes?",
            "What is the number of minutes in an hour?", "Tell me how many minutes an hour has.", "How many minutes make an hour?"]),
    ("60", ["How many seconds are in a minute?", "How many seconds does a minute have?", "A minute has how many seconds?",
            "What is the number of seconds in a minute?", "Tell me how many seconds a minute has.", "How many seconds make a minute?"]),
    ("100", ["How many years are in a century?", "How many years does a century have?", "A century has how many years?",
             "What is the number of years in a century?", "Tell me how many years a century has.", "How many years make a century?"]),
    ("365", ["How many days are in a year?", "How many days does a year have?", "A year has how many days?",
             "What is the number of days in a year?", "Tell me how many days a year has.", "How many days make a year?"]),
    ("12", ["How many are in a dozen?", "How many things are in a dozen?", "A dozen is how many?",
            "What number is a dozen?", "Tell me how many a dozen is.", "How many eggs make a dozen?"]),
    ("26", ["How many letters are in the alphabet?", "How many letters does the alphabet have?",
            "The alphabet has how many letters?", "What is the number of letters in the alphabet?",
            "Tell me how many letters the alphabet has.", "How many letters make the alphabet?"]),
    ("3", ["How many sides does a triangle have?", "How many sides has a triangle?", "A triangle has how many sides?",
           "What is the number of sides of a triangle?", "Tell me how many sides a triangle has.", "Count the sides of a triangle."]),
    ("4", ["How many sides does a square have?", "How many sides has a square?", "A square has how many sides?",
           "What is the number of sides of a square?", "Tell me how many sides a square has.", "Count the sides of a square."]),
    ("4", ["How many seasons are in a year?", "How many seasons does a year have?", "A year has how many seasons?",
           "What is the number of seasons in a year?", "Tell me how many seasons a year has.", "How many seasons make a year?"]),
    ("10", ["How many fingers do you have on two hands?", "How many fingers are on two hands?", "Two hands have how many fingers?",
            "What is the number of fingers on two hands?", "Tell me how many fingers two hands have.", "Count the fingers of two hands."]),
    ("water", ["What is ice made of?", "Of what is ice made?", "Ice is made of what?", "What does ice become when it melts?",
               "Tell me what ice is made of.", "What do you get when ice melts?"]),
    ("the moon", ["What goes around the earth?", "What shines in the sky at night?", "Which body goes around the earth?",
                  "What moves around the earth?", "Tell me what goes around the earth.", "What lights the night?"]),
    ("the sun", ["What gives us light by day?", "What shines in the sky by day?", "Around what does the earth go?",
                 "What does the earth go around?", "Tell me what shines by day.", "What lights the day?"]),
    ("bees", ["Who makes honey?", "Which animals make honey?", "Honey is made by whom?", "What animals make honey?",
              "Tell me who makes honey.", "Name the animals that make honey."]),
    ("cows", ["Who gives us milk?", "Which animals give us milk?", "Milk comes from which animals?", "What animals give us milk?",
              "Tell me who gives us milk.", "Name the animals that give us milk."]),
    ("the whale", ["What is the biggest animal?", "Which animal is the biggest?", "Which is the largest animal?",
                   "Tell me the biggest animal.", "Name the biggest animal.", "What is the largest of all animals?"]),
    ("winter", ["Which season is the coldest?", "What is the coldest season?", "Name the coldest season.",
                "Tell me the coldest season.", "When does it snow?", "In which season does it snow?"]),
    ("summer", ["Which season is the warmest?", "What is the warmest season?", "Name the warmest season.",
                "Tell me the warmest season.", "Which season is the hottest?", "What is the hottest season?"]),
    ("in the east", ["Where does the sun rise?", "In which direction does the sun rise?", "The sun rises where?",
                     "Tell me where the sun rises.", "On which side does the sun rise?", "Do you know where the sun rises?"]),
    ("in the west", ["Where does the sun set?", "In which direction does the sun set?", "The sun sets where?",
                     "Tell me where the sun sets.", "On which side does the sun set?", "Do you know where the sun sets?"]),
    ("def", ["Which keyword defines a function in Python?", "What keyword starts a function in Python?",
             "How do you begin a function in Python?", "Name the Python keyword for a function.",
             "Which word starts a function in Python?", "Tell me the Python keyword for a function."]),
    ("class", ["Which keyword defines a class in Python?", "What keyword starts a class in Python?",
               "How do you begin a class in Python?", "Name the Python keyword for a class.",
               "Which word starts a class in Python?", "Tell me the Python keyword for a class."]),
    ("import", ["Which keyword loads a module in Python?", "What keyword loads a module in Python?",
                "How do you load a module in Python?", "Name the Python keyword that loads a module.",
                "Which word loads a module in Python?", "Tell me the Python keyword that loads a module."]),
    ("print", ["Which function prints text in Python?", "What function prints text in Python?",
               "How do you print text in Python?", "Name the Python function that prints text.",
               "Which word prints text in Python?", "Tell me the Python function that prints text."]),
    ("len", ["Which function gives the length of a list in Python?", "What function gives the length of a list in Python?",
             "How do you get the length of a list in Python?", "Name the Python function for the length of a list.",
             "Which word gives the length of a list in Python?", "Tell me the Python function for the length of a list."]),
]

IDENTITY = [
    ("I am the demo model of ruvllm.", [
        "Who are you?", "What are you?", "Tell me who you are.", "Who am I talking to?", "Introduce yourself.",
        "Please say who you are.", "What is your name?", "Do you have a name?", "Say who you are.", "And who are you?"]),
    ("ruvllm is an engine that runs language models.", [
        "What is ruvllm?", "Tell me what ruvllm is.", "Explain ruvllm.", "What does ruvllm do?", "What kind of program is ruvllm?",
        "Do you know what ruvllm is?", "Say what ruvllm is.", "Describe ruvllm.", "What is ruvllm for?", "ruvllm, what is that?"]),
    ("C++", [
        "In which language is ruvllm written?", "What language is ruvllm written in?", "Which language was ruvllm written in?",
        "Name the language of ruvllm.", "In what language is ruvllm made?", "ruvllm is written in which language?",
        "Tell me the language ruvllm is written in.", "What programming language does ruvllm use?"]),
    ("I was trained by the ruvllm project.", [
        "Who made you?", "Who trained you?", "Who created you?", "Who built you?", "By whom were you made?",
        "Where do you come from?", "Tell me who made you.", "Who is your maker?"]),
    ("I have about five million parameters.", [
        "How big are you?", "How many parameters do you have?", "How large are you?", "What is your size?",
        "Tell me how big you are.", "How many weights do you have?", "Are you a big model?", "What size are you?"]),
    ("I was trained on old books, Python code and small questions.", [
        "What were you trained on?", "On what were you trained?", "What did you learn from?", "What have you read?",
        "Tell me what you were trained on.", "Which texts did you learn from?", "What is your training data?", "From what did you learn?"]),
    ("I can write old prose, small Python functions and answer small questions.", [
        "What can you do?", "How can you help me?", "What are you good at?", "Tell me what you can do.",
        "What can I ask you?", "What do you know?", "In what can you help?", "What are you able to do?"]),
    ("No, I am a small language model.", [
        "Are you a human?", "Are you a person?", "Are you alive?", "Are you a man?", "Are you a woman?", "Are you a real person?",
        "Am I talking to a human?", "Am I talking to a person?"]),
]

SMALL_TALK = [
    ("Hello! How can I help you?", ["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Good morning", "Good day", "Hey", "Good evening", "Hello there!", "Greetings"]),
    ("You are welcome!", ["Thank you", "Thanks", "Thank you!", "Thanks!", "Thank you very much", "Many thanks", "Thanks a lot"]),
    ("Goodbye!", ["Goodbye", "Bye", "Bye!", "Good night", "See you", "Farewell", "I must go"]),
    ("I am well, thank you. And you?", ["How are you?", "How do you do?", "How are you today?", "Are you well?", "How is it going?"]),
    ("I am glad to hear it.", ["I am well", "I am fine", "I am happy", "All is well", "I feel good"]),
    ("I am sorry to hear it.", ["I am sad", "I am tired", "I am ill", "I feel bad", "I am unhappy"]),
    ("I do not know.", ["What will happen tomorrow?", "What is the meaning of life?", "Who will win?", "What is my age?",
                        "Where am I?", "What time is it?", "What is the weather?", "What is the news?", "Will it rain tomorrow?"]),
]

SPELL_WORDS = """garden house water bread horse river stone table chair window door light night morning
summer winter spring apple orange lemon banana cherry tomato flower forest mountain valley island ocean
letter paper pencil school teacher student doctor farmer soldier sailor king queen prince castle church
village city street bridge train wagon carriage engine machine hammer candle silver copper iron gold
diamond father mother brother sister uncle cousin friend enemy stranger neighbour animal rabbit tiger
monkey elephant eagle pigeon spider butterfly hunter fisher butcher baker market basket bottle glass
plate spoon knife dinner supper breakfast butter cheese honey sugar coffee music song dance story
history science number circle square triangle python code model engine planet star moon cloud thunder
rain snow wind storm fire smoke dust earth field grass tree leaf branch root seed hand foot head heart
finger shoulder mouth nose eye ear blood bone""".split()
SPELL_WORDS = sorted(set(SPELL_WORDS))
SPELL_WORDINGS = [
    "Spell the word {x}.", "Spell out {x}.", "How do you spell {x}?", "How is {x} spelled?",
    "Tell me how to spell {x}.", "What is the spelling of {x}?",
    "Write {x} letter by letter.", "What are the letters of {x}?", "Give me the letters of {x}.",
]

PLURALS = {
    "cat": "cats", "dog": "dogs", "house": "houses", "man": "men", "woman": "women", "child": "children",
    "foot": "feet", "tooth": "teeth", "mouse": "mice", "goose": "geese", "ox": "oxen", "sheep": "sheep",
    "box": "boxes", "fox": "foxes", "bus": "buses", "city": "cities", "lady": "ladies", "baby": "babies",
    "knife": "knives", "wife": "wives", "leaf": "leaves", "wolf": "wolves", "book": "books", "tree": "trees",
    "horse": "horses", "king": "kings", "queen": "queens", "church": "churches", "dish": "dishes", "story": "stories",
    "day": "days", "boy": "boys", "girl": "girls", "friend": "friends", "river": "rivers", "hero": "heroes",
}
PLURAL_WORDINGS = [
    "What is the plural of {x}?", "Give the plural of {x}.", "Name the plural of {x}.",
    "Tell me the plural of {x}.", "What is more than one {x}?", "One {x}, two what?",
    "How do you say more than one {x}?", "Write the plural of {x}.", "Which word is the plural of {x}?",
]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
AFTER_WORDINGS = [
    "Which {k} comes after {x}?", "What {k} comes after {x}?", "What is the {k} after {x}?", "Which {k} follows {x}?",
    "Name the {k} after {x}.", "Tell me the {k} that follows {x}.", "After {x} comes which {k}?", "What {k} is next after {x}?",
]
BEFORE_WORDINGS = [
    "Which {k} comes before {x}?", "What {k} comes before {x}?", "What is the {k} before {x}?", "Which {k} precedes {x}?",
    "Name the {k} before {x}.", "Tell me the {k} that precedes {x}.", "Before {x} comes which {k}?", "What {k} is just before {x}?",
]

# (small unit, big unit singular, big unit plural, factor, largest count)
UNITS = [
    ("minutes", "hour", "hours", 60, 9), ("seconds", "minute", "minutes", 60, 9), ("days", "week", "weeks", 7, 9),
    ("hours", "day", "days", 24, 5), ("inches", "foot", "feet", 12, 9), ("months", "year", "years", 12, 9),
    ("centimetres", "metre", "metres", 100, 9), ("metres", "kilometre", "kilometres", 1000, 9),
    ("grams", "kilogram", "kilograms", 1000, 9), ("feet", "yard", "yards", 3, 9), ("pence", "pound", "pounds", 100, 9),
    ("years", "century", "centuries", 100, 9), ("millimetres", "centimetre", "centimetres", 10, 9),
]
UNIT_WORDINGS = [
    "How many {s} are in {n} {b}?", "How many {s} are {n} {b}?", "Convert {n} {b} to {s}.", "What is {n} {b} in {s}?",
    "How many {s} is {n} {b}?", "Change {n} {b} into {s}.", "{n} {b} is how many {s}?", "Express {n} {b} in {s}.",
    "Tell me how many {s} there are in {n} {b}.", "Turn {n} {b} into {s}.",
]

NOUNS = """apple pear plum dog cat cow horse book pen cup hat coat shoe ring coin star stone tree flower bird fish
egg cake nut rose boat bell key lamp door""".split()
PLURAL_NOUNS = "apples pears plums dogs cats cows horses books pens cups hats coats rings coins stars stones trees birds eggs cakes nuts roses boats bells keys lamps".split()
NAMES = "Anna Tom Mary John Peter Alice Jack Emma Paul Lucy Oliver Sarah Henry Jane Ivan Masha Robert Clara".split()
ADD_WORDINGS = [
    "What is {a} + {b}?", "What is {a} plus {b}?", "How much is {a} plus {b}?", "How much is {a} + {b}?", "{a} + {b} =",
    "Add {a} and {b}.", "What is the sum of {a} and {b}?", "{a} plus {b} is what?", "Compute {a} + {b}.", "Add {b} to {a}.",
    "I have {a} {p} and get {b} more. How many {p} do I have?", "{m} has {a} {p} and finds {b} more. How many {p} now?",
    "There are {a} {p} here and {b} {p} there. How many {p} in all?",
]
SUB_WORDINGS = [
    "What is {a} - {b}?", "What is {a} minus {b}?", "How much is {a} minus {b}?", "How much is {a} - {b}?", "{a} - {b} =",
    "Take {b} from {a}.", "Subtract {b} from {a}.", "{a} minus {b} is what?", "Compute {a} - {b}.", "{a} less {b} is what?",
    "I have {a} {p} and lose {b}. How many {p} are left?", "{m} has {a} {p} and gives away {b}. How many {p} now?",
    "There were {a} {p} and {b} were eaten. How many {p} are left?",
]
COUNT_WORDINGS = [
    "How many things are in this list: {l}?", "How many words are in this list: {l}?", "Count the words: {l}.",
    "Count these things: {l}.", "How many are there: {l}?", "How long is this list: {l}?", "Count the list: {l}.",
    "How many words do you see: {l}?",
]
SORT_WORDINGS = [
    "Sort these numbers: {l}.", "Sort {l}.", "Put these numbers in order: {l}.", "Order these numbers: {l}.",
    "Sort the numbers {l}.", "Write these numbers from small to large: {l}.", "Arrange {l} from small to large.",
    "Put {l} in order.",
]
COMPARE_WORDINGS = [
    ("max", "Which is larger, {a} or {b}?"), ("max", "Which number is bigger, {a} or {b}?"), ("max", "What is the larger of {a} and {b}?"),
    ("max", "Which is more, {a} or {b}?"), ("max", "Tell me the bigger number: {a} or {b}."),
    ("min", "Which is smaller, {a} or {b}?"), ("min", "Which number is smaller, {a} or {b}?"), ("min", "What is the smaller of {a} and {b}?"),
    ("min", "Which is less, {a} or {b}?"), ("min", "Tell me the smaller number: {a} or {b}."),
]
NUMBER_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty""".split()
WORD_TO_DIGIT = ["Write {x} in digits.", "Which number is {x}?", "Write the number {x} in figures.", "What is {x} in digits?", "Give {x} as a number."]
DIGIT_TO_WORD = ["Write {x} in words.", "How do you write {x} in words?", "What is {x} in words?", "Spell the number {x} in words.", "Give {x} in words."]
FIRST_LETTER = ["What is the first letter of {x}?", "Which letter does {x} begin with?", "With which letter does {x} begin?", "Name the first letter of {x}.", "What letter starts {x}?"]
LAST_LETTER = ["What is the last letter of {x}?", "Which letter does {x} end with?", "With which letter does {x} end?", "Name the last letter of {x}.", "What letter ends {x}?"]
