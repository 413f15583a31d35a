"""The constants of the score. `diagram.score` gives the formulas that use them."""

LOOK = 0.25  # share of a shape's worth that depends on its look
LABEL = 0.5  # share of a shape's worth that depends on its label, if the reference has one
UNCONFIRMED = 0.1  # factor for a shape that was matched although nothing confirms that it is the right one
CONNECTION = 0.5  # weight of a connection; a shape weighs 1
END_LEFT_OUT = 0.1  # factor for the weight of a connection with an end that was left out

FLAW = 0.5  # factor for a shape or a connection with a flaw in its layout
WORSE = 0.4  # further factor, to the power of the flaw's degree. With 0.5 or more, copying a flawed shape would pay off
MISFIT = 0.8  # factor for a shape whose label does not fit. A label that is left out costs more
MORE_LOST = 0.7  # further factor, to the power of the share of the label that is not shown

NUMBERING = 0.03  # cost of other numbers or another order of the lines, once per answer
BAD_LINES = 0.2  # cost of a text that has hardly anything but bad lines
BLEMISH = 0.2  # how bad a line with one blemish is; a line that could not be read is 1
CUT_OFF = 0.1  # cost of a last line that holds no new shape
