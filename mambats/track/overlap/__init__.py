"""How alike two boxes are: exact overlap of turned boxes, in space, from above and in the picture.

`iou_3d(a, b)` and its kind compare all with all; `iou_3d_of_pairs(a, b)` row with row, broadcast.
"""

from mambats.track.overlap.pairs import (
    centre_distance_of_pairs,
    giou_3d_of_pairs,
    iou_2d_of_pairs,
    iou_3d_of_pairs,
    iou_bev_of_pairs,
    share_within_2d_of_pairs,
)
from mambats.track.overlap.planar import hull_area, shared_and_hull_area, shared_area
from mambats.track.overlap.tables import centre_distance, giou_3d, iou_2d, iou_3d, iou_bev

__all__ = [
    "centre_distance",
    "centre_distance_of_pairs",
    "giou_3d",
    "giou_3d_of_pairs",
    "hull_area",
    "iou_2d",
    "iou_2d_of_pairs",
    "iou_3d",
    "iou_3d_of_pairs",
    "iou_bev",
    "iou_bev_of_pairs",
    "share_within_2d_of_pairs",
    "shared_and_hull_area",
    "shared_area",
]
