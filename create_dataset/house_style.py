"""The house style: one look for each kind of shape. Training teaches it and the score rewards it."""

from dataclasses import dataclass

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


_BLUE, _GREEN, _ORANGE, _PURPLE, _GREY, _RED = (
    ((222, 235, 247), (49, 130, 189)),
    ((229, 245, 224), (49, 163, 84)),
    ((254, 230, 206), (230, 85, 13)),
    ((239, 237, 245), (117, 107, 177)),
    ((240, 240, 240), (99, 99, 99)),
    ((254, 224, 210), (203, 24, 29)),
)

HOUSE_STYLE: dict[str, Look] = {
    # flowcharts
    "data": Look("round rectangle", 90, 50, "solid arrow", *_BLUE),
    "text": Look("rectangle", 90, 50, "solid arrow", *_GREY),
    "picture": Look("rectangle", 70, 70, "solid arrow", *_GREEN),
    "database": Look("circle", 80, 80, "dashed line", *_BLUE),
    "chart": Look("rectangle", 80, 60, "dashed line", *_ORANGE),
    "function": Look("circle", 70, 70, "solid arrow", *_PURPLE),
    "process": Look("round rectangle", 90, 60, "solid arrow", *_GREY),
    "model": Look("round rectangle", 90, 70, "solid arrow", *_RED),
    # dense networks, neuron by neuron
    "input neuron": Look("circle", 50, 50, "solid line", *_BLUE),
    "hidden neuron": Look("circle", 50, 50, "solid line", *_GREY),
    "output neuron": Look("circle", 50, 50, "solid line", *_RED),
    # networks, layer by layer
    "input layer": Look("rectangle", 40, 160, "solid arrow", *_BLUE),
    "hidden layer": Look("rectangle", 40, 240, "solid arrow", *_GREY),
    "convolution layer": Look("rectangle", 40, 240, "solid arrow", *_ORANGE),
    "pooling layer": Look("rectangle", 30, 160, "solid arrow", *_GREEN),
    "dense layer": Look("round rectangle", 40, 200, "solid arrow", *_PURPLE),
    "output layer": Look("round rectangle", 40, 100, "solid arrow", *_RED),
}
