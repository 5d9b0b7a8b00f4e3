"""A model's architecture as clients see it."""

from __future__ import annotations

from mistudio.models.v2 import architecture_pb2 as pb
from mistudio_models.domain.architecture import Architecture, HookPoint, Layer, Suitability


def architecture_message(architecture: Architecture) -> pb.ModelArchitecture:
    """The architecture as clients see it."""
    return pb.ModelArchitecture(
        architecture=architecture.architecture,
        model_type=architecture.model_type,
        hidden_size=architecture.hidden_size,
        vocabulary_size=architecture.vocabulary_size,
        parameters=architecture.parameters,
        parallel_layers=architecture.parallel_layers,
        tied_embeddings=architecture.tied_embeddings,
        embedding_path=architecture.embedding_path,
        final_norm_path=architecture.final_norm_path,
        unembedding_path=architecture.unembedding_path,
        layers=[_layer_message(layer) for layer in architecture.layers],
        extraction=_suitability_message(architecture.extraction),
        sae_training=_suitability_message(architecture.sae_training),
    )


def _layer_message(layer: Layer) -> pb.ModelLayer:
    return pb.ModelLayer(
        index=layer.index,
        module_path=layer.module_path,
        module_class=layer.module_class,
        parameters=layer.parameters,
        hook_points=[_hook_point_message(point) for point in layer.hook_points],
        experts=layer.experts,
    )


def _hook_point_message(point: HookPoint) -> pb.HookPoint:
    return pb.HookPoint(
        kind=pb.HookPointKind.Value(f"HOOK_POINT_KIND_{point.kind}"),
        module_path=point.module_path,
        side=pb.HookSide.Value(f"HOOK_SIDE_{point.side}"),
        width=point.width,
    )


def _suitability_message(suitability: Suitability) -> pb.Suitability:
    return pb.Suitability(suitable=suitability.suitable, reasons=suitability.reasons)
