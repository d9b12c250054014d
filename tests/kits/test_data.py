"""Generators obey their physics and their seeds; readers take the folders of the public sets, and name what is wrong with others."""

import wave

import numpy as np
import pytest
from pytest import approx

from boardkit import data


@pytest.mark.parametrize("make", [data.motions, data.keywords, data.tones, data.vibrations])
def test_a_seed_gives_the_same_samples_and_another_seed_others(make):
    a, b, c = make(9, 5), make(9, 5), make(9, 6)
    assert (a.x == b.x).all() and (a.y == b.y).all() and (a.x != c.x).any()
    counts = np.bincount(make(40, 1).y, minlength=len(a.classes))
    assert len(a) == 9 and counts.min() == counts.max() == 10 and np.isfinite(a.x).all()
    first, second = make(40, 1).split(0.75)
    assert (len(first), len(second)) == (30, 10)


def test_noise_has_the_power_that_its_density_says(rng):
    f = np.fft.rfftfreq(4096, 1 / 100)
    density = 0.02 / (1 + (f / 5) ** 2)
    x = data.coloured(rng, np.broadcast_to(density, (200, len(f))), 4096, 100)
    assert x.var() == approx(np.trapezoid(density, f), rel=0.05)


def test_gravity_is_in_every_window_whichever_way_the_sensor_lies():
    s = data.motions(200, 1)
    size = np.linalg.norm(s.x.mean(axis=1), axis=1)
    assert np.median(size) == approx(data.GRAVITY, rel=0.02) and s.x.shape == (200, 100, 3)
    still = s.x[s.y == 0].std(axis=1).mean()
    assert still < 0.2 * s.x[s.y == 3].std(axis=1).mean(), "a table moves less than a car"


def test_a_quarter_car_follows_slow_waves_and_isolates_fast_ones():
    body = np.abs(data.quarter_car(np.array([0.01, 1.2, 20.0])))
    assert body[0] == approx(1, rel=1e-3) and body[1] > 1.5 and body[2] < 0.05


def test_waves_of_the_sea_have_the_height_of_pierson_and_moskowitz():
    """Significant height 4 sqrt(m0) = 2 sqrt(0.0081 / 0.74) U²/g, and longer waves for more wind."""
    f = np.linspace(0.005, 3, 200_000)
    for wind in (8.0, 15.0):
        assert 4 * np.sqrt(np.trapezoid(data.sea(f, wind), f)) == approx(2 * np.sqrt(0.0081 / 0.74) * wind**2 / data.GRAVITY, rel=0.01)
    assert f[data.sea(f, 15.0).argmax()] < f[data.sea(f, 8.0).argmax()]


def test_a_tone_is_where_its_class_says():
    s = data.tones(40, 1, noise=0.05)
    peak = np.abs(np.fft.rfft(s.x * np.hanning(256))).argmax(axis=1) * 8000 / 256
    assert np.abs(peak - np.array([440, 880, 1320, 1760])[s.y]).max() <= 8000 / 256


def test_faults_of_a_machine_show_where_the_theory_puts_them():
    s = data.vibrations(200, 1)
    spectrum = (np.abs(np.fft.rfft(s.x * np.hanning(1024))) ** 2)[:, :400]
    low = [spectrum[s.y == k][:, 6:11].max(axis=1).mean() for k in range(4)]  # 19 to 31 Hz: the speed of the shaft
    double = [spectrum[s.y == k][:, 14:20].max(axis=1).mean() for k in range(4)]
    around = s.x - s.x.mean(axis=1, keepdims=True)
    tail = [((around[s.y == k] ** 4).mean(axis=1) / around[s.y == k].var(axis=1) ** 2).mean() for k in range(4)]
    assert low[1] > 5 * low[0] and double[2] > 5 * double[0]
    assert data.outer_race_hertz(25.0) == approx(90.0)
    high = [spectrum[s.y == k][:, 200:].sum(axis=1).mean() for k in range(4)]  # above 625 Hz: the housing rings
    assert high[3] > 5 * high[0] and max(high[1:3]) < 2 * high[0] and tail[3] > tail[1]


def test_words_differ_more_between_than_within_themselves():
    """The nearest mean of mel bands tells most words of other speakers: the task can be learnt, and is not trivial."""
    from boardkit.dsp import LogMel

    front = LogMel(bands=20)
    train, test = data.keywords(80, 1), data.keywords(60, 2)
    a, b = (front(s.x)[:, ::4].reshape(len(s), -1).astype(float) for s in (train, test))
    means = np.stack([a[train.y == k].mean(axis=0) for k in range(4)])
    right = (((b[:, None] - means) ** 2).sum(axis=2).argmin(axis=1) == test.y).mean()
    assert 0.6 < right < 1.0


def test_motion_features_are_the_63_of_the_classifier():
    f = data.spectral_features(data.motions(12, 1).x)
    assert f.shape == (12, 63) and np.isfinite(f).all()
    flat = data.spectral_features(np.full((1, 100, 3), 2.0))
    assert flat[0, 0] == 2 and abs(flat[0, 1]) < 1e-6
    with pytest.raises(data.DataError, match="T >= 32"):
        data.spectral_features(np.zeros((2, 20, 3)))


# Readers, on folders that have the layout of the real sets.


def wav(path, values, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(values, dtype="<i2").tobytes())


def test_speech_commands_by_word_and_split(tmp_path):
    for i in range(4):
        wav(tmp_path / "yes" / f"0{i}aa_nohash_0.wav", np.full(16000 - i, i))
        wav(tmp_path / "no" / f"0{i}bb_nohash_0.wav", np.full(16000, 10 + i))
    (tmp_path / "validation_list.txt").write_text("yes/01aa_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/02aa_nohash_0.wav\nno/03bb_nohash_0.wav\n")
    train = data.speech_commands(tmp_path)
    assert train.x[:, 0].tolist() == [0, 3, 10, 11, 12] and train.y.tolist() == [0, 0, 1, 1, 1]
    assert train.x.shape == (5, 16000) and train.x[1, -1] == 0, "short sounds are filled"
    assert data.speech_commands(tmp_path, split="test").x[:, 0].tolist() == [2, 13]
    assert len(data.speech_commands(tmp_path, split=None, limit=1)) == 2
    for call, says in (
        (lambda: data.speech_commands(tmp_path, ["maybe"]), "no word 'maybe'; it has no, yes"),
        (lambda: data.speech_commands(tmp_path / "none"), "no such folder"),
        (lambda: data.speech_commands(tmp_path, split="dev"), "wanted 'train'"),
        (lambda: data.speech_commands(tmp_path / "yes", ["x"]), "validation_list.txt"),
    ):
        with pytest.raises(data.DataError, match=says):
            call()
    wav(tmp_path / "no" / "9.wav", [1, 2], rate=8000)
    with pytest.raises(data.DataError, match="8000 Hz; wanted 16 bits, channel 0, 16000 Hz"):
        data.speech_commands(tmp_path)
    (tmp_path / "no" / "9.wav").write_bytes(b"RIFF")
    with pytest.raises(data.DataError, match="no WAV file"):
        data.speech_commands(tmp_path)


def test_uci_har_and_what_is_missing_of_it(tmp_path, rng):
    folder = tmp_path / "train" / "Inertial Signals"
    folder.mkdir(parents=True)
    x = rng.normal(size=(5, 128, 3))
    for j, axis in enumerate("xyz"):
        np.savetxt(folder / f"total_acc_{axis}_train.txt", x[:, :, j], fmt="%16.7e")
    (tmp_path / "train" / "y_train.txt").write_text("1\n2\n6\n1\n3\n")
    (tmp_path / "activity_labels.txt").write_text("1 WALKING\n2 WALKING_UPSTAIRS\n3 WALKING_DOWNSTAIRS\n4 SITTING\n5 STANDING\n6 LAYING\n")
    s = data.uci_har(tmp_path)
    np.testing.assert_allclose(s.x, x, rtol=1e-6)
    assert s.y.tolist() == [0, 1, 5, 0, 2] and s.classes[5] == "LAYING" and s.rate == 50
    with pytest.raises(data.DataError, match="total_acc_x_test.txt: missing"):
        data.uci_har(tmp_path, "test")
    (tmp_path / "train" / "y_train.txt").write_text("1\n7\n1\n1\n1\n")
    with pytest.raises(data.DataError, match="labels of 6"):
        data.uci_har(tmp_path)


def test_mimii_takes_one_of_eight_channels(tmp_path):
    frames = np.arange(100)[:, None] * 10 + np.arange(8)
    wav(tmp_path / "normal" / "00.wav", frames, channels=8)
    wav(tmp_path / "abnormal" / "00.wav", frames, channels=8)
    s = data.mimii(tmp_path, channel=3, seconds=0.01)
    assert s.x.shape == (2, 160) and s.x[0, :3].tolist() == [3, 13, 23] and s.y.tolist() == [0, 1]
    with pytest.raises(data.DataError, match="channel 9"):
        data.mimii(tmp_path, channel=9)
