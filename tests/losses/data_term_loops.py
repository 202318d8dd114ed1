"""Equations 5 to 11 as float64 loops over pixels and points, and a small problem for the terms."""

import dataclasses

import numpy as np

from tfhand.geometry import crop
from tfhand.losses import data_terms
from tfhand.losses.observation import observe
from tfhand.rendering import spheres

CUBE_MM = 300.0
SIZE = 16
SPEC = crop.CropSpec(SIZE, CUBE_MM)
FAR_MM = CUBE_MM / 2
RAYS_MM = (np.arange(SIZE) + 0.5) * CUBE_MM / SIZE - CUBE_MM / 2

# Means of float32 depths of up to 150 mm; a pixel on a silhouette may be off by 0.02 mm.
VALUE_TOLERANCE_MM = 1e-3
# Sums over pixels of slopes of about 1 from small differences, as in the renderer's own tests.
GRADIENT_TOLERANCE = 5e-3


def oracle_render(centers, radii):
    """Equations 6-8 in float64 for one set of spheres."""
    q = np.asarray(radii)[:, None, None] ** 2 - (centers[:, :1] - RAYS_MM)[:, None, :] ** 2
    q = q - ((centers[:, 1:2] - RAYS_MM) ** 2)[:, :, None]
    depth = centers[:, 2, None, None] - np.sqrt(np.maximum(q, 0.0))
    return np.minimum(np.where(q >= 0, depth, FAR_MM).min(0), FAR_MM)


def mean_over_pairs(shape, weights, value_of_pair):
    """Weighted means of `value_of_pair(b, i, j)`, `[B]`; a pair whose value is None is left out."""
    batch, vi, vj = shape[:3]
    weights = np.ones([batch, vi, vj]) if weights is None else weights
    result = np.zeros(batch)
    for b in range(batch):
        values, used = [], []
        for i, j in np.ndindex(vi, vj):
            value = value_of_pair(b, i, j)
            if value is not None:
                values.append(value)
                used.append(weights[b, i, j])
        result[b] = np.average(values, weights=used) if np.sum(used) > 0 else 0.0
    return result


def oracle_m2d(projected, radii, depth, clamp=50.0, weights=None, mask=None):
    def value_of_pair(b, i, j):
        surface = depth[b, j] < FAR_MM - 0.05
        rendered = oracle_render(projected[b, i, j], radii)
        drawn = rendered < FAR_MM - 0.05
        if mask is not None:
            left_out = surface & ~mask[b, i, j]
            surface, drawn = surface & ~left_out, drawn & ~left_out
        if not surface.any():
            return None
        total = np.minimum(np.abs(rendered - depth[b, j]), clamp)[drawn & surface].sum()
        total += clamp * (drawn != surface).sum()
        return total / (drawn | surface).sum()

    return mean_over_pairs(projected.shape, weights, value_of_pair)


def oracle_d2m(projected, radii, depth, clamp=50.0, weights=None, mask=None):
    def value_of_pair(b, i, j):
        distances = []
        for row, column in np.argwhere(depth[b, j] < FAR_MM - 0.05):
            if mask is not None and not mask[b, i, j, row, column]:
                continue
            p = np.array([RAYS_MM[column], RAYS_MM[row], depth[b, j, row, column]])
            lengths = np.linalg.norm(p - projected[b, i, j], axis=-1)
            distances.append(min(np.abs(lengths - radii).min(), clamp))
        return np.mean(distances) if distances else None

    return mean_over_pairs(projected.shape, weights, value_of_pair)


def loop_gradients(projected, radii, depth, clamp):
    """Gradients of the sums of both terms in float64, pixel by pixel, `[B, Vi, Vj, N, 3]` each."""
    m2d, d2m = np.zeros(projected.shape), np.zeros(projected.shape)
    batch, vi, vj = projected.shape[:3]
    for b, i, j in np.ndindex(batch, vi, vj):
        c, seen = projected[b, i, j].astype(float), depth[b, j] < FAR_MM - 0.05
        q = radii[:, None, None] ** 2 - (c[:, 0, None, None] - RAYS_MM) ** 2
        q = q - (c[:, 1, None, None] - RAYS_MM[:, None]) ** 2
        of_each = np.where(q >= 0, c[:, 2, None, None] - np.sqrt(np.maximum(q, 0.0)), FAR_MM)
        winner, drawn = of_each.argmin(0), of_each.min(0) < FAR_MM - 0.05
        for row, column in np.argwhere(seen & drawn):
            k, ray = winner[row, column], np.array([RAYS_MM[column], RAYS_MM[row]])
            off = of_each[k, row, column] - depth[b, j, row, column]
            root = np.sqrt(max(q[k, row, column], spheres.MIN_HALF_CHORD_MM**2))
            slope = np.append((c[k, :2] - ray) / root, 1.0)
            m2d[b, i, j, k] += (abs(off) < clamp) * np.sign(off) * slope / (seen | drawn).sum()
        for row, column in np.argwhere(seen):
            p = np.array([RAYS_MM[column], RAYS_MM[row], depth[b, j, row, column]])
            lengths = np.linalg.norm(c - p, axis=-1)
            k = np.abs(lengths - radii).argmin()
            side = np.sign(lengths[k] - radii[k]) * (abs(lengths[k] - radii[k]) < clamp)
            d2m[b, i, j, k] += side * (c[k] - p) / lengths[k] / seen.sum()
    # Each term is the mean over the pairs of views.
    return m2d / (vi * vj), d2m / (vi * vj)


def make_problem(rng):
    """Spheres `[2, 3, 3, 7, 3]`, radii `[7]` and depth `[2, 3, 16, 16]` of slightly other hands."""
    radii = rng.uniform(15.0, 30.0, 7).astype(np.float32).astype(float)
    hands = rng.normal(size=[2, 1, 3, 7, 3]) * [35.0, 35.0, 25.0]
    depth = np.stack([[oracle_render(hands[b, 0, j], radii) for j in range(3)] for b in range(2)])
    projected = hands + rng.normal(size=[2, 3, 3, 7, 3]) * 8.0
    return projected.astype(np.float32), radii, depth.astype(np.float32)


def observe_some(depth, mask, stride=1, **settings):
    """Observes depth maps but for the readings where `mask`, `[B, Vi or 1, Vj, S, S]`, is False."""
    observation = observe(depth, SPEC, stride=stride, **settings)
    mask = mask[..., stride // 2 :: stride, stride // 2 :: stride]
    return dataclasses.replace(observation, is_hand=observation.is_hand & mask)


def both_terms(projected, radii, depth, mask=None, **settings):
    if mask is None:
        observation = observe(depth, SPEC, **settings)
    else:
        observation = observe_some(depth, mask, **settings)
    return [
        data_terms.model_to_data(projected, radii, observation),
        data_terms.data_to_model(projected, radii, observation),
    ]
