"""Every number that the score is made of; `score` says where each of them counts."""

LOOK = 0.25  # what a shape loses that looks wrong in every respect
STRANGER = 0.1  # what a shape is worth that takes the place of another with nothing to show that it is the one
CONNECTION = 0.5  # how much a connection counts beside a shape
LEFT_OUT = 0.1  # how much of that when one of its shapes was left out

FLAW = 0.5  # what a flaw of the layout leaves of a shape or a connection
WORSE = 0.4  # what each further degree leaves; from 0.5 on, copies laid over a bad shape would add to its worth

NUMBERING = 0.03  # what other numbers cost
BAD_LINES = 0.2  # what bad lines cost where there is nothing else
BLEMISH = 0.2  # how much of a bad line a blemish is
CUT = 0.1  # what it costs that the last line is not a whole shape
