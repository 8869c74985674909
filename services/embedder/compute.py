"""The embedder's work in the compute child."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.embedder.targets import read_targets
from tessera.acquisition import FEATURES, PROJECTIONS
from tessera.acquisition.interfaces import Float32, RegionImage, State
from tessera.acquisition.pooling.finite import require_finite
from tessera.errors import BadInput
from tessera.formats import images, manifests, predictors, schemas, shards, tables, weights
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET, SAFETENSORS
from tessera.pb.common_pb2 import AxisValue, ObjectRef
from tessera.pb.embedder_pb2 import (
    FeatureShard,
    FeaturizeRequest,
    FeaturizeResponse,
    FitRequest,
    FitResponse,
    ProjectRequest,
    ProjectResponse,
)
from tessera.regions.keys import RegionKeys
from tessera.registry import canonical_json

_BOX = ("y0", "x0", "y1", "x1")


def featurize(request: FeaturizeRequest, blobs: Blobs) -> FeaturizeResponse:
    """Compute one feature vector per target region, rows in the order of the targets; each image is opened once."""
    image_ids, region_ids = read_targets(blobs.read(request.targets))
    if len(image_ids) == 0:
        raise BadInput("targets: empty; there is nothing to describe")
    boxes = _boxes(request, blobs, image_ids, region_ids)
    entry = FEATURES.entry(request.features.name)
    if entry.traits.needs_head and request.model.classes < 2:
        raise BadInput(
            f"FeaturizeRequest.model: is a backbone without a head, and features {request.features.name} come from a "
            "trained network; name a trained model"
        )
    params = FEATURES.parameters(request.features.name, request.features.parameters)
    maps = shards.map_refs(request.shards, blobs.read) if entry.traits.needs_maps(params) else None
    manifest = manifests.dataset_from_json(blobs.read(request.manifest))
    predictor = predictors.predictor(request.model, blobs.read)
    names = list(dict.fromkeys(image_ids.tolist()))
    items = manifest.by_id(request.shards[0].images.split, names)
    features: Float32 | None = None
    for done, item in enumerate(items):
        rows = np.flatnonzero(image_ids == item.image_id)
        region_map = None
        if maps is not None:
            region_map = images.decode_map(blobs.read(maps[item.image_id]), f"region map of {item.image_id}")
        rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
        model = predictors.ImageModel(predictor, item.image)
        part = entry.function(model, RegionImage(rgb, region_ids[rows], boxes[rows], region_map), params)
        require_finite(part, image_ids[rows], region_ids[rows])
        if features is None:
            features = np.empty((len(image_ids), part.shape[1]), np.float32)
        features[rows] = part
        blobs.progress((done + 1) / len(items), item.image_id)
    assert features is not None  # noqa: S101  # there is at least one target, so at least one image
    targets = tables.write(schemas.TARGETS, {"image_id": image_ids, "region_id": region_ids})
    return FeaturizeResponse(
        features=blobs.write(weights.save({"features": features}), SAFETENSORS),
        targets=blobs.write(targets, PARQUET),
        count=len(features),
        dimension=features.shape[1],
    )


def fit(request: FitRequest, blobs: Blobs) -> FitResponse:
    """Fit the projection on all features, in canonical order whatever the order of the shards, or on a memory bank."""
    axis = request.projection
    projection = PROJECTIONS.entry(axis.name).function(PROJECTIONS.parameters(axis.name, axis.parameters))
    if request.HasField("bank"):
        if request.shards:
            raise BadInput("FitRequest: names shards and a bank; name one of them")
        state, _ = projection.fit(_bank(blobs.read(request.bank)), request.seed)
        return FitResponse(projection=blobs.write(_dump(axis, state), SAFETENSORS))
    image_ids, region_ids, features = _features(request.shards, blobs)
    state, embedding = projection.fit(features, request.seed)
    return FitResponse(
        projection=blobs.write(_dump(axis, state), SAFETENSORS),
        embedding=_write_embedding(image_ids, region_ids, embedding, blobs),
    )


def project(request: ProjectRequest, blobs: Blobs) -> ProjectResponse:
    """Return the embedding of the features' regions, rows in canonical order."""
    axis, state = _parse(blobs.read(request.projection))
    image_ids, region_ids, features = _features(request.shards, blobs)
    params = PROJECTIONS.parameters(axis.name, axis.parameters)
    embedding = PROJECTIONS.entry(axis.name).function(params).transform(state, features, request.seed)
    return ProjectResponse(embedding=_write_embedding(image_ids, region_ids, embedding, blobs))


def _boxes(
    request: FeaturizeRequest, blobs: Blobs, image_ids: NDArray[Any], region_ids: NDArray[Any]
) -> NDArray[np.int32]:
    parts = [tables.read(schemas.REGIONS, blobs.read(shard.regions), "region table") for shard in request.shards]
    table = tables.concat(parts)
    keys = RegionKeys.encode(table["image_id"], table["region_id"])
    keys.order()  # refuses shards that overlap
    rows = keys.locate(RegionKeys.encode(image_ids, region_ids))
    if (rows < 0).any():
        at = int(np.flatnonzero(rows < 0)[0])
        raise BadInput(f"targets: region {region_ids[at]} of image {image_ids[at]} is in none of the shards given")
    return np.stack([table[name][rows] for name in _BOX], axis=1).astype(np.int32)


def _bank(data: bytes) -> Float32:
    """Return the vectors (n, D) of a memory bank."""
    vectors = weights.load(data, "memory bank").get("vectors")
    if vectors is None or vectors.ndim != 2:
        raise BadInput("memory bank: the file holds no vectors; train again with training.memory_bank")
    if len(vectors) == 0:
        raise BadInput("memory bank: empty, the model got no labelled pixel right; train for longer or label more")
    return vectors.astype(np.float32)


def _features(given: Sequence[FeatureShard], blobs: Blobs) -> tuple[NDArray[Any], NDArray[Any], Float32]:
    """Return the image ids, region ids and features (n, D) of all shards, sorted by (image_id, region_id)."""
    if not given:
        raise BadInput("shards: empty; there are no features")
    ids, parts = [], []
    for index, shard in enumerate(given):
        targets = tables.read(schemas.TARGETS, blobs.read(shard.targets), f"targets of feature shard {index}")
        tensors = weights.load(blobs.read(shard.features), f"features of shard {index}")
        features = tensors.get("features")
        if features is None or features.ndim != 2 or len(features) != len(targets["image_id"]):
            raise BadInput(f"feature shard {index}: features and targets do not fit; featurize again")
        ids.append(targets)
        parts.append(features)
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise BadInput(f"feature shards have different dimensions {widths}; featurize all with one model")
    table = tables.concat(ids)
    order = RegionKeys.encode(table["image_id"], table["region_id"]).order()
    features = np.concatenate(parts).astype(np.float32)[order]
    image_ids, region_ids = table["image_id"][order], table["region_id"][order]
    require_finite(features, image_ids, region_ids)
    return image_ids, region_ids, features


def _dump(axis: AxisValue, state: State) -> bytes:
    head = canonical_json({"name": axis.name, "parameters": json.loads(axis.parameters or "{}")}).encode()
    return weights.save({"projection": np.frombuffer(head, np.uint8), **{f"state.{k}": v for k, v in state.items()}})


def _parse(data: bytes) -> tuple[AxisValue, State]:
    tensors = weights.load(data, "projection")
    if "projection" not in tensors:
        raise BadInput("projection: the file holds no fitted projection; fit one first")
    head = json.loads(tensors["projection"].tobytes())
    state = {name.removeprefix("state."): value for name, value in tensors.items() if name.startswith("state.")}
    return AxisValue(name=head["name"], parameters=canonical_json(head["parameters"])), state


def _write_embedding(image_ids: NDArray[Any], region_ids: NDArray[Any], embedding: Float32, blobs: Blobs) -> ObjectRef:
    columns = {f"x{axis}": np.ascontiguousarray(embedding[:, axis]) for axis in range(embedding.shape[1])}
    schema = schemas.embedding(embedding.shape[1])
    return blobs.write(tables.write(schema, {"image_id": image_ids, "region_id": region_ids, **columns}), PARQUET)
