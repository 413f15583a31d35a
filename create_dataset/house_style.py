"""The house style: one look for each kind of shape. Training teaches it and the score rewards it."""

from dataclasses import dataclass, replace

from diagram.language import Colour


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of shape is drawn. Sizes are in pixels; `line` is the style of its outgoing connections."""

    shape: str
    width: int
    height: int
    line: str
    fill: Colour
    outline: Colour

    def turned(self) -> "Look":
        """The look of a layer in a network that runs from top to bottom: a flat box with one line of text."""
        return replace(self, width=self.height, height=LAYER_HEIGHT)


LAYER_WIDTH, LAYER_HEIGHT = 64, 36  # of a layer in a network from left to right, and from top to bottom
_BLUE, _GREEN, _ORANGE, _PURPLE, _GREY, _RED, _TEAL, _YELLOW = (
    ((222, 235, 247), (49, 130, 189)),
    ((229, 245, 224), (49, 163, 84)),
    ((254, 230, 206), (230, 85, 13)),
    ((239, 237, 245), (117, 107, 177)),
    ((240, 240, 240), (99, 99, 99)),
    ((254, 224, 210), (203, 24, 29)),
    ((213, 240, 238), (1, 133, 113)),
    ((255, 247, 188), (190, 140, 0)),
)

HOUSE_STYLE: dict[str, Look] = {
    # flowcharts
    "data": Look("round rectangle", 110, 50, "solid arrow", *_BLUE),
    "document": Look("rectangle", 110, 60, "solid arrow", *_GREY),
    "picture": Look("rectangle", 110, 70, "solid arrow", *_GREEN),
    "database": Look("circle", 116, 76, "solid arrow", *_BLUE),
    "chart": Look("rectangle", 110, 60, "dashed line", *_ORANGE),
    "function": Look("circle", 116, 70, "solid arrow", *_PURPLE),
    "process": Look("round rectangle", 110, 60, "solid arrow", *_GREY),
    "model": Look("round rectangle", 110, 70, "solid arrow", *_RED),
    "service": Look("rectangle", 110, 50, "solid arrow", *_TEAL),
    "person": Look("circle", 100, 70, "solid arrow", *_YELLOW),
    "decision": Look("circle", 116, 66, "solid arrow", *_ORANGE),
    # dense networks, neuron by neuron
    "input neuron": Look("circle", 50, 50, "solid line", *_BLUE),
    "hidden neuron": Look("circle", 50, 50, "solid line", *_GREY),
    "output neuron": Look("circle", 50, 50, "solid line", *_RED),
    # networks, layer by layer
    "input layer": Look("rectangle", LAYER_WIDTH, 160, "solid arrow", *_BLUE),
    "embedding layer": Look("rectangle", LAYER_WIDTH, 200, "solid arrow", *_TEAL),
    "hidden layer": Look("rectangle", LAYER_WIDTH, 240, "solid arrow", *_GREY),
    "convolution layer": Look("rectangle", LAYER_WIDTH, 240, "solid arrow", *_ORANGE),
    "pooling layer": Look("rectangle", LAYER_WIDTH, 160, "solid arrow", *_GREEN),
    "recurrent layer": Look("round rectangle", LAYER_WIDTH, 240, "solid arrow", *_YELLOW),
    "attention layer": Look("round rectangle", LAYER_WIDTH, 240, "solid arrow", *_ORANGE),
    "norm layer": Look("rectangle", LAYER_WIDTH, 120, "solid arrow", *_GREY),
    "dense layer": Look("round rectangle", LAYER_WIDTH, 200, "solid arrow", *_PURPLE),
    "output layer": Look("round rectangle", LAYER_WIDTH, 120, "solid arrow", *_RED),
}
