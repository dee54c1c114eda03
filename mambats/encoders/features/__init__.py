"""Feature extractors: raw rows of one sensor (points, pictures, inertial samples, objects) to tokens."""

from mambats.encoders.features.curve import (
    ORDERS,
    Order,
    encode_cells,
    hilbert_decode,
    hilbert_encode,
    morton_decode,
    morton_encode,
)
from mambats.encoders.features.extractor import FeatureExtractor
from mambats.encoders.features.fusion import ExtractingFusion, ExtractingState
from mambats.encoders.features.grid import PointGrid
from mambats.encoders.features.image import ImageEncoder
from mambats.encoders.features.imu import ImuEncoder, ImuState
from mambats.encoders.features.objects import ObjectEncoder, ObjectTokens
from mambats.encoders.features.pillars import PillarEncoder
from mambats.encoders.features.serialised import VoxelEncoder

__all__ = [
    "ORDERS",
    "ExtractingFusion",
    "ExtractingState",
    "FeatureExtractor",
    "ImageEncoder",
    "ImuEncoder",
    "ImuState",
    "ObjectEncoder",
    "ObjectTokens",
    "Order",
    "PillarEncoder",
    "PointGrid",
    "VoxelEncoder",
    "encode_cells",
    "hilbert_decode",
    "hilbert_encode",
    "morton_decode",
    "morton_encode",
]
