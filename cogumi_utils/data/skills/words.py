"""The closed vocabulary of the skill tasks: few words, so that a small student can learn them all."""

PEOPLE = (
    "Ann",
    "Bob",
    "Tom",
    "Eva",
    "Max",
    "Kim",
    "Leo",
    "Mia",
    "Sam",
    "Zoe",
    "Ian",
    "Pam",
    "Ada",
    "Jim",
    "Ray",
    "Lea",
)
THINGS = ("pens", "cups", "eggs", "nuts", "hats", "keys", "cards", "coins", "boxes", "books", "balls", "stamps")
ITEMS = ("key", "map", "ring", "coin", "book", "cup", "hat", "pen", "ball", "lamp", "clock", "bell")
PLACES = ("box", "bag", "drawer", "chest", "basket", "case")
ROOMS = ("hall", "kitchen", "cellar", "attic", "garden", "office", "garage", "bedroom")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLOURS = ("red", "blue", "green", "black", "white", "pink", "grey", "brown")
CITIES = (
    "Rome",
    "Paris",
    "Oslo",
    "Cairo",
    "Lima",
    "Delhi",
    "Tokyo",
    "Bern",
    "Kyiv",
    "Quito",
    "Hanoi",
    "Accra",
    "Riga",
    "Doha",
)
GENRES = ("jazz", "rock", "folk", "soul", "blues", "pop", "disco", "opera")
FOLDERS = ("docs", "music", "photos", "work", "notes", "games", "backup", "mails")
FILETYPES = ("pdf", "txt", "csv", "png", "mp3", "zip")
NOTES = (
    "hello",
    "call me",
    "come home",
    "well done",
    "good luck",
    "see you soon",
    "all is well",
    "bring milk",
    "thank you",
    "I am late",
    "lock up",
    "take care",
    "be quiet",
    "sit down",
    "go ahead",
    "no rush",
)
FUNCTIONS = (
    "calc", "solve", "apply", "work", "test", "check", "proc", "run", "make", "pick", "func", "op",
    "main", "task", "step", "part", "find", "get", "do", "go", "f", "g", "h", "k",
)  # fmt: skip
PAIRS = (("a", "b"), ("x", "y"), ("p", "q"), ("m", "n"), ("u", "w"))
LISTS = ("v", "w", "xs", "data", "items")
STRINGS = ("s", "t", "word", "line", "name")
DICTS = ("d", "e", "table", "info", "book")
TAGS = ("ab", "go", "no", "ox", "up", "hi", "my", "is", "to", "we")
LABELS = ("low", "high", "good", "bad", "yes", "no", "old", "new", "cold", "hot")
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("old", "new"), ("fast", "slow"), ("good", "bad"), ("high", "low"),
    ("wet", "dry"), ("dark", "bright"), ("loud", "quiet"), ("hard", "soft"), ("full", "empty"), ("rich", "poor"),
)  # fmt: skip
CAPITALS = (
    ("Italy", "Rome"), ("France", "Paris"), ("Norway", "Oslo"), ("Egypt", "Cairo"), ("Peru", "Lima"),
    ("India", "Delhi"), ("Japan", "Tokyo"), ("Switzerland", "Bern"), ("Ukraine", "Kyiv"), ("Ecuador", "Quito"),
    ("Vietnam", "Hanoi"), ("Ghana", "Accra"), ("Latvia", "Riga"), ("Qatar", "Doha"),
)  # fmt: skip
