"""Signals for small classifiers: seeded generators that compute them from the physics, and readers of public recordings.

    motions(800, seed=1)          IMU windows: idle, lift, maritime, terrestrial
    keywords(200, seed=1)         one-second sounds: yes, no, noise, unknown
    tones(200, seed=1)            a sine among noise, its frequency is the class
    vibrations(400, seed=1)       a machine's housing: normal, imbalance, misalignment, outer race
    speech_commands(folder), uci_har(folder), mimii(folder)      recordings that you have downloaded

Each gives Samples. Masses, speeds and amplitudes without a source are round figures of ours, drawn anew for each sample.
"""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import KitError

GRAVITY = 9.80665  # m/s²


class DataError(KitError, ValueError):
    """Data that cannot be made or read as asked."""


@dataclass(frozen=True)
class Samples:
    """x (N, ...), labels y (N,) int64 into classes, rate of samples in Hz, what x is measured in."""

    x: np.ndarray
    y: np.ndarray
    classes: tuple
    rate: float
    unit: str

    def __len__(self):
        return len(self.y)

    def split(self, share=0.8, seed=0):
        """Two Samples, shuffled: the first has `share` of the samples."""
        order = np.random.default_rng(seed).permutation(len(self))
        cut = round(share * len(self))
        return tuple(Samples(self.x[i], self.y[i], self.classes, self.rate, self.unit) for i in (order[:cut], order[cut:]))


def _begin(n, seed, classes):
    """A generator, and labels that are as equal in number as n allows, in random order."""
    if n < 1:
        raise DataError(f"n: got {n}; wanted 1 or more samples")
    rng = np.random.default_rng(seed)
    return rng, rng.permutation(np.arange(n) % len(classes))


def coloured(rng, density, size, rate):
    """Gaussian noise of a one-sided power density (bins,) or (N, bins), unit²/Hz at rfftfreq(size) x rate -> (..., size)."""
    density = np.asarray(density, dtype=float)
    shape = density.shape
    spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * np.sqrt(density * rate * size / 4)
    spectrum[..., 0] = 0.0
    return np.fft.irfft(spectrum, size)


# Motion

MOTIONS = ("idle", "lift", "maritime", "terrestrial")


def _slices(rng, density, size, rate, factor=16):
    """`size` steps out of a noise that is `factor` times as long, so that slow waves are in it; density: a function of Hz."""
    long = size * factor
    f = np.fft.rfftfreq(long, 1 / rate)
    return coloured(rng, density(np.maximum(f, rate / long)), long, rate)[:size]


def _idle(rng, t, rate):
    """Acceleration (T, 3) on a table: a floor that hums, and in one window of three somebody walks by."""
    floor = 10 ** rng.uniform(-6, -3.6)  # (m/s²)²/Hz
    a = np.stack([_slices(rng, lambda f: floor / (1 + (f / 15) ** 2), len(t), rate) for _ in range(3)], axis=1)
    if rng.random() < 1 / 3:
        since = (t * rng.uniform(1.6, 2.2) + rng.random()) % 1.0
        a[:, 2] += rng.uniform(0.02, 0.2) * np.exp(-12 * since) * np.sin(2 * np.pi * rng.uniform(8, 14) * since)
    return a


def _lift(rng, t, rate):
    """Acceleration (T, 3) of a cabin: a limit of jerk, then of acceleration, at the begin or the end of a ride, or between."""
    most, jerk, sign = rng.uniform(0.6, 1.2), rng.uniform(0.6, 1.4), rng.choice([-1, 1])
    ramp, hold = most / jerk, rng.uniform(0.3, 1.5)
    at = t + rng.uniform(-3.0, 2 * ramp + hold + 1.0)
    up = sign * np.clip(np.minimum(jerk * at, jerk * (2 * ramp + hold - at)), 0, most)
    a = np.zeros((len(t), 3))
    a[:, 2] = up
    guides, hum, strength = rng.uniform(1.5, 4.0), rng.uniform(14, 22), 10 ** rng.uniform(-2.3, -1.1, (2, 3))
    for share, hertz in zip(strength, (guides, hum), strict=True):
        a += share * np.sin(2 * np.pi * hertz * t[:, None] + rng.uniform(0, 7, 3))
    return a


def sea(hertz, wind):
    """Density of the height of waves, m²/Hz, at frequencies in Hz; wind in m/s. Source: Pierson and Moskowitz 1964."""
    omega = 2 * np.pi * hertz
    return 2 * np.pi * 0.0081 * GRAVITY**2 / omega**5 * np.exp(-0.74 * (GRAVITY / (wind * omega)) ** 4)


def _maritime(rng, t, rate):
    """Specific force (T, 3) on a deck that follows height and slope of the waves, as far as the hull is shorter than they are."""
    wind, hull = rng.uniform(3, 16), rng.uniform(0.15, 0.4)
    follows = lambda f: 1 / (1 + (f / hull) ** 4)  # noqa: E731
    heave = _slices(rng, lambda f: sea(f, wind) * follows(f) * (2 * np.pi * f) ** 4, len(t), rate)
    roll, pitch = (
        gain * _slices(rng, lambda f: sea(f, wind) * follows(f) * ((2 * np.pi * f) ** 2 / GRAVITY) ** 2, len(t), rate)
        for gain in (rng.uniform(1.0, 2.0), rng.uniform(0.5, 1.0))
    )
    lift = GRAVITY + heave
    a = np.stack([lift * np.sin(pitch), -lift * np.sin(roll) * np.cos(pitch), lift * np.cos(roll) * np.cos(pitch)], axis=1)
    engine = rng.uniform(6, 11)
    a += 10 ** rng.uniform(-2.0, -0.8, 3) * np.sin(2 * np.pi * engine * t[:, None] + rng.uniform(0, 7, 3))
    return a - [0, 0, GRAVITY]


def quarter_car(hertz, sprung=300.0, unsprung=40.0, spring=18e3, damper=1.2e3, tyre=180e3):
    """Height of a car's body over height of the road, complex, at frequencies in Hz: two masses (kg), springs (N/m), a damper (N s/m)."""
    s = 2j * np.pi * np.asarray(hertz)
    link = spring + damper * s
    wheel = unsprung * s**2 + link + tyre
    return tyre * link / (wheel * (sprung * s**2 + link) - link**2)


def _terrestrial(rng, t, rate):
    """Acceleration (T, 3) in a car. Source of the road's density, G n0² v / f² with n0 = 0.1 / m: ISO 8608, up to class C."""
    roughness, speed = 10 ** rng.uniform(-6, -3.6), rng.uniform(1, 22)
    road = lambda f: roughness * 0.01 * speed / f**2  # noqa: E731
    a = np.zeros((len(t), 3))
    a[:, 2] = _slices(rng, lambda f: road(f) * np.abs(quarter_car(f)) ** 2 * (2 * np.pi * f) ** 4, len(t), rate)
    for axis in (0, 1):  # steering and braking turn within seconds; the body shakes sideways a little as it does upwards
        a[:, axis] = _slices(rng, lambda f: 10 ** rng.uniform(-2.5, 0.2) / (1 + (f / 0.3) ** 4), len(t), rate) + 0.3 * a[:, 2][::-1]
    return a


def motions(n, seed=0, *, rate=50.0, seconds=2.0):
    """Windows of a three-axis accelerometer -> Samples, x (N, T, 3) float32 in m/s², gravity included.

    A sensor of 16 bits over +-4 g, noise 100 ug a root of Hz, an offset of some mg, mounted up to 10 degrees askew and turned
    about the vertical at will.
    """
    rng, y = _begin(n, seed, MOTIONS)
    size = round(rate * seconds)
    t = np.arange(size) / rate
    x = np.empty((n, size, 3))
    for i, label in enumerate(y):
        a = (_idle, _lift, _maritime, _terrestrial)[label](rng, t, rate)
        turn, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1, 2) * np.radians(10)
        c, s = np.cos(turn), np.sin(turn)
        askew = np.array([[1, 0, tilt[0]], [0, 1, tilt[1]], [-tilt[0], -tilt[1], 1]])
        x[i] = (a + [0, 0, GRAVITY]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T @ (askew / np.linalg.norm(askew, axis=1)[:, None]).T
    x += GRAVITY * (1e-4 * np.sqrt(rate / 2) * rng.normal(size=x.shape) + 0.01 * rng.normal(size=(n, 1, 3)))
    step = 8 * GRAVITY / 65536
    return Samples((np.clip(np.rint(x / step), -32768, 32767) * step).astype(np.float32), y, MOTIONS, rate, "m/s²")


def spectral_features(x, size=32):
    """Windows (N, T, axes) -> (N, axes x (4 + size / 2 + 1)) float32: 63 features for three axes and size 32.

    Of each axis: mean, root mean square about it, skewness, kurtosis - 3, and log10 of the power in the bins of an FFT of
    `size` steps under a Hann window, averaged over windows that overlap by half (Welch 1967).
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 3 or x.shape[1] < size:
        raise DataError(f"x: got shape {x.shape}; wanted (N, T, axes) with T >= {size}")
    mean = x.mean(axis=1, keepdims=True)
    around = x - mean
    rms = np.sqrt((around**2).mean(axis=1)) + 1e-9
    skew, tail = ((around**k).mean(axis=1) / rms**k for k in (3, 4))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = np.lib.stride_tricks.sliding_window_view(around, size, axis=1)[:, :: size // 2] * hann
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=1) / (hann**2).sum()
    parts = np.concatenate([np.stack([mean[:, 0], rms, skew, tail - 3], axis=2), np.log10(power + 1e-9)], axis=2)
    return parts.reshape(len(x), -1).astype(np.float32)


# Sound

KEYWORDS = ("yes", "no", "noise", "unknown")
# First three formants in Hz, men's means. Source: Peterson and Barney 1952, table II.
VOWELS = {
    "i": (270, 2290, 3010), "e": (530, 1840, 2480), "a": (730, 1090, 2440), "o": (570, 840, 2410), "u": (300, 870, 2240),
    "v": (640, 1190, 2390), "ae": (660, 1720, 2410),
}  # fmt: skip
# A word: (share of its time, formants, loudness of voice, of breath, centre of the breath in Hz) at points in between.
WORDS = {
    "yes": [(0.0, "i", 0.5, 0.0, 6000), (0.25, "e", 1.0, 0.0, 6000), (0.55, "e", 0.8, 0.05, 6000), (0.62, "e", 0.0, 0.5, 6000),
            (1.0, "e", 0.0, 0.2, 6000)],
    "no": [(0.0, "u", 0.3, 0.0, 3000), (0.25, "o", 0.9, 0.0, 3000), (0.65, "o", 1.0, 0.0, 3000), (1.0, "u", 0.3, 0.0, 3000)],
    "up": [(0.0, "v", 0.8, 0.0, 1500), (0.6, "v", 1.0, 0.0, 1500), (0.66, "v", 0.0, 0.0, 1500), (0.8, "v", 0.0, 0.0, 1500),
           (0.85, "v", 0.0, 0.4, 1500), (1.0, "v", 0.0, 0.0, 1500)],
    "stop": [(0.0, "a", 0.0, 0.5, 5500), (0.3, "a", 0.0, 0.5, 5500), (0.35, "a", 0.0, 0.0, 5500), (0.45, "a", 1.0, 0.1, 3500),
             (0.8, "a", 0.9, 0.0, 1500), (1.0, "a", 0.0, 0.1, 1500)],
    "cat": [(0.0, "ae", 0.0, 0.5, 2000), (0.1, "ae", 0.9, 0.1, 2000), (0.6, "ae", 1.0, 0.0, 2000), (0.7, "ae", 0.0, 0.0, 4500),
            (0.8, "ae", 0.0, 0.4, 4500), (1.0, "ae", 0.0, 0.0, 4500)],
    "we": [(0.0, "u", 0.6, 0.0, 3000), (0.4, "i", 1.0, 0.0, 3000), (1.0, "i", 0.5, 0.0, 3000)],
}  # fmt: skip


def _spoken(rng, word, size, rate, frame=512):
    """A word, source and filter: pulses of the voice and breath, shaped in each frame by the resonances of the mouth (Fant 1960)."""
    hop = frame // 4
    padded = size + 2 * frame
    t = np.arange(padded) / rate
    length, start = rng.uniform(0.4, 0.7), rng.uniform(0.05, 0.25)
    pitch = rng.uniform(90, 230) * (1 - 0.15 * np.clip((t - start) / length, 0, 1)) * (1 + 0.02 * np.sin(2 * np.pi * 5 * t))
    phase = np.cumsum(pitch) / rate
    pulses = np.diff(np.floor(phase), prepend=0.0) * np.sqrt(rate / 100)
    breath = rng.normal(size=padded)
    track = WORDS[word]
    points = np.array([p[0] for p in track])
    values = np.array([[*VOWELS[p[1]], *p[2:]] for p in track], dtype=float)
    values[:, :3] *= rng.uniform(0.92, 1.2)  # the length of the throat
    values[:, 5] *= rng.uniform(0.9, 1.1)
    frames = np.arange(0, padded - frame + 1, hop)
    when = ((frames + frame / 2 - frame) / rate - start) / length
    outside = [None, None, None, 0.0, 0.0, None]  # neither voice nor breath before the word and after it
    f1, f2, f3, voice, noise, centre = (
        np.interp(when, points, column, left=edge, right=edge)[:, None] for column, edge in zip(values.T, outside, strict=True)
    )
    f = np.fft.rfftfreq(frame, 1 / rate)[None]
    mouth = sum(1 / (1 + ((f - peak) / (40 + 0.05 * peak)) ** 2) / (1 + i) for i, peak in enumerate((f1, f2, f3)))
    hiss = 1 / (1 + ((f - centre) / 1200) ** 2)
    window = np.sin(np.pi * (np.arange(frame) + 0.5) / frame)
    pieces = [np.lib.stride_tricks.sliding_window_view(s, frame)[::hop] * window for s in (pulses, breath)]
    shaped = np.fft.irfft(voice * mouth * np.fft.rfft(pieces[0]) + 0.5 * noise * hiss * np.fft.rfft(pieces[1]), frame) * window / 2
    sound = np.zeros(padded)
    for at, piece in zip(frames, shaped, strict=True):
        sound[at : at + frame] += piece
    return sound[frame : frame + size]


def keywords(n, seed=0, *, rate=16000, seconds=1.0, noise=0.02):
    """Words by speakers that differ, in a room -> Samples, x (N, T) int16. noise: of the room, to a word's peak of about 1.

    "unknown" are other words, "noise" has none: hiss whose density falls with frequency, and hum.
    """
    rng, y = _begin(n, seed, KEYWORDS)
    size = round(rate * seconds)
    f = np.maximum(np.fft.rfftfreq(size, 1 / rate), 20.0)
    t = np.arange(size) / rate
    x = np.empty((n, size), dtype=np.int16)
    for i, label in enumerate(y):
        hiss = coloured(rng, f ** -rng.uniform(0, 1.2), size, rate)
        room = hiss / hiss.std() * noise * rng.uniform(0.3, 1.5)
        if KEYWORDS[label] == "noise":
            sound = room * rng.uniform(1, 12) + rng.uniform(0, 0.1) * np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * t)
        else:
            word = KEYWORDS[label] if label < 2 else rng.choice(["up", "stop", "cat", "we"])
            sound = _spoken(rng, word, size, rate)
            sound = sound / (np.abs(sound).max() + 1e-9) * rng.uniform(0.3, 1.0) + room
        x[i] = np.clip(np.rint(sound * 24000), -32768, 32767)
    return Samples(x, y, KEYWORDS, float(rate), "1/32768")


def tones(n, seed=0, *, rate=8000, size=256, hertz=(440.0, 880.0, 1320.0, 1760.0), noise=0.2):
    """A sine of one of the frequencies, a quarter of a semitone off at most, with noise -> Samples, x (N, size) int16.

    noise: standard deviation, to an amplitude from 0.2 to 1.
    """
    rng, y = _begin(n, seed, hertz)
    f = np.asarray(hertz)[y] * 2 ** rng.uniform(-1 / 48, 1 / 48, n)
    phase, amplitude = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.2, 1.0, n)
    x = amplitude[:, None] * np.sin(2 * np.pi * f[:, None] * np.arange(size) / rate + phase[:, None]) + noise * rng.normal(size=(n, size))
    classes = tuple(f"{h:g} Hz" for h in hertz)
    return Samples(np.clip(np.rint(x * 16000), -32768, 32767).astype(np.int16), y, classes, float(rate), "1/32768")


# Machines

VIBRATIONS = ("normal", "imbalance", "misalignment", "outer race")


def outer_race_hertz(shaft, balls=9, ratio=0.2, angle=0.0):
    """How often balls pass a place on the outer race: balls / 2 x shaft x (1 - ratio cos angle), Hz; ratio: ball to pitch diameter.

    Source: Randall and Antoni 2011, Rolling element bearing diagnostics, a tutorial.
    """
    return balls / 2 * shaft * (1 - ratio * np.cos(angle))


def vibrations(n, seed=0, *, rate=3200.0, size=1024, severity=1.0):
    """Acceleration of a bearing's housing -> Samples, x (N, size) float32 in m/s². Train on "normal" alone to find the others.

    The shaft turns at 23 to 29 Hz. Imbalance: a force at its speed that grows with its square. Misalignment: twice and three times
    the speed. Outer race: a blow whenever a ball passes the damage, one in a hundred early or late, that rings the housing.
    severity scales the faults.
    """
    rng, y = _begin(n, seed, VIBRATIONS)
    t = np.arange(size) / rate
    f = np.fft.rfftfreq(size, 1 / rate)
    housing = rng.uniform(700, 1100)  # Hz: one machine, so one resonance for all samples
    x = np.empty((n, size))
    for i, label in enumerate(y):
        shaft, load = rng.uniform(23, 29), rng.uniform(0.8, 1.2)
        orders = {1: 0.35, 2: 0.12, 3: 0.06, 4: 0.03}
        if label == 1:
            orders[1] += severity * rng.uniform(1.0, 2.5) * (shaft / 26) ** 2
        elif label == 2:
            orders[2] += severity * rng.uniform(0.7, 1.6)
            orders[3] += severity * rng.uniform(0.2, 0.6)
        x[i] = sum(a * load * rng.uniform(0.8, 1.2) * np.sin(2 * np.pi * k * shaft * t + rng.uniform(0, 7)) for k, a in orders.items())
        x[i] += coloured(rng, 2e-5 * (1 + 8 / (1 + ((f - housing) / 120) ** 2)), size, rate)
        if label == 3:
            gap = 1 / outer_race_hertz(shaft)
            blows = np.cumsum(gap * (1 + 0.01 * rng.normal(size=int(size / rate / gap) + 12))) - gap * rng.uniform(0, 10)
            since = t[:, None] - blows
            ring = np.where(since >= 0, np.exp(-400 * np.maximum(since, 0)) * np.sin(2 * np.pi * housing * since), 0.0)
            x[i] += severity * rng.uniform(1.2, 3.0) * load * ring.sum(axis=1)
    return Samples(x.astype(np.float32), y, VIBRATIONS, rate, "m/s²")


# Recordings


def _folder(folder, wanted):
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; wanted {wanted}")
    return folder


def read_wav(path, *, rate=None, channel=0):
    """One channel of a WAV file of 16 bits -> (int16 (T,), rate in Hz). rate: the one that is wanted, else DataError."""
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, found = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path}: no WAV file that can be read: {error}") from error
    if width != 2 or channel >= channels or (rate is not None and found != rate):
        raise DataError(f"{path}: {8 * width} bits, {channels} channels, {found} Hz; wanted 16 bits, channel {channel}, {rate or 'any'} Hz")
    return np.frombuffer(raw, dtype="<i2").reshape(-1, channels)[:, channel].copy(), found


def _fitted(sound, size):
    return np.pad(sound[:size], (0, max(size - len(sound), 0)))


def speech_commands(folder, words=("yes", "no"), *, split="train", limit=None):
    """Google's Speech Commands as unpacked: folders named after words, of WAV files of one second, 16 kHz -> Samples, int16 (N, 16000).

    split: "train", "validation" or "test", as validation_list.txt and testing_list.txt in the folder say, or None for all.
    limit: files of a word at most, in order of their names. Shorter sounds are filled with zeros.
    Source: Warden 2018, arXiv 1804.03209, CC BY 4.0.
    """
    folder = _folder(folder, "the folder that speech_commands_v0.02.tar.gz unpacks to")
    lists = {"validation": "validation_list.txt", "test": "testing_list.txt"}
    if split not in (None, "train", *lists):
        raise DataError(f"split: got {split!r}; wanted 'train', 'validation', 'test' or None")
    held = {}
    for name, file in lists.items() if split else ():
        if not (folder / file).is_file():
            raise DataError(f"{folder}: has no {file}; is it the folder the archive unpacks to? split=None takes all files")
        held[name] = set((folder / file).read_text(encoding="ascii").split())
    x, y = [], []
    for label, word in enumerate(words):
        if not (folder / word).is_dir():
            known = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("_"))
            raise DataError(f"{folder}: has no word {word!r}; it has {', '.join(known) or 'none'}")
        paths = sorted((folder / word).glob("*.wav"))
        if split:
            inside = {name: {p for p in paths if f"{word}/{p.name}" in names} for name, names in held.items()}
            paths = [p for p in paths if (p in inside[split] if split in inside else not any(p in s for s in inside.values()))]
        for path in paths[:limit]:
            x.append(_fitted(read_wav(path, rate=16000)[0], 16000))
            y.append(label)
    if not x:
        raise DataError(f"{folder}: no WAV files of {', '.join(words)} in split {split!r}")
    return Samples(np.stack(x), np.array(y), tuple(words), 16000.0, "1/32768")


def uci_har(folder, split="train", signals=("total_acc_x", "total_acc_y", "total_acc_z")):
    """Human Activity Recognition Using Smartphones as unpacked -> Samples, x (N, 128, signals) float32, windows of 2.56 s at 50 Hz.

    Reads SPLIT/Inertial Signals/NAME_SPLIT.txt, a window of 128 numbers a line, SPLIT/y_SPLIT.txt, a class from 1 a line, and
    activity_labels.txt. total_acc and body_acc are in g, body_gyro in rad/s. Source: Anguita et al. 2013, UCI repository, set 240.
    """
    folder = _folder(folder, "'UCI HAR Dataset', as its archive unpacks")
    if split not in ("train", "test"):
        raise DataError(f"split: got {split!r}; wanted 'train' or 'test'")

    def table(path):
        if not path.is_file():
            raise DataError(f"{path}: missing; wanted the folder 'UCI HAR Dataset' whole")
        try:
            return np.loadtxt(path, ndmin=2)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error

    x = np.stack([table(folder / split / "Inertial Signals" / f"{name}_{split}.txt") for name in signals], axis=2)
    y = table(folder / split / f"y_{split}.txt")[:, 0].astype(np.int64) - 1
    names = [line.split()[1] for line in (folder / "activity_labels.txt").read_text(encoding="ascii").splitlines() if line.strip()]
    if x.shape[1] != 128 or len(x) != len(y) or not 0 <= y.min() <= y.max() < len(names):
        raise DataError(f"{folder}: {x.shape[0]} windows of {x.shape[1]}, {len(y)} labels of {len(names)} classes; "
                        "wanted windows of 128, and a label for each")
    return Samples(x.astype(np.float32), y, tuple(names), 50.0, "g")


def mimii(folder, *, channel=0, seconds=10.0, limit=None):
    """One machine of the MIMII set: id_XX/normal/*.wav and id_XX/abnormal/*.wav, 16 kHz -> Samples, int16 (N, T), normal is 0.

    folder: the one with normal and abnormal in it. channel: of eight microphones. limit: files of a kind at most.
    Source: Purohit et al. 2019, arXiv 1909.09347, CC BY-SA 4.0.
    """
    folder = _folder(folder, "a machine's folder, such as fan/id_00")
    x, y, size = [], [], round(16000 * seconds)
    for label, kind in enumerate(("normal", "abnormal")):
        paths = sorted((folder / kind).glob("*.wav"))[:limit]
        if not paths:
            raise DataError(f"{folder}: no WAV files in {kind}; wanted normal/*.wav and abnormal/*.wav")
        x += [_fitted(read_wav(path, rate=16000, channel=channel)[0], size) for path in paths]
        y += [label] * len(paths)
    return Samples(np.stack(x), np.array(y), ("normal", "abnormal"), 16000.0, "1/32768")
