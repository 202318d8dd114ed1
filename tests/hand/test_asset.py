"""The hand's asset: damage is noticed, with one error."""

import pytest

from tfhand.hand import asset, spheres, surface


def damage(path, data):
    path.write_bytes(data)
    return path


@pytest.fixture
def data():
    return asset.PATH.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_half_an_asset(tmp_path, monkeypatch, data, share):
    monkeypatch.setattr(asset, "PATH", damage(tmp_path / "hand.h5", data[: int(share * len(data))]))
    for read in (spheres.load.__wrapped__, surface.load_mesh.__wrapped__):
        with pytest.raises(ValueError, match=r"hand asset in .*hand\.h5, found a damaged file"):
            read()


def test_a_changed_bit(tmp_path, monkeypatch, data):
    radii = spheres.load().radii_mm.tobytes()
    values = bytearray(data)
    monkeypatch.setattr(asset, "PATH", damage(tmp_path / "hand.h5", data))
    whole, _ = asset.read_group("spheres")
    assert whole["radii_mm"].tobytes() == radii
    # In the middle of the skin, which is most of the file.
    values[len(values) // 2] ^= 1
    damage(tmp_path / "hand.h5", values)
    with pytest.raises(ValueError, match=r"hand\.h5"):
        asset.read_group("skin")


def test_no_asset(tmp_path, monkeypatch):
    monkeypatch.setattr(asset, "PATH", tmp_path / "none.h5")
    with pytest.raises(ValueError, match=r"none\.h5"):
        asset.read_group("spheres")
