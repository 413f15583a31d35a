"""Align two graphs: which shape of the one stands for which shape of the other, so that most of it fits.

An alignment is a list: entry `a` is the found shape that stands for the wanted shape `a`. Both graphs have the same
number of shapes, the smaller one with empty shapes at its end, so an alignment is a permutation. The best one cannot be
computed in a reasonable time; these are a greedy start and a bounded search by exchanges.
"""

from collections.abc import Mapping, Sequence

from diagram.graph import Graph, bits

Alignment = list[int]

MAX_TRIES = 1_500  # exchanges that are tried


class Aligner:
    """Two graphs of the same size and what fits: `worth[a][p]` for a pair of shapes, `edge` for a right connection."""

    def __init__(self, wanted: Graph, found: Graph, worth: Sequence[Sequence[float]], edge: float) -> None:
        self.wanted, self.found, self.worth, self.edge = wanted, found, worth, edge
        self.size = len(worth)
        self.around = [out | into for out, into in zip(wanted.out, wanted.into, strict=True)]

    def complete(self, guess: Mapping[int, int], hints: Sequence[Sequence[float]]) -> Alignment:
        """Add the other shapes to a guess, each beside its neighbours; where none fits, the pair with the best hint."""
        alignment = [-1] * self.size
        out, into = [0] * self.size, [0] * self.size  # the partners of a shape's neighbours
        found_out, found_into, edge, around = self.found.out, self.found.into, self.edge, self.around
        free = dict.fromkeys(a for a in range(self.size) if a not in guess)
        taken = set(guess.values())
        left = dict.fromkeys(p for p in range(self.size) if p not in taken)
        left_mask = sum(1 << p for p in left)
        matched = 0
        ready: dict[int, int] = {}  # how many neighbours with a partner a shape has, where that is new
        best_hint: dict[int, int] = {}

        def fit(a: int, p: int) -> float:
            right = (found_out[p] & out[a]).bit_count() + (found_into[p] & into[a]).bit_count()
            return hints[a][p] + edge * right

        todo = list(guess.items())
        while todo or free:
            if todo:
                a, p = todo.pop()
            elif ready:
                a = max(ready, key=lambda k: (ready[k], -k))
                del ready[a]
                near = 0  # shapes with a connection that would be right
                for q in bits(out[a]):
                    near |= found_into[q]
                for q in bits(into[a]):
                    near |= found_out[q]
                if not near & left_mask:
                    continue
                p = max(bits(near & left_mask), key=lambda k: fit(a, k))
            else:
                for k in free:
                    if best_hint.get(k) not in left:
                        best_hint[k] = max(left, key=hints[k].__getitem__)
                a = max(free, key=lambda k: hints[k][best_hint[k]])
                p = best_hint[a]
            alignment[a] = p
            free.pop(a, None)
            ready.pop(a, None)
            left.pop(p, None)
            left_mask &= ~(1 << p)
            matched |= 1 << a
            for k in bits(self.wanted.into[a]):
                out[k] |= 1 << p
            for k in bits(self.wanted.out[a]):
                into[k] |= 1 << p
            for k in bits(around[a] & ~matched):
                if k in free:
                    ready[k] = (around[k] & matched).bit_count()
        return alignment

    def value(self, alignment: Alignment) -> float:
        """How well it fits."""
        out = _images(alignment, self.wanted.out)
        right = sum((self.found.out[p] & out[a]).bit_count() for a, p in enumerate(alignment))
        return sum(self.worth[a][p] for a, p in enumerate(alignment)) + self.edge * right

    def exchange(self, alignment: Alignment) -> float:
        """Let two shapes exchange partners wherever that helps; returns how well the alignment fits then."""
        found_out, found_into, worth, edge = self.found.out, self.found.into, self.worth, self.edge
        wanted_out, wanted_into, around = self.wanted.out, self.wanted.into, self.around
        out, into = _images(alignment, wanted_out), _images(alignment, wanted_into)

        def own(a: int, p: int) -> float:
            return worth[a][p] + edge * ((found_out[p] & out[a]).bit_count() + (found_into[p] & into[a]).bit_count())

        def both(a: int, p: int, b: int, q: int) -> float:
            others = ~(1 << p | 1 << q)
            right = (found_out[p] & out[a] & others).bit_count() + (found_into[p] & into[a] & others).bit_count()
            right += (found_out[q] & out[b] & others).bit_count() + (found_into[q] & into[b] & others).bit_count()
            right += wanted_out[a] >> b & found_out[p] >> q & 1
            right += wanted_out[b] >> a & found_out[q] >> p & 1
            return worth[a][p] + worth[b][q] + edge * right

        tries, helped = 0, True
        while helped and tries < MAX_TRIES:
            helped = False
            wrong = [
                a
                for a, p in enumerate(alignment)
                if found_out[p] != out[a] or found_into[p] != into[a] or worth[a][p] < max(worth[a])
            ]
            for a in wrong:
                if tries >= MAX_TRIES:
                    break
                tries += self.size
                now = own(a, alignment[a])
                for b in range(self.size):
                    p, q = alignment[a], alignment[b]
                    # One of the two must gain by itself, but for neighbours, who change each other's connections.
                    if a == b or own(a, q) <= now and not around[a] >> b & 1:
                        continue
                    if both(a, q, b, p) > both(a, p, b, q) + 1e-9:
                        alignment[a], alignment[b] = q, p
                        for k in bits(wanted_into[a] ^ wanted_into[b]):
                            out[k] ^= 1 << p | 1 << q
                        for k in bits(wanted_out[a] ^ wanted_out[b]):
                            into[k] ^= 1 << p | 1 << q
                        now = own(a, q)
                        helped = True
        return self.value(alignment)


def _images(alignment: Alignment, masks: Sequence[int]) -> list[int]:
    """The partners of the shapes in each mask."""
    return [sum(1 << alignment[k] for k in bits(mask)) for mask in masks]
