"""Where sensors sit on a robot: rigid transforms between named frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
UNIT = 1e-3  # how far from 1 a quaternion's length may be: four printed digits


@dataclass(frozen=True)
class Rigid:
    """The pose of a child frame in its parent: p_parent = R p_child + translation (REP-105, as tf2 has it).

    Args:
        parent: Frame id.
        child: Frame id.
        translation: Of the child's origin in the parent, shape (3,), metres.
        quaternion: Rotation as x, y, z, w (scalar last, as scipy has it), of length 1.

    Raises:
        ValueError: If a frame has no name or is its own parent, a number is not finite, or the quaternion is not of
            length 1.
    """

    parent: str
    child: str
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        """Check names and numbers."""
        edge = f"{self.parent!r} -> {self.child!r}"
        if not self.parent or not self.child or self.parent == self.child:
            raise ValueError(f"{edge}: a transform needs two different names of frames.")
        if len(self.translation) != 3 or len(self.quaternion) != 4:
            raise ValueError(f"{edge}: {self.translation} and {self.quaternion}, needed x y z and qx qy qz qw.")
        if not np.isfinite([*self.translation, *self.quaternion]).all():
            raise ValueError(f"{edge}: {self.translation} and {self.quaternion} are not all finite.")
        length = float(np.linalg.norm(self.quaternion))
        if abs(length - 1) > UNIT:
            raise ValueError(f"{edge}: quaternion {self.quaternion} has length {length:.4f}, needed 1: normalise it.")

    @classmethod
    def from_matrix(cls, parent: str, child: str, matrix: Matrix) -> Rigid:
        """Make one from a matrix of shape (4, 4) or (3, 4) that maps points of the child to the parent.

        Raises:
            ValueError: If its left 3x3 block is not a rotation.
        """
        from scipy.spatial.transform import Rotation

        turn = np.asarray(matrix, dtype=np.float64)[:3, :3]
        if not np.allclose(turn @ turn.T, np.eye(3), atol=UNIT) or np.linalg.det(turn) < 0:
            raise ValueError(f"{parent!r} -> {child!r}: {turn.tolist()} is not a rotation (right-handed, orthonormal).")
        x, y, z, w = (float(v) for v in Rotation.from_matrix(turn).as_quat())
        a, b, c = (float(v) for v in np.asarray(matrix)[:3, 3])
        return cls(parent, child, (a, b, c), (x, y, z, w))

    @property
    def matrix(self) -> Matrix:
        """Homogeneous matrix, shape (4, 4): maps points of the child to the parent."""
        from scipy.spatial.transform import Rotation

        made = np.eye(4)
        made[:3, :3] = Rotation.from_quat(self.quaternion).as_matrix()
        made[:3, 3] = self.translation
        return made


@dataclass(frozen=True)
class FrameTree:
    """Frames joined by rigid transforms, each with one parent.

    Args:
        edges: In any order.

    Raises:
        ValueError: If a frame has two parents, or frames form a loop.
    """

    edges: tuple[Rigid, ...] = ()

    def __post_init__(self) -> None:
        """Check that it is a tree, or several."""
        parents = dict[str, str]()
        for edge in self.edges:
            if edge.child in parents:
                raise ValueError(
                    f"{edge.child!r} has two parents, {parents[edge.child]!r} and {edge.parent!r}: keep one."
                )
            parents[edge.child] = edge.parent
        for start in parents:
            seen, name = [start], start
            while name in parents:
                name = parents[name]
                if name in seen:
                    raise ValueError(f"frames form a loop: {' -> '.join([*seen, name])}. Remove one transform.")
                seen.append(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All frames, parents first as they appear."""
        return tuple(dict.fromkeys(name for edge in self.edges for name in (edge.parent, edge.child)))

    def transform(self, target: str, source: str) -> Matrix:
        """Matrix (4, 4) float64 that maps points of `source` to `target`.

        Raises:
            ValueError: If a frame is unknown or no transforms join the two; names what is missing.
        """
        if target == source:
            return np.eye(4)
        (to_root, root), (from_root, other) = self._to_root(source), self._to_root(target)
        if root != other:
            raise ValueError(
                f"no transforms join {source!r} (under {root!r}) and {target!r} (under {other!r}): "
                f"add one between {root!r} and {other!r}. Frames are {', '.join(self.names)}."
            )
        return np.linalg.inv(from_root) @ to_root

    def _to_root(self, name: str) -> tuple[Matrix, str]:
        above = {edge.child: edge for edge in self.edges}
        if name not in self.names:
            raise ValueError(f"there is no frame {name!r}, frames are {', '.join(self.names) or 'none'}.")
        made = np.eye(4)
        while name in above:
            made, name = above[name].matrix @ made, above[name].parent
        return made, name
