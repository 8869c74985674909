"""Keys of regions, (image id, region id), as two integers per row; tables about regions are joined by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.errors import BadInput

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RegionKeys:
    """The keys of n rows in the order of the rows; make them with `RegionKeys.encode`."""

    image_names: npt.NDArray[Any]
    """(images,) distinct image ids, str objects in code-point order."""
    image: Int64
    """(n,) index of each row's image in ``image_names``."""
    region_id: Int64
    """(n,) region id within the image, 0 … 2³¹ − 1."""

    @classmethod
    def encode(
        cls, image_ids: npt.NDArray[Any] | Sequence[str], region_ids: npt.NDArray[np.integer[Any]] | Sequence[int]
    ) -> RegionKeys:
        """Encode the columns image_id and region_id, (n,) each, whose rows come in any order and may repeat.

        Works on runs of equal image ids, because tables come grouped by image. BadInput for columns of different length
        and for region ids outside 0 … 2³¹ − 1.
        """
        ids, regions = np.asarray(image_ids, object), np.asarray(region_ids, np.int64)
        if ids.shape != regions.shape or ids.ndim != 1:
            raise BadInput(
                f"region keys: image_id has {len(ids)} rows and region_id {len(regions)}; give one of each per region"
            )
        if len(ids) == 0:
            return cls(ids, np.zeros(0, np.int64), regions)
        if regions.min() < 0 or regions.max() >= 1 << 31:
            at = int(np.flatnonzero((regions < 0) | (regions >= 1 << 31))[0])
            raise BadInput(f"region id {regions[at]} of image {ids[at]} is not in 0 … 2147483647; partition again")
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        names, run_codes = np.unique(ids[starts], return_inverse=True)
        lengths = np.diff(np.concatenate([starts, [len(ids)]]))
        return cls(names, np.repeat(run_codes.reshape(-1).astype(np.int64), lengths), regions)

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> RegionKeys:
        """Return the keys of ``rows`` (m,), in their order; ``image_names`` stays as it is."""
        return RegionKeys(self.image_names, self.image[rows], self.region_id[rows])

    def order(self) -> Int64:
        """Return the rows (n,) sorted by (image_id, region_id), the canonical order; BadInput for a repeated region."""
        keys = self._packed()
        if (keys[1:] > keys[:-1]).all():  # already sorted, as one shard is
            return np.arange(len(keys), dtype=np.int64)
        # Timsort: merges sorted runs, such as shards.
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            raise BadInput(f"{self.name(int(order[twice[0]]))} appears twice; the shards overlap")
        return np.asarray(order, np.int64)

    def locate(self, wanted: RegionKeys) -> Int64:
        """Return the row (m,) of each key of ``wanted``, −1 for keys that are not here; the first row of equal ones."""
        if len(self) == 0:
            return np.full(len(wanted), -1, np.int64)
        keys = self._packed()
        mine = np.minimum(np.searchsorted(self.image_names, wanted.image_names), len(self.image_names) - 1)
        known = np.asarray(self.image_names[mine] == wanted.image_names, bool)
        image = np.where(known, mine, -1)[wanted.image]
        sought = (image << 32) | wanted.region_id
        if (keys[1:] > keys[:-1]).all():
            if np.array_equal(keys, sought):  # most tables come in the same order
                return np.arange(len(keys), dtype=np.int64)
            rows = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
        else:
            order = np.argsort(keys, kind="stable")
            rows = order[np.minimum(np.searchsorted(keys, sought, sorter=order), len(keys) - 1)]
        return np.where(keys[rows] == sought, rows, -1).astype(np.int64)

    def name(self, row: int) -> str:
        """Name a row as messages do: "region 3 of image a.png"."""
        return f"region {self.region_id[row]} of image {self.image_names[self.image[row]]}"

    def _packed(self) -> Int64:
        """Return (n,) image and region in one integer, which sorts as the pair does."""
        return (self.image << 32) | self.region_id
