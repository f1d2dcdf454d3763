"""Fit the adaptive entropy coder to the latents of training images.

A value's magnitude is taken to be two-sided geometric with mean mu,

    P(k) = tanh(t / 2) exp(-t |k|),   sinh(t) = 1 / mu,   log2(mu) = a + sum_f b_f log2(f)

where f are the features that the decoder has. This is an exponential family, so Fisher
scoring finds a and b of each channel and pass in a few steps: with c = (1 + mu^2)^(-1/2)
the gradient of the code length is the sum of x (mu - |k|) c, and its expected curvature the
sum of x x' mu c. Then the values that share a table are counted, so that the tables have the
shape of the latents' own distribution.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from balle2017.errors import InputError, WorkError
from balle2017.model.adaptation import FEATURES, LOGARITHMS, PASSES, Adaptation
from balle2017.model.check import MAX_LATENT, RANGE_CODER_PRECISION
from balle2017.model.context import (
    LARGEST_MAGNITUDE,
    Step,
    indexes,
    passes_of,
    predictions,
    steps,
)
from balle2017.model.files import copy_model, finish_adaptation, load_model, save_adaptation
from balle2017.model.find import find_model

#: Images that a fit uses at most; more improve it hardly.
_PICTURES = 100
#: A fit to fewer images is worse than one to many, even if the model has changed since that one
#: (docs/entropy-coding.md).
FEWEST_PICTURES = 32
#: Only the centre of a large image is used, with sides of this many pixels.
_CROP = 512

_GROUPS = 8
_TABLES = 80
_TABLES_PER_OCTAVE = 4
#: log2 of the mean magnitude of the first table.
_LOWEST = -12
#: Added to a mean magnitude before its logarithm is taken.
_FLOOR = 0.1
_SCORING_STEPS = 12
#: How strongly the exponents are pulled towards 0, as a number of values.
_RIDGE = 20.0
#: A channel is predicted from its neighbours where that explains more of its variance.
_EXPLAINED = 0.15
#: Weight of the geometric distribution beside the counts, as a number of values.
_PRIOR_COUNT = 50.0
#: Part of the geometric distribution that a table may leave out on both sides.
_TAIL = 1e-5
_LONGEST_SIDE = 512
#: Values that are summed at once: so few that the linear algebra uses one thread, so that sums,
#: and models, do not depend on the number of threads.
_CHUNK = 1024


def some_of(count: int, seed: int) -> list[int]:
    """Return the indexes of at most 100 of `count` images, in rising order."""
    chosen = np.random.Generator(np.random.Philox(seed)).permutation(count)[:_PICTURES]
    return sorted(chosen.tolist())


def adapt_model(model: Path, pictures: Iterable[np.ndarray], out: Path | None = None) -> str:
    """Fit the adaptation of a model to images and store it; return the new SHA-256.

    Files that were made with an adaptation can be decoded with no other. A model that is adapted
    in place is unreadable if the process is killed between the writes of its two files; the same
    call mends it.

    Args:
        model: folder of the model, or its parent.
        pictures: uint8 [height, width, 3] each; of large ones only the centre is used.
        out: folder for a copy of the model with the adaptation; by default the model gets it, in
            place of the one it may have.

    Raises:
        InputError: there is no sound model, or no image.
        WorkError: latents are not finite, so the model is broken.
    """
    if out is None:
        finish_adaptation(find_model(model))
    trained = load_model(model)
    signature = [tf.TensorSpec((1, None, None, 3), tf.uint8)]
    analyze = tf.function(trained.network.analyze, autograph=False, input_signature=signature)
    latents = []
    for picture in pictures:
        height, width, _ = picture.shape
        top, left = max(0, height - _CROP) // 2, max(0, width - _CROP) // 2
        exact = analyze(picture[None, top : top + _CROP, left : left + _CROP]).numpy()[0]
        if not (np.abs(exact) <= MAX_LATENT).all():
            raise WorkError(
                f"the model {trained.folder} is broken: it makes latents that are NaN "
                f"or beyond {MAX_LATENT}"
            )
        exact -= trained.tables["quantization_offset"]
        latents.append(np.rint(exact).astype(np.int32))
    if not latents:
        raise InputError("the adaptation needs at least one image")
    adaptation = fit_adaptation(latents)
    if out is not None:
        copy_model(trained.folder, out)
    return save_adaptation(out or trained.folder, adaptation)


def fit_adaptation(latents: Sequence[np.ndarray]) -> Adaptation:
    """Return the adaptation that codes these latents in the fewest bits.

    Args:
        latents: int32 [height, width, channels] of each image, as they are coded.

    Returns:
        The same for the same latents, whatever the number of threads.
    """
    count = sum(picture[..., 0].size for picture in latents)
    sums = sum(np.abs(picture).sum((0, 1), dtype=np.int64) for picture in latents)
    mean = np.maximum(sums / count, 1e-4)
    order = np.argsort(-mean, kind="stable").astype(np.int32)
    mean = mean[order]
    pictures = [np.ascontiguousarray(p[..., order].transpose(2, 0, 1)) for p in latents]
    group_sizes = _equal_groups(mean)
    # 1 / (1 + mean) is nearly the inverse of the variance over the mean.
    magnitude_weights = np.clip(np.rint(1024 / (1 + mean)), 1, 1024).astype(np.int32)
    starts = np.cumsum(group_sizes) - group_sizes
    expected = np.add.reduceat(mean * magnitude_weights, starts)
    expected = np.maximum(np.rint(expected), 1).astype(np.int32)
    magnitudes = np.arange(LOGARITHMS) / 64
    logarithms = np.rint(256 * np.log2(magnitudes + _FLOOR)).astype(np.int16)

    base = np.zeros((PASSES, len(mean)), np.int32)
    weights = np.zeros((PASSES, len(mean), FEATURES), np.int16)
    prediction = np.zeros((PASSES, len(mean)), np.int16)
    counts = np.zeros((_TABLES, _LONGEST_SIDE + 2))
    # The images advance side by side, so that only one step of each is in memory.
    walks = [steps(p, group_sizes, magnitude_weights, expected, logarithms) for p in pictures]
    live = list(zip(walks, pictures, strict=True))
    for group, pass_ in np.ndindex(len(group_sizes), PASSES):
        now = []
        for walk, picture in live:
            if pass_ in passes_of(*picture.shape[1:]):
                step = next(walk)
                assert (step.group, step.pass_) == (group, pass_)
                now.append((step, picture[step.where]))
        if not now:
            continue
        where = now[0][0].where[0]
        if pass_:
            prediction[pass_, where] = _fit_prediction(now)
        residuals = [_residual(step, k, prediction[pass_, where]) for step, k in now]
        base[pass_, where], weights[pass_, where] = _fit_magnitudes(
            [step for step, _ in now], residuals
        )
        for (step, _), k in zip(now, residuals, strict=True):
            of_pass = base[pass_, where], weights[pass_, where].astype(np.int32)
            index = indexes(step, *of_pass, _TABLES)
            entry = np.minimum(np.abs(k), _LONGEST_SIDE + 1)
            pairs = index.ravel() * counts.shape[1] + entry.ravel()
            counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    cdf, cdf_offset = _build_tables(counts)
    return Adaptation(
        order,
        group_sizes,
        magnitude_weights,
        expected,
        logarithms,
        base,
        weights,
        prediction,
        cdf,
        cdf_offset,
    )


def _equal_groups(mean: np.ndarray) -> np.ndarray:
    """Return the sizes of groups that hold about as much information each, int32 [groups]."""
    # No distribution's entropy, but it grows with the mean as the entropy does, and the power
    # below was chosen for it: that gives more groups to channels that are nearly always 0.
    information = np.log2(1 + mean) + mean / (1 + mean) * np.log2(1 + 1 / mean)
    part = np.cumsum(information**0.75)
    part /= part[-1]
    edges = np.searchsorted(part, np.arange(1, _GROUPS) / _GROUPS) + 1
    edges = np.unique(np.concatenate([[0], np.minimum(edges, len(mean)), [len(mean)]]))
    return np.diff(edges).astype(np.int32)


def _fit_prediction(now: list[tuple[Step, np.ndarray]]) -> np.ndarray:
    """Return `Adaptation.prediction` of a step's channels, by least squares, int16 [channels]."""
    channels = now[0][1].shape[0]
    xx, xy, yy = (np.zeros(channels) for _ in range(3))
    for step, values in now:
        near = step.mean(np.arange(channels)) / 64
        values = np.clip(values, -LARGEST_MAGNITUDE, LARGEST_MAGNITUDE).astype(np.float64)
        xx += (near * near).sum((1, 2))
        xy += (near * values).sum((1, 2))
        yy += (values * values).sum((1, 2))
    worth_it = xy * xy > _EXPLAINED * xx * yy
    slope = np.where(worth_it, xy / np.maximum(xx, 1e-9), 0)
    return np.clip(np.rint(512 * slope), -1024, 1024).astype(np.int16)


def _residual(step: Step, values: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what is coded for a step's values."""
    channels, predicted = predictions(step, prediction)
    residual = values.copy()
    residual[channels] -= predicted
    return residual


def _fit_magnitudes(now: list[Step], residuals: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return `Adaptation.base` int32 [channels] and `weights` int16 [channels, 5] of a step."""
    channels = residuals[0].shape[0]
    features = [step.features() for step in now]
    present = list(features[0])
    x = np.ones((channels, 1 + len(present), sum(r[0].size for r in residuals)), np.float32)
    for column, feature in enumerate(present, 1):
        planes = [of_step[feature] for of_step in features]
        x[:, column] = np.concatenate([p.reshape(len(p), -1) for p in planes], 1)
    x[:, 1:] *= np.float32(np.log(2) / 256)
    k = np.concatenate([np.abs(r).reshape(channels, -1) for r in residuals], 1)
    found = np.stack([_score(*pair) for pair in zip(x, k.astype(np.float32), strict=True)])
    scale = _TABLES_PER_OCTAVE * 2.0**16
    # Half a table more, because the index is rounded down.
    base = scale * (found[:, 0] / np.log(2) - _LOWEST) + 2**15
    weights = np.zeros((channels, FEATURES), np.int16)
    weights[:, present] = np.clip(np.rint(found[:, 1:] * scale / 256), -32767, 32767)
    return np.clip(np.rint(base), -(2**30), 2**30).astype(np.int32), weights


def _score(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the coefficients of one channel.

    Args:
        x: float32 [features, n].
        k: magnitudes, float32 [n].
    """
    features, size = x.shape
    padding = -size % _CHUNK
    x = np.pad(x, ((0, 0), (0, padding))).reshape(features, -1, _CHUNK).transpose(1, 0, 2)
    k = np.pad(k, (0, padding)).reshape(-1, 1, _CHUNK)
    there = (np.arange(k.size) < size).astype(np.float32).reshape(k.shape)
    ridge = np.diag([1e-2, *[_RIDGE] * (features - 1)])
    found = np.zeros(features)
    found[0] = np.log(max(k.sum(dtype=np.float64) / size, 1e-4))
    for _ in range(_SCORING_STEPS):
        mu = np.exp(np.clip(found.astype(np.float32) @ x, -9, 6))[:, None]
        c = there / np.sqrt(1 + mu * mu)
        pull = np.concatenate([[0], _RIDGE * found[1:]])
        gradient = ((k - mu) * c @ x.transpose(0, 2, 1)).sum((0, 1), dtype=np.float64) - pull
        curvature = ((x * (mu * c)) @ x.transpose(0, 2, 1)).sum(0, dtype=np.float64) + ridge
        change = np.clip(np.linalg.solve(curvature, gradient), -1, 1)
        found += change
        if np.abs(change).max() < 1e-3:
            break
    return found


def _build_tables(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `Adaptation.cdf` and `cdf_offset` from counts of magnitudes [tables, magnitudes]."""
    k = np.arange(counts.shape[1])
    cdf, offsets = [], []
    for table, seen in enumerate(counts):
        t = np.arcsinh(2.0 ** -(_LOWEST + table / _TABLES_PER_OCTAVE))
        geometric = np.tanh(t / 2) * np.exp(-t * k) * np.where(k, 2, 1)
        geometric[-1] = max(1 - geometric[:-1].sum(), 0)
        magnitudes = (seen + _PRIOR_COUNT * geometric) / (seen.sum() + _PRIOR_COUNT)
        # The mass beyond r on both sides, P(|k| > r) = exp(-t (r + 1 / 2)) / cosh(t / 2), is
        # less than exp(-t r). The 2 is a margin: at most half of _TAIL is left out.
        side = int(np.clip(np.ceil(np.log(2 / _TAIL) / t), 1, _LONGEST_SIDE))
        half = magnitudes[1 : side + 1] / 2
        beyond = magnitudes[side + 1 :].sum()
        p = np.concatenate([half[::-1], magnitudes[:1], half, [beyond]])
        # Every entry has at least 1 of the 65536 parts.
        rising = np.rint(np.cumsum(p) / p.sum() * (2**RANGE_CODER_PRECISION - len(p))).astype(
            np.int64
        )
        cdf += [[RANGE_CODER_PRECISION, 0], rising + np.arange(1, len(p) + 1)]
        offsets.append(-side)
    return np.concatenate(cdf).astype(np.int32), np.array(offsets, np.int32)
