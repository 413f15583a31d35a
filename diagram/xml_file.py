"""Write an XML file: what the SVG and the draw.io writer share. ElementTree escapes every value that it writes."""

from xml.etree import ElementTree

from diagram.nodes import Colour


def xml_file(root: ElementTree.Element) -> bytes:
    """An indented XML file, UTF-8, with a declaration."""
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def number(value: float) -> str:
    """A number with three decimals at most, and never an exponent: 0.5, 120, -0.333."""
    return repr(round(float(value), 3) + 0.0).removesuffix(".0")  # + 0.0 turns -0.0 into 0.0


def hexadecimal(colour: Colour) -> str:
    """A colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
