"""Networks → ONNX bytes: one file that holds weights, graph and what a reader has to know.

Needs the extra ``onnx``: torch's exporter writes ONNX through the packages onnx and onnxscript. They are imported here
alone, and when a model is written, so that nothing that serves needs them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tessera import __version__
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork

MOST_BYTES: Final = 2_000_000_000
"""A protobuf message, which an ONNX file is, holds less than 2 GiB."""
_EXAMPLE: Final = (2, 96, 128, 3)
_AXES: Final = ("batch", "height", "width")


def require() -> None:
    """Check that models can be written; BadInput with the command that installs what is missing."""
    try:
        import onnx  # noqa: F401 - asked for by torch
        import onnxscript  # noqa: F401 - asked for by torch
    except ImportError as error:
        raise BadInput(f"--format onnx: the package {error.name} is missing; pip install 'tessera-al[onnx]'") from None


def dump(model: SegmentationNetwork, classes: int, metadata: Mapping[str, str]) -> bytes:
    """Encode a network in eval mode as ONNX, from image to labels (`models.portable`).

    Input ``image`` (batch, height, width, 3) uint8 RGB, every size and batch; outputs ``logits`` (batch, classes,
    height, width) float32 and ``labels`` (batch, height, width) uint8, or (batch, classes) and (batch) of a classifier
    of whole images. ``metadata``: texts by name. BadInput: a missing package, a network of 2 GB or more, or one with a
    step that ONNX lacks.
    """
    require()
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size >= MOST_BYTES:
        raise BadInput(f"--format onnx: {size:,} bytes of weights, and a file holds 2 GB; export safetensors")
    import torch

    from tessera.models.portable import PortableNetwork

    example = torch.zeros(_EXAMPLE, dtype=torch.uint8)
    axes = {axis: torch.export.Dim.DYNAMIC for axis in range(3)}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                PortableNetwork(model, classes).eval(),
                (example,),
                input_names=["image"],
                output_names=["logits", "labels"],
                dynamic_shapes=(axes,),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
            raise BadInput(f"--format onnx: this network cannot be written ({reason}); export safetensors") from None
        assert program is not None  # noqa: S101 - it is with dynamo
        proto = program.model_proto
    _clean(proto, metadata)
    encoded: bytes = proto.SerializeToString(deterministic=True)
    return encoded


def _clean(proto: Any, metadata: Mapping[str, str]) -> None:
    """Name the sizes, add the texts, and drop what the exporter notes of this machine: lines of code with paths."""
    names = _axis_names(proto)
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.ClearField("metadata_props")
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
    for part in (graph, *proto.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
        for node in part.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    proto.producer_name, proto.producer_version = "tessera", __version__
    proto.ClearField("metadata_props")
    for key, text in sorted(metadata.items()):
        proto.metadata_props.add(key=key, value=text)


def _axis_names(proto: Any) -> dict[str, str]:
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    return {dim.dim_param: name for dim, name in zip(dims, _AXES, strict=False) if dim.dim_param}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own workings from the user's screen."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
