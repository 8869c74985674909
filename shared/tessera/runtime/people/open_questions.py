"""Which questions of a round somebody can be handed next, found without looking at all of them.

Open questions that can be handed out lie in one heap for each set of people who may not take them: those who have
answered, skipped or hold the question. A person's next question is the smallest rank in the heaps of sets without them.
The cost of a question is that of a heap, O(log n), times the number of such sets: one without an overlap, and with one
as many as there are groups of people who meet at a question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from heapq import heappop, heappush

from tessera.loop import rounds
from tessera.loop.rounds import Asked
from tessera.queries.oracles.human import HumanParams

_NOBODY: frozenset[str] = frozenset()


class OpenQuestions:
    """The questions of a round that are not settled; ``asked`` is the caller's and holds every state by rank.

    ``put`` is called after each change of ``asked``; times are in seconds since 1970.
    """

    def __init__(self, count: int, asked: Mapping[int, Asked], params: HumanParams) -> None:
        self._asked, self._params = asked, params
        # An ascending list is a heap. An entry counts while its question lies in this heap's set.
        self._heaps: dict[frozenset[str], list[int]] = {_NOBODY: list(range(count))}
        self._met: dict[int, frozenset[str] | None] = {}
        self._full: set[int] = set()
        self._open = count
        self._times_met: Counter[str] = Counter()
        self._holders: dict[int, tuple[str, ...]] = {}
        self._held: dict[str, set[int]] = {}
        # The first end of a question's holds; an entry of the heap counts while it is that.
        self._due: dict[int, float] = {}
        self._ends: list[tuple[float, int]] = []

    def put(self, rank: int, now: float) -> None:
        """Take the state of one question as it is in ``asked`` now."""
        asked = self._asked.get(rank, Asked())
        settled = bool(rounds.outcome(asked, self._params))
        live = () if settled else asked.holders(now)
        self._hold(rank, live)
        if live and (end := min(hold.until for hold in asked.holds if hold.until > now)) != self._due.get(rank):
            self._due[rank] = end
            heappush(self._ends, (end, rank))
        before = self._met.get(rank, _NOBODY)
        was_free = before is not None and rank not in self._full
        after = None if settled else frozenset((*live, *(one.annotator for one in asked.replies)))
        self._open += (after is not None) - (before is not None)
        self._times_met.subtract(before or ())
        self._times_met.update(after or ())
        self._met[rank] = after
        if after is None or len(asked.answers) + len(live) >= rounds.needed(asked, self._params):
            self._full.add(rank)
        else:
            self._full.discard(rank)
            if not was_free or after != before:
                heappush(self._heaps.setdefault(after, []), rank)

    def free(self, who: str, now: float) -> Generator[int]:
        """Yield the ranks that ``who`` can be handed, ascending; what changes meanwhile is heeded.

        Close the iterator before the next one is made: what it yielded is put back then.
        """
        self._expire(now)
        taken: list[tuple[int, frozenset[str]]] = []
        try:
            while (found := self._smallest(who)) is not None:
                rank, group = found
                taken.append(found)
                heap = self._heaps[group]
                while heap and heap[0] == rank:
                    heappop(heap)
                yield rank
        finally:
            for rank, group in taken:
                if self._lies(rank, group):
                    heappush(self._heaps.setdefault(group, []), rank)

    def held_by(self, who: str, now: float) -> list[int]:
        """Return the ranks that ``who`` holds, ascending."""
        self._expire(now)
        return sorted(self._held.get(who, ()))

    def leased(self, now: float) -> int:
        """Return how many questions somebody holds."""
        self._expire(now)
        return len(self._holders)

    def holding(self, now: float) -> dict[str, int]:
        """Return how many questions each person holds, of those who hold any."""
        self._expire(now)
        return {who: len(ranks) for who, ranks in self._held.items()}

    def left_for(self, who: str) -> int:
        """Return how many open questions ``who`` neither answered nor skipped nor holds."""
        return self._open - self._times_met[who]

    def _lies(self, rank: int, group: frozenset[str]) -> bool:
        return rank not in self._full and self._met.get(rank, _NOBODY) == group

    def _smallest(self, who: str) -> tuple[int, frozenset[str]] | None:
        best: tuple[int, frozenset[str]] | None = None
        for group in [one for one in self._heaps if who not in one]:
            heap = self._heaps[group]
            while heap and not self._lies(heap[0], group):
                heappop(heap)
            if not heap:
                del self._heaps[group]
            elif best is None or heap[0] < best[0]:
                best = heap[0], group
        return best

    def _hold(self, rank: int, live: tuple[str, ...]) -> None:
        for who in self._holders.pop(rank, ()):
            self._held[who].discard(rank)
            if not self._held[who]:
                del self._held[who]
        if live:
            self._holders[rank] = live
            for who in live:
                self._held.setdefault(who, set()).add(rank)

    def _expire(self, now: float) -> None:
        """Free the questions whose holds have ended."""
        while self._ends and self._ends[0][0] <= now:
            end, rank = heappop(self._ends)
            if self._due.get(rank) == end:
                del self._due[rank]
                self.put(rank, now)
