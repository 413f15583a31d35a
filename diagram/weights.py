"""Every number that the score is made of. `score` says what each of them does."""

# Shapes and connections.
LOOK = 0.25  # what a shape loses that looks wrong in every respect
CONNECTION = 0.5  # how much a connection counts beside a shape
LEFT_OUT = 0.1  # how much of that is left when one of its shapes was left out
STRANGER = (
    0.1  # what a shape is worth that the alignment puts in the place of another, with nothing else to speak for it
)

# Flaws of the layout.
FLAW = 0.5  # what a flaw leaves of a shape or a connection
WORSE = 0.4  # and how much of that for each degree; below 0.5, or copies laid over a bad shape would add to its worth

# The text.
NUMBERING = 0.03  # what other numbers cost
BAD_LINES = 0.2  # what lines without a shape cost, the more of them there are
BLEMISH = 0.2  # how much of a bad line a blemish is
CUT = 0.1  # what an ending costs that is no shape
