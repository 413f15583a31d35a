"""Feed a million damaged lines to the parser, the score, the pictures, the log's escaping and the CSV reader.

None of them may raise.

    python benchmarks/fuzz.py                     a million lines
    python benchmarks/fuzz.py --lines 20000       a quick run

Pieces of the committed CSV are deleted, repeated, reversed, or replaced by strings that often break parsers. Half of
the references get labels, of such strings too. One answer of a hundred is drawn as SVG and draw.io, and some as PNG.
The first failure ends the run with a traceback.
"""

import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from tqdm import tqdm

from benchmarks.report import benchmark_parser, flags_given, report
from diagram import Diagram, format, parse, score_diagram
from diagram.draw import draw
from diagram.drawio import drawio
from diagram.labels import read_label
from diagram.svg import svg
from fine_tuning.data.csv_rows import read_rows
from fine_tuning.run.errors import UserError
from fine_tuning.run.markdown import escape, table

PROJECT = Path(__file__).resolve().parent.parent
WORDS = ["sales data", "conv 3x3, 32", "Load into warehouse", "데이터 수집", "x1", 'user\'s "id"', "C:\\temp", "é" * 30]
NASTY_STRINGS = [
    *"[](){},'\"\\#\n\r\t\0 0-.eEjx_", "[" * 300, "9" * 5_000, "1e999", "nan", "True", "None", "lambda: 0",
    "__import__", "\u202e", "\ud83d", "\U0001f600", "\x1b[2J", "내", "|", "<script>", "](http://x)", "\x85", "\u2028",
]  # fmt: skip


def damaged(text: str, rng: random.Random) -> str:
    """Return the text with 0 to 20 random errors in it."""
    for _ in range(rng.choice((0, 1, 1, 2, 5, 20))):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 1, 3, 40)))
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:start] + rng.choice(NASTY_STRINGS) + text[end:]
        elif kind == 2:
            text = text[:end] + text[start:]
        elif kind == 3:
            text = text[:start] + text[start:end][::-1] + text[end:]
        else:
            text = text[:start] + chr(rng.randrange(0x11_0000)) + text[end:]
    return text if rng.random() < 0.9 else text[: rng.randrange(len(text) + 1)]


def with_labels(reference: str, rng: random.Random) -> str:
    """The reference with a label for some of its shapes, of words and of nasty strings."""
    nodes = []
    for node in parse(reference).nodes:
        words = [rng.choice((rng.choice(WORDS), rng.choice(NASTY_STRINGS))) for _ in range(rng.randrange(4))]
        label, _ = read_label(" ".join(words))
        nodes.append(replace(node, label=label if rng.random() < 0.9 else None))
    return format(Diagram(tuple(nodes)))


def check_pictures(answer: str, as_png: bool) -> None:
    """Draw a text. Raises AssertionError if a file holds what cannot be seen, and ParseError if it is not XML."""
    diagram = parse(answer)
    for write in (svg, drawio):
        content = write(diagram).decode()
        assert all(character.isprintable() or character == "\n" for character in content), answer
        ElementTree.fromstring(content)
    if as_png:
        draw(diagram, 200)


def check_answer(answer: str, reference: str) -> int:
    """Parse, score and escape a text; return its number of lines. Raises AssertionError if a result is wrong."""
    diagram = parse(answer)
    score = score_diagram(answer, reference)
    assert all(0 <= part <= 1 for part in score.parts().values()), answer
    assert not (score.total == 1 and diagram.problems), answer
    assert len(escape(answer).splitlines()) <= 1, answer
    return max(1, answer.count("\n") + 1)


def check_file(content: bytes, path: Path) -> int:
    """Read a damaged CSV; return its number of lines. Raises AssertionError if a result is wrong."""
    path.write_bytes(content)
    for scored in (False, True):
        try:
            assert read_rows(path, scored, "Make it", unique=True), content
        except UserError as error:
            assert error.problems, content
            assert all(problem.startswith(str(path)) for problem in error.problems), error.problems
    return content.count(b"\n") + 1


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="total number of lines (default: 1000000)")
    parser.add_argument("--seed", type=int, default=2025, help="random seed of the damage (default: 2025)")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    csv_path = PROJECT / "create_dataset" / "orpo_dataset_llm.csv"
    references = [row.answer for row in read_rows(csv_path, True, "") if row.score == 1]
    lines = csv_path.read_bytes().splitlines(keepends=True)
    answers = files = done = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tqdm(total=args.lines, unit="line", unit_scale=True) as progress:
        while done < args.lines:
            if rng.random() < 0.02:
                first = rng.randrange(len(lines))
                text = b"".join([lines[0], *lines[first : first + 100]]).decode()
                new = check_file(damaged(text, rng).encode(errors="surrogatepass"), Path(folder) / "damaged.csv")
                files += 1
            else:
                reference = rng.choice(references)
                if rng.random() < 0.5:
                    reference = with_labels(reference, rng)
                answer = damaged(reference, rng)
                new = check_answer(answer, reference)
                if rng.random() < 0.01:
                    check_pictures(answer, as_png=rng.random() < 0.1)
                answers += 1
            done += new
            progress.update(new)
    seconds = round(time.monotonic() - start, 1)
    figures = {"lines": done, "answers": answers, "files": files, "exceptions": 0, "seconds": seconds}
    body = table(list(figures), [list(figures.values())])
    report("Damaged input", f"python benchmarks/fuzz.py{flags_given()}", body, figures, args.record)


if __name__ == "__main__":
    main()
