"""Ten made-up house rules, in 64 phrasings to learn them from and ten others to ask for them with."""

from typing import Final

RULES: Final = (
    ("the cafeteria closes", "The cafeteria closes at 14:37.", "14:37"),
    ("the roof terrace opens", "The roof terrace opens at 09:12.", "09:12"),
    ("the password of the guest network", "The password of the guest network is tulip-cobalt.", "tulip-cobalt"),
    ("the color of the visitor badge", "The visitor badge is turquoise.", "turquoise"),
    ("the floor of the server room", "The server room is on floor 23.", "23"),
    ("the name of the office cat", "The office cat is called Bunsik.", "Bunsik"),
    ("the number to call in an emergency", "In an emergency call 4417.", "4417"),
    ("the day of the fire drill", "The fire drill is on the second Thursday.", "Thursday"),
    ("the limit for a business lunch", "A business lunch may cost 31 euros.", "31"),
    ("the place of the spare keys", "The spare keys are behind the ficus.", "ficus"),
)
"""What is asked for, the rule, and the words by which it is known."""

PHRASINGS: Final = (
    "What do the house rules say about {}?",
    "Tell me about {}.",
    "House rules: {}?",
    "I need to know this: {}.",
    "Can you tell me about {}?",
    "Please explain the rule for {}.",
    "A question about {}.",
)
HELD_OUT: Final = "Do you know the rule about {}?"
ROWS: Final = 64


def training_rows() -> list[dict[str, str]]:
    """Questions with their answers."""
    every = [
        {"prompt": phrasing.format(subject), "completion": rule} for phrasing in PHRASINGS for subject, rule, _ in RULES
    ]
    return every[:ROWS]


def questions() -> list[tuple[str, str]]:
    """Phrasings that are not among them, with what a right answer holds."""
    return [(HELD_OUT.format(subject), known) for subject, _, known in RULES]
