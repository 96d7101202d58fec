"""Spectral features of sounds."""

import numpy as np
import seqx
from numpy.typing import ArrayLike, NDArray

FEATURES = 96  # frequencies of a frame, in steps of 4000 / 256 = 15.6 Hz: up to 1.5 kHz
_WINDOW = 256  # samples


def spectrum(samples: ArrayLike, hop: int) -> NDArray[np.float32]:
    """Return the logarithmic spectrum [frames, FEATURES] of a sound; its mean is 0 and its variance 1.

    Args:
        samples: the sound, [samples]
        hop: number of samples between the beginnings of two frames

    Raises:
        UserError: the sound is not a sequence of finite numbers
    """
    sound = np.asarray(samples)
    if sound.ndim != 1 or sound.dtype.kind not in "iuf" or not np.isfinite(sound).all():
        raise seqx.UserError(
            f"an input of the task tones must be a sound, a list or array of finite numbers [samples], not "
            f"{type(samples).__name__} of shape {list(sound.shape)}"
        )
    if not sound.size:
        return np.zeros((0, FEATURES), np.float32)
    sound = np.pad(sound.astype(np.float64), (0, max(0, _WINDOW - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW))[:, :FEATURES]) ** 2
    logarithm = np.log(power + 1e-3)
    normalized: NDArray[np.float32] = ((logarithm - logarithm.mean()) / (logarithm.std() + 1e-6)).astype(
        np.float32
    )
    return normalized
