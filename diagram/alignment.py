"""Align two graphs: assign each shape of one to a shape of the other, so that as many connections as possible agree.

An alignment is a list; entry `a` is the found shape for the wanted shape `a`. The smaller graph is padded with empty
shapes, so an alignment is a permutation. Finding the best one is NP-hard; this is a heuristic: a greedy start, then a
bounded local search that exchanges partners.
"""

from collections.abc import Mapping, Sequence

from diagram.graph import Graph, bits

Alignment = list[int]

MAX_TRIES = 1_500  # exchanges; the shape at which the limit is reached is finished


class Aligner:
    """Aligns two graphs of one size. `worth[a][p]` is the value of a pair of shapes, `edge` of a right connection."""

    def __init__(self, wanted: Graph, found: Graph, worth: Sequence[Sequence[float]], edge: float) -> None:
        self.wanted, self.found, self.worth, self.edge = wanted, found, worth, edge
        self.size = len(worth)
        self.around = [out | into for out, into in zip(wanted.out, wanted.into, strict=True)]

    def complete(self, guess: Mapping[int, int], hints: Sequence[Sequence[float]]) -> Alignment:
        """Complete a partial alignment greedily.

        The next shape is the one with the most assigned neighbours; it takes the free shape with the highest sum of
        hint and right connections. If none would have a right connection, the pair with the best hint is next.
        """
        alignment = [-1] * self.size
        out, into = [0] * self.size, [0] * self.size  # for each wanted shape: the partners of its neighbours
        found_out, found_into, edge, around = self.found.out, self.found.into, self.edge, self.around
        free = dict.fromkeys(a for a in range(self.size) if a not in guess)
        taken = set(guess.values())
        left = dict.fromkeys(p for p in range(self.size) if p not in taken)
        left_mask = sum(1 << p for p in left)
        matched = 0
        ready: dict[int, int] = {}  # shapes next to an assigned one, with their number of assigned neighbours
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
                near = 0  # found shapes with which a connection of shape a would be right
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
        """The worth of all pairs, plus `edge` for each right connection."""
        out = _images(alignment, self.wanted.out)
        right = sum((self.found.out[p] & out[a]).bit_count() for a, p in enumerate(alignment))
        return sum(self.worth[a][p] for a, p in enumerate(alignment)) + self.edge * right

    def exchange(self, alignment: Alignment) -> float:
        """Exchange the partners of two shapes while that raises the value. Changes `alignment`; returns its value."""
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
                    # Skip pairs that cannot gain: a itself must gain, unless a and b are neighbours.
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
    """Map each mask of wanted shapes to the mask of their partners."""
    return [sum(1 << alignment[k] for k in bits(mask)) for mask in masks]
