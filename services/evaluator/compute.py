"""The evaluator's work in the compute child."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.evaluation import confusion, confusion_of_image, sums
from tessera.formats import images, manifests, predictors, schemas, tables
from tessera.formats.blobs import Blobs
from tessera.formats.media import PARQUET
from tessera.models.upsample import predict
from tessera.pb.evaluator_pb2 import EvaluateRequest, EvaluateResponse


def evaluate(request: EvaluateRequest, blobs: Blobs) -> EvaluateResponse:
    """Predict every image of the range and count pixels; the response's sums add up exactly over shards."""
    outputs = request.model.classes
    if outputs < 2:
        raise BadInput(f"EvaluateRequest.model: {outputs} classes, so it cannot predict; name a trained model")
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    # A further output is the class undefined, which no ground truth has: it is never predicted.
    classes = len(dataset.classes)
    if outputs not in (classes, classes + 1):
        raise BadInput(
            f"EvaluateRequest.model: {outputs} outputs for the {classes} classes of {dataset.name}; "
            "name a model that was trained on this data set"
        )
    labels = manifests.labels_from_json(blobs.read(request.labels))
    if labels.split != request.images.split:
        raise BadInput(f"EvaluateRequest: images of {request.images.split} with labels of {labels.split}")
    predictor = predictors.predictor(request.model, blobs.read)
    items = dataset.items(request.images)
    by_image = dataset.task == "classification"
    total = np.zeros((classes, classes), dtype=np.int64)
    cells: list[tuple[str, NDArray[np.int64]]] = []
    for index, item in enumerate(items):
        rgb = images.decode_rgb(blobs.read(item.image), item.image_id)
        name = f"label map of {item.image_id}"
        data = blobs.read(labels.label(item.image_id))
        truth = images.decode_labels(data, name, classes, dataset.ignore_index, rgb.shape[:2])
        shape = (rgb.shape[0], rgb.shape[1])
        logits = predictors.logits(predictor, item.image, rgb)[:classes]
        if by_image:
            matrix = confusion_of_image(truth, logits, dataset.ignore_index, item.image_id)
        else:
            matrix = confusion(truth, predict(logits, shape), classes, dataset.ignore_index)
        total += matrix
        cells.append((item.image_id, matrix))
        blobs.progress((index + 1) / len(items), item.image_id)
    hits, extra, missed = sums(total)
    return EvaluateResponse(
        confusion=blobs.write(tables.write(schemas.CONFUSION, _rows(cells)), PARQUET),
        true_positives=hits.tolist(),
        false_positives=extra.tolist(),
        false_negatives=missed.tolist(),
        images=len(items),
        counts_images=by_image,
    )


def _rows(cells: list[tuple[str, NDArray[np.int64]]]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {"image_id": [], "truth": [], "predicted": [], "count": []}
    for image_id, matrix in cells:
        for truth, predicted in np.argwhere(matrix):
            values = (image_id, int(truth), int(predicted), int(matrix[truth, predicted]))
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return columns
