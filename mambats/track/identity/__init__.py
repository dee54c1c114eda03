"""Who a detection is of: an embedding of its features, and an affinity that asks it."""

from mambats.track.identity.affinity import IdentityAffinity
from mambats.track.identity.embedder import IdentityEmbedder, box_features, contrastive_loss

__all__ = ["IdentityAffinity", "IdentityEmbedder", "box_features", "contrastive_loss"]
