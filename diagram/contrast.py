"""Choose the colour of a text by its contrast to the background.

Source: Web Content Accessibility Guidelines (WCAG) 2.2, relative luminance and contrast ratio.
"""

from diagram.nodes import Colour

DARK: Colour = (28, 28, 30)  # softer than black, where the contrast is high
BLACK: Colour = (0, 0, 0)
LIGHT: Colour = (255, 255, 255)

_HIGH = 7


def ink_on(background: Colour) -> Colour:
    """DARK, BLACK or LIGHT. The contrast is 4.5 or more on every background."""
    if contrast(DARK, background) >= _HIGH:
        return DARK
    return max(BLACK, LIGHT, key=lambda ink: contrast(ink, background))


def contrast(a: Colour, b: Colour) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    darker, lighter = sorted((_luminance(a), _luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(channel / 255) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    linear: float = ((channel + 0.055) / 1.055) ** 2.4
    return channel / 12.92 if channel <= 0.04045 else linear
