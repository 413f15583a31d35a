"""Fill areas of an image that shows a part of the canvas. All coordinates are canvas pixels."""

from collections.abc import Callable
from math import ceil, floor, hypot, sqrt

from PIL import Image, ImageChops, ImageDraw

from diagram.nodes import Colour, Node
from diagram.picture_geometry import STROKE, Box, corner_radius

_MIN_STROKE = 1.25  # pixels of the picture; thinner lines would lose their colour


class Pen:
    """Fills areas, given in canvas pixels, of an image that shows the part of the canvas in `crop`."""

    def __init__(self, image: Image.Image, crop: Box, supersampling: int, stroke: float | None = None) -> None:
        self._image, self._draw = image, ImageDraw.Draw(image)
        self._width, self._height = image.size
        self._scale = image.width / crop.width
        self.crop = crop
        self.stroke = stroke or max(STROKE, _MIN_STROKE * supersampling / self._scale)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """A point of the canvas in pixels of the image."""
        return (x - self.crop.left) * self._scale, (y - self.crop.top) * self._scale

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A line as wide as the pen's stroke. Pillow's own wide lines are a fifth thinner at some angles."""
        dx, dy = x1 - x0, y1 - y0
        length = hypot(dx, dy)
        surplus = abs(dy) / length if dy else 1.0  # Pillow's polygons include their last pixels
        half = max(0.5, self.stroke * self._scale - surplus) / (2 * length)
        (x0, y0), (x1, y1) = self._at(x0, y0), self._at(x1, y1)
        corners = (
            (x0 - half * dy, y0 + half * dx),
            (x1 - half * dy, y1 + half * dx),
            (x1 + half * dy, y1 - half * dx),
            (x0 + half * dy, y0 - half * dx),
        )
        self._draw.polygon([(x + 0.5, y + 0.5) for x, y in corners], fill=colour)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self._draw.polygon([(round(x), round(y)) for x, y in (self._at(*point) for point in points)], fill=colour)

    def box(self, node: Node, inset: float, colour: Colour | int) -> None:
        half_width, half_height = node.width / 2 - inset, node.height / 2 - inset
        x0, y0 = map(round, self._at(node.x - half_width, node.y - half_height))
        x1, y1 = map(round, self._at(node.x + half_width, node.y + half_height))
        corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))  # Pillow's boxes include their last pixel
        self._draw.rounded_rectangle(corners, max(0.0, corner_radius(node) - inset) * self._scale, fill=colour)

    def shape(self, node: Node, inset: float, colour: Colour | int) -> None:
        """Fill a shape, smaller by `inset` on every side."""
        fill = self.ellipse if node.shape == "circle" else self.box
        fill(node, inset, colour)

    def stamp(self, node: Node, box: Box, picture: Callable[[float], Image.Image], colour: Colour) -> None:
        """Colour the part of a shape, within its border, where a grey picture is white. The picture fills the box;
        it is made for a scale in pixels per canvas pixel, and may have another one."""
        left, top = self._at(box.left, box.top)
        right, bottom = self._at(box.right, box.bottom)
        x0, y0 = max(0, floor(left)), max(0, floor(top))
        x1, y1 = min(self._width, ceil(right)), min(self._height, ceil(bottom))
        if x0 >= x1 or y0 >= y1:
            return
        grey = picture(self._scale)
        part = self._part(x0, y0, x1, y1)
        if (grey.width, grey.height) == (round(right - left), round(bottom - top)):
            mask = Image.new("L", (x1 - x0, y1 - y0))
            mask.paste(grey, (round(left) - x0, round(top) - y0))
        else:
            across, down = grey.width / (right - left), grey.height / (bottom - top)
            source = (x0 - left) * across, (y0 - top) * down, (x1 - left) * across, (y1 - top) * down
            source = max(0.0, source[0]), max(0.0, source[1]), min(grey.width, source[2]), min(grey.height, source[3])
            mask = grey.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, source)
        inside = Image.new("L", mask.size)
        Pen(inside, part, 1, self.stroke).shape(node, self.stroke, 255)
        self._image.paste(colour, (x0, y0), ImageChops.multiply(mask, inside))

    def _part(self, x0: int, y0: int, x1: int, y1: int) -> Box:
        """The part of the canvas that pixels of the image show."""
        left, top, scale = self.crop.left, self.crop.top, self._scale
        return Box(left + x0 / scale, top + y0 / scale, left + x1 / scale, top + y1 / scale)

    def ellipse(self, node: Node, inset: float, colour: Colour | int) -> None:
        """Filled row by row, because Pillow's own ellipse overflows if a side exceeds about 50,000 pixels."""
        x, y = self._at(node.x, node.y)
        half_width, half_height = (node.width / 2 - inset) * self._scale, (node.height / 2 - inset) * self._scale
        for row in range(max(0, floor(y - half_height)), min(self._height, floor(y + half_height) + 1)):
            reach = half_width * sqrt(max(0.0, 1 - ((row + 0.5 - y) / half_height) ** 2))
            x0, x1 = max(0, round(x - reach)), min(self._width, round(x + reach)) - 1
            if x0 <= x1:
                self._draw.rectangle((x0, row, x1, row), fill=colour)
